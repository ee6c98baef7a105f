"""Closing does not wait for what hangs: a download from a silent server, a decoder at a hostile file."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sightline.errors import SightlineError, SourceMissing
from sightline.imaging import View
from sightline.runtime import threads
from sightline.runtime.engine import Context

WAIT_S = 10.0


@pytest.fixture
def gate() -> Any:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "CLOSE_TIMEOUT_S", 0.1)


async def until(condition: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.002)


async def test_a_load_that_hangs_is_left_behind(start: Any, define: Any, gate: threading.Event) -> None:
    entered = threading.Event()

    def load(files: Any, graphs: Any) -> Any:
        entered.set()
        assert gate.wait(WAIT_S)

    engine = start(define("slow", load=load)).engine
    asking = asyncio.create_task(engine.infer("slow", "1", Context.lasting(WAIT_S)))
    await until(entered.is_set)
    await engine.close()
    assert not gate.is_set()
    with pytest.raises(SightlineError):
        await asking


async def test_a_decoder_that_hangs_is_left_behind(
    start: Any, define: Any, gate: threading.Event, photo: Any
) -> None:
    entered = threading.Event()

    class Slow:
        def prepare(self, subject: Any) -> Any:
            entered.set()
            gate.wait(WAIT_S)

        def infer(self, items: Any) -> Any:
            return items

    engine = start(define("slow", Slow())).engine
    asking = asyncio.create_task(engine.infer("slow", View(photo), Context.lasting(WAIT_S)))
    await until(entered.is_set)
    await engine.close()
    assert not gate.is_set()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_failed_load_names_the_model_once_in_the_log(
    start: Any, define: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def load(files: Any, graphs: Any) -> Any:
        raise SourceMissing("lost: missing a file; bring it in")

    engine = start(define("lost", load=load)).engine
    with caplog.at_level(logging.WARNING), pytest.raises(SourceMissing):
        await engine.infer("lost", "1", Context.lasting(WAIT_S))
    (line,) = [each.getMessage() for each in caplog.records if "did not load" in each.getMessage()]
    assert line.count("lost") == 1


def test_a_server_ends_during_a_stalled_download(tmp_path: Path) -> None:
    """The hub accepts connections and says nothing, for longer than the test may take."""
    with socket.create_server(("127.0.0.1", 0)) as hub, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        server = subprocess.Popen(
            [sys.executable, "-c", "from sightline.cli import main; main()", "serve", "--port", str(port)],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "SIGHTLINE_MODELS_DIR": str(tmp_path / "models"),
                "SIGHTLINE_HUB_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}",
                "SIGHTLINE_PRELOAD": "dinov2-base",
                "SIGHTLINE_LAME_DUCK_S": "0",
                "SIGHTLINE_SHUTDOWN_GRACE_S": "5",
            },
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        try:
            hub.settimeout(60)
            connection, _ = hub.accept()
            with connection:
                server.send_signal(signal.SIGTERM)
                assert server.wait(60) == 0
        finally:
            server.kill()
            server.wait()
