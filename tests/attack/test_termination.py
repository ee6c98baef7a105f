"""SIGTERM under load: every request that the server has accepted is answered."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import psutil
import pytest

CLIENTS, REQUESTS_BEFORE = 16, 40
PATH = "/v1/operations/safe_search"


class Load:
    """Clients that send requests until they are told to stop, each over new connections or a kept one."""

    def __init__(self, url: str, photo: bytes, *, keeps_alive: bool) -> None:
        self.statuses: dict[str, int] = {}
        self.unanswered: set[str] = set()
        self._url, self._photo, self._keeps_alive = url, photo, keeps_alive
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._stopped.is_set():
                name = uuid.uuid4().hex
                headers = {"Content-Type": "image/jpeg", "X-Request-ID": name}
                if not self._keeps_alive:
                    headers["Connection"] = "close"
                try:
                    self.statuses[name] = client.post(PATH, content=self._photo, headers=headers).status_code
                except httpx2.TransportError:
                    self.unanswered.add(name)
                    time.sleep(0.01)


@pytest.mark.parametrize("keeps_alive", [False, True])
def test_nothing_accepted_is_lost(
    start: Callable[..., Any], portrait: bytes, keeps_alive: bool, is_long: bool
) -> None:
    for _ in range(10 if is_long else 1):
        server = start(SIGHTLINE_LAME_DUCK_S="0.5", SIGHTLINE_QUEUE_ITEMS="200")
        workers = server.decode_workers()
        load = Load(server.url, portrait, keeps_alive=keeps_alive)
        try:
            while len(load.statuses) < REQUESTS_BEFORE:
                assert server.process.poll() is None, server.log
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=60) == 0
        finally:
            load.stop()
        logged = [json.loads(line) for line in server.log.splitlines() if '"sightline.access"' in line]
        accepted = {line["request_id"]: line["status"] for line in logged if line["route"] == PATH}
        assert set(load.statuses.values()) == {200}
        assert accepted == load.statuses, "what the server took is what the clients got"
        assert "Traceback" not in server.log
        assert workers
        assert psutil.wait_procs(workers, timeout=20)[1] == []
