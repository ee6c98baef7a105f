"""A plug-in folder with a model that computes, one that is pulled from a loopback hub, and operations."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sightline.cli.app import app

NUMBERS = b"numbers" * 1000

CAPABILITIES = """
from sightline.capabilities import Capability
from sightline.imaging import View

MEAN: Capability[View, float] = Capability("mean", "Mean level of a view, 0 to 255.")
CAPABILITIES = (MEAN,)
"""

MODELS = """
from sightline.models import ModelCard, ModelDefinition
from sightline_plugins.capabilities.mean import MEAN
from sightline.weights.sources import Artifact, HubFile

class Mean:
    def prepare(self, view):
        return view.pixels().mean()

    def infer(self, items):
        return [float(item) for item in items]

def card(name, **more):
    return ModelCard(
        name=name, capabilities=frozenset({MEAN}), description="d", licence="CC0-1.0",
        homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0, **more,
    )

NUMBERS = Artifact(
    "numbers.bin", (HubFile("org/repo", "numbers.bin"),), size_bytes=7000,
    sha256="%s",
)
MODELS = (
    ModelDefinition(card("mean"), lambda files, graphs: Mean()),
    ModelDefinition(
        card("weighed", artifacts=(NUMBERS,)), lambda files, graphs: Mean()
    ),
)
"""

OPERATIONS = """
from pydantic import Field
from sightline.errors import TargetNotFound
from sightline.operations import Answer, Operation, Params, Result, TaskTemplate, TimingGroup
from sightline.types import PixelBox, Region, Target
from sightline_plugins.capabilities.mean import MEAN

class BrightnessParams(Params):
    above: float = Field(0.0, ge=0, le=255, description="Least brightness.")
    model: str = Field("mean", description="Which model.")
    part: bool = Field(False, description="Only the upper left corner.")
    words: list[str] = Field([], description="Echoed.")

class Brightness(Result):
    mean: float
    words: list[str]

class BrightnessOperation(Operation):
    name = "brightness"
    description = "Says how bright the picture is."
    needs = ()
    Params = BrightnessParams
    Result = Brightness
    example = {"above": 3.5}
    timing_group = TimingGroup.DETECTION
    default_tasks = (TaskTemplate("bright"),)

    async def run(self, scene, params, models):
        region = Region(Target.WHOLE_IMAGE, PixelBox(0, 0, 4, 4) if params.part else None)
        found = await scene.infer(MEAN, scene.view(region), params.model)
        if found.output < params.above:
            raise TargetNotFound("too dark to say")
        return Answer(Brightness(mean=found.output, words=params.words), found.model, region)

OPERATIONS = (BrightnessOperation(),)
"""

ECHO = """
from sightline.operations import Answer, Operation, Params, Result, TimingGroup

class EchoParams(Params):
    text: str

class Echo(Result):
    text: str

class EchoOperation(Operation):
    name = "echo"
    description = "Says the text again."
    needs = ()
    Params = EchoParams
    Result = Echo
    example = {"text": "a, b"}
    needs_picture = False
    timing_group = TimingGroup.DESCRIPTION

    async def run(self, scene, params, models):
        if params.text == "crash":
            raise ZeroDivisionError("a secret of the code")
        return Answer(Echo(text=params.text))

OPERATIONS = (EchoOperation(),)
"""

Sightline = Callable[..., Result]


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    (folder / "models").mkdir(parents=True)
    (folder / "capabilities").mkdir()
    (folder / "operations").mkdir()
    (folder / "capabilities" / "mean.py").write_text(CAPABILITIES)
    (folder / "models" / "mean.py").write_text(MODELS % hashlib.sha256(NUMBERS).hexdigest())
    (folder / "operations" / "brightness.py").write_text(OPERATIONS)
    (folder / "operations" / "echo.py").write_text(ECHO)
    return folder


@pytest.fixture
def environment(tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The whole configuration, for this process and those it starts."""
    for name in [name for name in os.environ if name.startswith(("SIGHTLINE_", "HF_", "API_KEY", "PORT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIGHTLINE_MODELS_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("SIGHTLINE_PLUGINS_DIR", str(plugins))
    monkeypatch.setenv("SIGHTLINE_HUB_ENDPOINT", "http://127.0.0.1:9")  # nothing answers on discard
    monkeypatch.chdir(tmp_path)
    return dict(os.environ)


@pytest.fixture
def sightline(environment: dict[str, str]) -> Sightline:
    """``sightline("models", "list")`` in this process."""

    def run(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(app, list(arguments), prog_name="sightline", **more)

    return run


@pytest.fixture
def started(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The real entry point in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from sightline.cli import main; main()", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment | variables,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., str]:
    """Writes a picture of one grey; returns its name in the working directory."""

    def write(name: str = "grey.png", grey: int = 100, size: tuple[int, int] = (8, 6)) -> str:
        Image.new("RGB", size, (grey, grey, grey)).save(tmp_path / name)
        return name

    return write


class _Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = NUMBERS if self.path == "/org/repo/resolve/main/numbers.bin" else None
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *arguments: Any) -> None:
        """Test output is for tests."""


@pytest.fixture
def hub(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that has the files of ``weighed``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("SIGHTLINE_HUB_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()
