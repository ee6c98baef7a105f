"""The first request for a model whose weights are still arriving."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

WEIGHTS = bytes(range(256)) * 4096

PLUGIN = """
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.caption import CAPTION
from sightline.weights.sources import Artifact, HubFile

class Mean:
    def prepare(self, view):
        return str(view.pixels().mean())

    def infer(self, items):
        return list(items)

WEIGHTS = Artifact("weights.bin", (HubFile("org/repo", "weights.bin"),), size_bytes={size}, sha256="{sha256}")
MODELS = (
    ModelDefinition(
        ModelCard(
            name="late", capabilities=frozenset({{CAPTION}}), description="d", licence="CC0-1.0",
            homepage="https://example.org", preprocessing="p", parameters=0, multiply_adds=0,
            artifacts=(WEIGHTS,),
        ),
        lambda files, graphs: Mean(),
    ),
)
"""


class SlowHub(ThreadingHTTPServer):
    """Sends half of the weights, and the rest when ``gate`` opens."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gate = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: SlowHub

    def log_message(self, *args: Any) -> None:
        """Test output is for tests."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        half = len(WEIGHTS) // 2
        self.wfile.write(WEIGHTS[:half])
        self.wfile.flush()
        self.server.gate.wait(30)
        self.wfile.write(WEIGHTS[half:])


@pytest.fixture
def hub() -> Iterator[SlowHub]:
    server = SlowHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(hub: SlowHub, serve: Callable[..., httpx2.Client], tmp_path: Path) -> httpx2.Client:
    plugins = tmp_path / "plugins"
    (plugins / "models").mkdir(parents=True)
    text = PLUGIN.format(size=len(WEIGHTS), sha256=hashlib.sha256(WEIGHTS).hexdigest())
    (plugins / "models" / "late.py").write_text(text)
    return serve(
        models_dir=tmp_path / "models",
        plugins_dir=plugins,
        offline=False,
        hub_endpoint=f"http://127.0.0.1:{hub.server_port}",
        request_timeout_s=1.0,
    )


def _ask(client: httpx2.Client, portrait: bytes) -> httpx2.Response:
    return client.post(
        "/v1/operations/describe_image", params={"model": "late"}, files={"image": ("p.jpg", portrait)}
    )


def _model(client: httpx2.Client) -> Any:
    return next(each for each in client.get("/v1/models").json()["models"] if each["name"] == "late")


def test_a_request_that_cannot_wait_learns_when_to_come_back(
    client: httpx2.Client, hub: SlowHub, portrait: bytes
) -> None:
    assert _model(client)["download"] is None
    refused = _ask(client, portrait)
    assert refused.status_code == 503
    assert refused.json()["code"] == "model_loading"
    assert 5 <= int(refused.headers["Retry-After"]) <= 600

    coming = _model(client)
    assert coming["state"] == "loading"
    assert coming["download"]["step"] == "weights.bin"
    assert 0 < coming["download"]["done_bytes"] <= len(WEIGHTS) // 2
    assert coming["download"]["total_bytes"] == len(WEIGHTS)
    assert coming["download"]["bytes_per_s"] >= 0

    hub.gate.set()
    deadline = time.monotonic() + 20
    while (answer := _ask(client, portrait)).status_code == 503:
        assert time.monotonic() < deadline, "the model never came"
    assert answer.status_code == 200
    assert _model(client)["download"] is None


def test_one_task_that_waits_is_told_in_its_own_result(
    client: httpx2.Client, hub: SlowHub, portrait: bytes
) -> None:
    tasks = (
        '[{"id": "late", "operation": "describe_image", "params": {"model": "late"}},'
        ' {"id": "places", "operation": "classify", "params": {"collection_id": "none"}}]'
    )
    answer = client.post("/v1/analyze", files={"image": ("p.jpg", portrait)}, data={"tasks": tasks})
    assert answer.status_code == 200
    (image,) = answer.json()["images"]
    error = image["results"]["late"]["error"]
    assert error["code"] == "model_loading"
    assert error["retry_after_s"] >= 5


def test_a_request_that_can_wait_is_answered(client: httpx2.Client, hub: SlowHub, portrait: bytes) -> None:
    hub.gate.set()
    deadline = time.monotonic() + 20
    while (answer := _ask(client, portrait)).status_code == 503:
        assert time.monotonic() < deadline, "the model never came"
    assert answer.json()["images"][0]["results"]
