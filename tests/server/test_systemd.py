"""The service tells systemd when it is ready, alive and stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest


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
