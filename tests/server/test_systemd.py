"""The service tells systemd when it is ready, alive and stopping."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from sightline.server import systemd


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_ready_alive_and_stopping_are_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket() as free:
        systemd.bind(str(tmp_path / "notify"))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "400000",
            "SIGHTLINE_LAME_DUCK_S": "0",
            "SIGHTLINE_MODELS_DIR": str(tmp_path / "models"),
        }
        command = [sys.executable, "-m", "sightline", "serve", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            assert systemd.recv(100) == b"READY=1"
            assert httpx2.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200
            assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            server.send_signal(signal.SIGTERM)
            while (told := systemd.recv(100)) == b"WATCHDOG=1":
                pass
            assert told == b"STOPPING=1"
            assert server.wait(60) == 0
        finally:
            server.kill()
            server.wait()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
async def test_the_watchdog_gets_nothing_from_a_server_that_cannot_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    asked = 0
    often = asyncio.Event()

    def is_alive() -> bool:
        nonlocal asked
        asked += 1
        if asked >= 5:
            often.set()
        return asked <= 2

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.setblocking(False)
        telling = asyncio.create_task(systemd.keep_alive(is_alive))
        await often.wait()
        telling.cancel()
        assert [notices.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        with pytest.raises(BlockingIOError):
            notices.recv(100)
