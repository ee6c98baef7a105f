"""Probes are answered while every thread that pictures are decoded and encoded on is taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from sightline.server.app import create_app, wrapped
from sightline.server.contracts import PROBES
from sightline.server.lookout import Lookout
from sightline.server.state import state_of_app
from sightline.settings import Settings

WORKERS = 3
# Only ever passes in full when a test fails.
WAIT_S = 30.0


class Occupation:
    """Work that goes on until it is told to stop."""

    def __init__(self) -> None:
        self._begun = threading.Semaphore(0)
        self._over = threading.Event()

    def __call__(self) -> None:
        self._begun.release()
        assert self._over.wait(WAIT_S)

    def wait_until_begun(self, times: int) -> None:
        for _ in range(times):
            assert self._begun.acquire(timeout=WAIT_S)

    def end(self) -> None:
        self._over.set()


@pytest.fixture
def occupied(
    settings: Settings,
    with_colours: Callable[[Path], Path],
    tmp_path: Path,
    listening_to: Callable[[object], str],
) -> Iterator[httpx2.Client]:
    """A server that lacks nothing, and whose workers and asyncio threads are all at work."""
    settings = settings.model_copy(
        update={
            "worker_threads": WORKERS,
            "plugins_dir": with_colours(tmp_path / "plugins"),
            "gemini_api_key": SecretStr("sk-secret-0123456789abcdef"),
        }
    )
    app = create_app(settings)
    occupation = Occupation()
    under_way: list[asyncio.Future[Any]] = []

    @app.post("/occupy")
    async def occupy() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        under_way.append(asyncio.ensure_future(asyncio.to_thread(occupation)))
        engine = state_of_app(app).analyzer.engine
        under_way.extend(asyncio.ensure_future(engine.work(occupation)) for _ in range(WORKERS))

    url = listening_to(wrapped(app, settings))
    with httpx2.Client(base_url=url, timeout=WAIT_S / 2, trust_env=False) as client:
        try:
            assert client.post("/occupy").status_code == 200
            occupation.wait_until_begun(1 + WORKERS)
            yield client
        finally:
            occupation.end()


@pytest.mark.parametrize("path", sorted(PROBES | {"/metrics", "/"}))
def test_probes_wait_for_no_picture(occupied: httpx2.Client, path: str) -> None:
    response = occupied.get(path)
    assert response.status_code == 200, response.text


def test_many_probes_at_once_are_all_answered(occupied: httpx2.Client) -> None:
    paths = sorted(PROBES) * 20
    with ThreadPoolExecutor(20) as probes:
        statuses = set(probes.map(lambda path: occupied.get(path).status_code, paths))
    assert statuses == {200}


async def test_a_look_gives_back_what_it_saw_off_the_loop() -> None:
    async with Lookout() as lookout:
        seen = await lookout.look(lambda this, that: (this, that, threading.current_thread()), 1, 2)
        assert seen[:2] == (1, 2)
        assert seen[2] is not threading.current_thread()
        with pytest.raises(ZeroDivisionError):
            await lookout.look(lambda: 1 // 0)
