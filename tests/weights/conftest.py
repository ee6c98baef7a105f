"""A hub on loopback, with the manners and the faults of real ones, and stores that use it."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sightline.weights.downloads import Patience
from sightline.weights.sources import Artifact, HubFile, Source
from sightline.weights.store import Store, Wanted

HASTY = Patience(connect_timeout_s=2.0, read_timeout_s=0.4, attempts=3, pause_s=0.01)


@dataclass
class Fault:
    """What a served path does wrong. ``drops`` counts down: that many answers break off at ``drop_at``."""

    status: int = 0
    drops: int = 0
    drop_at: int = 0
    hang: bool = False
    weak: bool = False
    no_ranges: bool = False
    shifted_range: bool = False
    chunked: bool = False
    gzip: bool = False
    piece_delay_s: float = 0.0
    times: int = -1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class Hub:
    """Serves ``files`` by path, with strong entity tags and ranges; ``redirects`` go before files."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    linked: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def put(self, path: str, data: bytes, repo: str = "org/repo", revision: str = "main") -> str:
        """Serve a hub file; returns its URL path."""
        place = f"/{repo}/resolve/{revision}/{path}"
        self.files[place] = data
        return place


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: Any) -> None:
        """Test output is for tests."""

    def do_GET(self) -> None:
        hub = self.server.hub
        seen = Seen("GET", self.path, {key.lower(): value for key, value in self.headers.items()})
        hub.seen.append(seen)
        fault = hub.faults.get(self.path, Fault())
        if fault.hang:
            self.server.closing.wait(30)
            self.close_connection = True
            return
        if fault.status and fault.times:
            fault.times -= 1
            self._head(seen, fault.status, {"Content-Length": "0", **fault.headers})
        elif self.path in hub.redirects:
            headers = {"Location": hub.redirects[self.path], "Content-Length": "0"}
            if self.path in hub.linked:
                headers["X-Linked-Etag"] = f'"{hub.linked[self.path]}"'
            self._head(seen, 302, headers)
        elif self.path in hub.files:
            self._serve(seen, hub.files[self.path], fault)
        else:
            self._head(seen, 404, {"Content-Length": "0"})

    def _serve(self, seen: Seen, data: bytes, fault: Fault) -> None:
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": f"W/{tag}" if fault.weak else tag, "Accept-Ranges": "bytes", **fault.headers}
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", seen.headers.get("range", ""))
        if asked and not fault.no_ranges and seen.headers.get("if-range", tag) == tag:
            start, status = int(asked[1]), 206
            if start >= len(data):
                self._head(seen, 416, {"Content-Length": "0"})
                return
            told = start + 1 if fault.shifted_range else start
            headers["Content-Range"] = f"bytes {told}-{len(data) - 1}/{len(data)}"
        if fault.gzip:
            headers["Content-Encoding"] = "gzip"
        if fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(len(data) - start)
        self._head(seen, status, headers)
        self._body(seen, data, start, fault)

    def _body(self, seen: Seen, data: bytes, start: int, fault: Fault) -> None:
        end = len(data)
        if fault.drops and fault.drop_at >= start:
            fault.drops -= 1
            end = fault.drop_at
            self.close_connection = True
        for at in range(start, end, 16384):
            piece = data[at : min(at + 16384, end)]
            if fault.chunked:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            else:
                self.wfile.write(piece)
            seen.sent += len(piece)
            if fault.piece_delay_s:
                time.sleep(fault.piece_delay_s)
        if fault.chunked and end == len(data):
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, seen: Seen, status: int, headers: dict[str, str]) -> None:
        seen.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub
    closing: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the tests."""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def start_hub() -> Iterator[Callable[[], Hub]]:
    servers: list[_Server] = []

    def start() -> Hub:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.hub, server.closing = Hub(url=f"http://127.0.0.1:{server.server_port}"), threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server.hub

    yield start
    for server in servers:
        server.closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def hub(start_hub: Callable[[], Hub]) -> Hub:
    return start_hub()


@pytest.fixture
def fault() -> type[Fault]:
    return Fault


@pytest.fixture
def hasty() -> Patience:
    return HASTY


@pytest.fixture
def closed_port() -> str:
    """The URL of a loopback port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt to connect or to start a process; the test asserts that there was none."""
    attempts: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        attempts.append(repr(args))
        raise AssertionError("offline mode opened a socket or started a process")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.socket.connect_ex", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("subprocess.Popen.__init__", refuse)
    return attempts


def _wanted(*artifacts: Artifact | str, model: str = "demo") -> Wanted:
    """A card's view; a plain name is a hub file of that name in ``org/repo``."""
    full = tuple(
        Artifact(item, (HubFile("org/repo", item),)) if isinstance(item, str) else item for item in artifacts
    )
    return Wanted(model, full, "MIT", "https://example.org/demo", "square-224")


@pytest.fixture
def wanted() -> Callable[..., Wanted]:
    return _wanted


@pytest.fixture
def artifact() -> Callable[..., Artifact]:
    def make(name: str, *sources: Source, **facts: Any) -> Artifact:
        return Artifact(name, sources or (HubFile("org/repo", name),), **facts)

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def make_store(root: Path, hub: Hub) -> Callable[..., Store]:
    def make(**changes: Any) -> Store:
        folder = changes.pop("root", root)
        options = {
            "offline": False,
            "hub_endpoint": hub.url,
            "hub_token": None,
            "allow_random": False,
            "patience": HASTY,
        }
        return Store(folder, **{**options, **changes})

    return make


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()


@pytest.fixture
def sha256() -> Callable[[bytes], str]:
    return lambda data: hashlib.sha256(data).hexdigest()


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its content."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return read
