"""Attacks on a real server, a process that rehearses: every operation answers, without any weights.

Short by default. ``--long`` (``make soak``) runs each attack at its full length.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
import numpy as np
import pillow_heif
import psutil
import pytest
import skimage.data
from PIL import Image

pillow_heif.register_heif_opener()

HERE = Path(__file__).parent
# No limits: an attack from one address must reach the routes.
UNLIMITED = {
    "SIGHTLINE_API_LIMITS": "off",
    "SIGHTLINE_GEOLOCATE_LIMITS": "off",
    "RATE_LIMIT_REQUESTS": "0",
    "SIGHTLINE_LAME_DUCK_S": "0",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run attacks at full length")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Allow for a busy machine; the long form has no limit."""
    for item in items:
        if HERE in item.path.parents and not config.getoption("--long", default=False):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long", default=False))


class Server:
    """A process of ``sightline serve --rehearse`` whose log goes to a file."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.temp = folder / "tmp"
        self.temp.mkdir(parents=True)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_path = folder / "log"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SIGHTLINE_") and name not in ("API_KEY", "PORT")
        }
        folders = {
            "SIGHTLINE_MODELS_DIR": str(folder / "models"),
            "SIGHTLINE_COLLECTIONS_DIR": str(folder / "collections"),
            "TMPDIR": str(self.temp),
            "HOME": str(folder),  # its keys and libraries are not the developer's
        }
        with self._log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sightline", "serve", "--rehearse", "--port", str(self.port)],
                env={**inherited, **UNLIMITED, **folders, **env},
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.client = httpx2.Client(base_url=self.url, timeout=60, trust_env=False)
        self._wait_until_ready()

    @property
    def log(self) -> str:
        return self._log_path.read_text(encoding="utf-8")

    def decode_workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if any("decode_worker" in word for word in child.cmdline())]

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name
        )

    def until_idle(self) -> None:
        """Wait until nothing is under way. pytest's own time limit ends what never holds."""
        while self.metric("sightline_lane_items") or self.metric("sightline_http_connections") > 1:
            time.sleep(0.02)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _wait_until_ready(self) -> None:
        while True:
            assert self.process.poll() is None, self.log
            try:
                if self.client.get("/readyz").status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """``start(NAME="value")`` starts a server with these variables."""
    servers: list[Server] = []

    def start(**env: str) -> Server:
        servers.append(Server(tmp_path_factory.mktemp("server"), env))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def server(start: Callable[..., Server]) -> Server:
    """The server that one file's attacks share."""
    return start()


@pytest.fixture(scope="session")
def small_files() -> dict[str, bytes]:
    """A photo of 48 × 40 pixels in each format that is accepted, and in several codings."""
    photo = Image.fromarray(skimage.data.astronaut()).resize((48, 40))
    grey16 = Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257)

    def file(kind: str, image: Image.Image = photo, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:02:29 13:14:15"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 5.0, 27.6), 3: "E", 4: (5.0, 7.0, 19.2)})
    return {
        "jpeg": file("JPEG", exif=exif),
        "jpeg-progressive": file("JPEG", progressive=True, subsampling=2),
        "jpeg-cmyk": file("JPEG", photo.convert("CMYK")),
        "png": file("PNG", exif=exif),
        "png-palette": file("PNG", photo.quantize(16), transparency=3),
        "png-16": file("PNG", grey16),
        "webp": file("WEBP", exif=exif),
        "webp-lossless": file("WEBP", lossless=True),
        "gif": file("GIF", photo.quantize(32), save_all=True, append_images=[photo.rotate(90).quantize(8)]),
        "bmp": file("BMP"),
        "bmp-palette": file("BMP", photo.quantize(16)),
        "tiff": file("TIFF", exif=exif),
        "tiff-lzw": file("TIFF", compression="tiff_lzw"),
        "tiff-deflate": file("TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": file("TIFF", compression="jpeg"),
        "tiff-fax": file("TIFF", photo.convert("1"), compression="group4"),
        "avif": file("AVIF", exif=exif),
        "heif": file("HEIF", exif=exif),
    }
