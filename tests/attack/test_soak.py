"""Thousands of mixed requests: memory, open files and threads stay level. Controls that leak are caught."""

from __future__ import annotations

import base64
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.attack.leaks import Sample, leaks

WARM_UP, REQUESTS, SAMPLES, CLIENTS = 400, 1000, 20, 4
LONG_S = float(os.environ.get("SOAK_S", 2 * 3600))
LEAKY = """
import os
import tempfile
import threading
from typing import Literal

from sightline.operations import Answer, Operation, Params, Result, TimingGroup

KEPT = []


class What(Params):
    what: Literal["memory", "files", "threads", "nothing"] = "nothing"


class Done(Result):
    kept: int


class Leaky(Operation[What, Done]):
    name = "leaky"
    description = "Keeps something of every request."
    needs = ()
    targets = ()
    default_target = None
    needs_picture = False
    Params = What
    Result = Done
    example = {}
    timing_group = TimingGroup.CLASSIFICATION

    async def run(self, scene, params, models):
        if params.what == "memory":
            KEPT.append(os.urandom(200_000))  # as much as a decoded photo of 250 × 200 pixels
        if params.what == "files":
            KEPT.append(tempfile.TemporaryFile())
        if params.what == "threads":
            thread = threading.Thread(target=threading.Event().wait, daemon=True)
            thread.start()
            KEPT.append(thread)
        return Answer(Done(kept=len(KEPT)), None, None)


OPERATIONS = (Leaky(),)
"""
JPEG = {"Content-Type": "image/jpeg"}


def mixed_requests(photo: bytes, damaged: bytes) -> tuple[tuple[str, dict[str, Any], int], ...]:
    """Path, arguments of the client and expected status: good ones and all kinds of refusals."""
    text = base64.b64encode(photo).decode()
    tasks = [{"operation": "safe_search"}, {"operation": "embed_clip"}]
    two = [("image", photo), ("image", damaged)]
    old = json.dumps([{"operation_id": "a", "type": "embed_clip_vit_b_32"}])
    return (
        ("/v1/operations/safe_search", {"content": photo, "headers": JPEG}, 200),
        ("/v1/analyze", {"json": {"base64": text, "tasks": tasks}}, 200),
        ("/v1/analyze", {"files": two, "data": {"operation": "embed_clip"}}, 200),
        ("/v1/operations/embed_clip", {"content": damaged, "headers": JPEG}, 422),
        ("/v1/operations/embed_clip", {"content": b"no image", "headers": JPEG}, 415),
        ("/v1/operations/nothing", {"content": photo, "headers": JPEG}, 404),
        ("/v1/analyze", {"json": {"url": "http://127.0.0.1/a.jpg"}}, 422),
        ("/v1/analyze", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("/v1/analyze?operation=embed_clip&size=x", {"files": {"image": photo}}, 422),
        ("/analyze_image_upload/", {"files": {"image_file": photo}, "data": {"tasks_json": old}}, 200),
        ("/classify", {"files": {"file": photo}}, 200),
        ("/api/geolocate", {"files": {"image": photo}}, 403),
    )  # fmt: skip


@pytest.fixture(scope="module")
def leaky_server(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("plugins")
    (folder / "operations").mkdir()
    (folder / "operations" / "leaky.py").write_text(LEAKY)
    return start(SIGHTLINE_PLUGINS_DIR=str(folder))


def _samples(server: Any, ask: Callable[[int], None], requests: int) -> Iterator[Sample]:
    """Samples between bursts of requests, while nothing is under way."""
    process = psutil.Process(server.process.pid)
    burst = requests // SAMPLES
    with ThreadPoolExecutor(CLIENTS) as clients:
        for number in range(SAMPLES):
            list(clients.map(ask, range(number * burst, (number + 1) * burst)))
            yield Sample.of(process, (number + 1) * burst)


def test_mixed_requests_leave_nothing_behind(
    server: Any, small_files: dict[str, bytes], is_long: bool
) -> None:
    requests = mixed_requests(small_files["jpeg"], small_files["jpeg"][:-400])
    wrong: Counter[tuple[str, int]] = Counter()

    def ask(number: int) -> None:
        path, arguments, expected = requests[number % len(requests)]
        status = server.client.post(path, **arguments).status_code
        if status != expected:
            wrong[path, status] += 1

    for _ in _samples(server, ask, WARM_UP):
        pass
    until_s = time.monotonic() + (LONG_S if is_long else 0.0)
    samples = list(_samples(server, ask, REQUESTS))
    while time.monotonic() < until_s:
        behind = samples[-1].requests
        samples += [
            replace(each, requests=behind + each.requests) for each in _samples(server, ask, REQUESTS)
        ]
        samples = samples[::2] if len(samples) > 2000 else samples
    assert leaks(samples) == []
    assert wrong == Counter()
    assert "Traceback" not in server.log


@pytest.mark.parametrize("what", ["memory", "files", "threads"])
def test_a_control_that_leaks_is_caught(leaky_server: Any, what: str) -> None:
    def ask(number: int) -> None:
        answer = leaky_server.client.post("/v1/operations/leaky", params={"what": what})
        assert answer.status_code == 200

    found = leaks(list(_samples(leaky_server, ask, 200)))
    assert any(what in line for line in found)  # a thread keeps memory too


def test_a_control_that_keeps_nothing_is_not(leaky_server: Any) -> None:
    def ask(number: int) -> None:
        assert leaky_server.client.post("/v1/operations/leaky").status_code == 200

    for _ in _samples(leaky_server, ask, 200):
        pass
    assert leaks(list(_samples(leaky_server, ask, 200))) == []
