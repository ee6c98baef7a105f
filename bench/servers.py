"""Start and stop the servers under measurement, and read their memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from bench import random_models

START_TIMEOUT_S = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: list[str], port: int, ready_path: str, env: Mapping[str, str]
) -> Iterator[psutil.Process]:
    """A server process, from its first good answer on ``ready_path`` until the block ends."""
    process = subprocess.Popen(command, env={**os.environ, **env})
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}{ready_path}")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def sightline(port: int, preload: Iterable[str], **settings: str) -> Iterator[psutil.Process]:
    """Our server on the random models, these loaded before the block begins. ``settings`` by field name."""
    env = {
        "SIGHTLINE_MODELS_DIR": str(random_models.FOLDER),
        "SIGHTLINE_ALLOW_RANDOM_WEIGHTS": "1",
        "SIGHTLINE_PRELOAD": ",".join(preload),
        "SIGHTLINE_PORT": str(port),
        "SIGHTLINE_LAME_DUCK_S": "0",
        "SIGHTLINE_LOG_LEVEL": "error",
        **{f"SIGHTLINE_{name.upper()}": value for name, value in settings.items()},
    }
    command = [str(Path(sys.executable).with_name("sightline")), "serve"]
    with running(command, port, "/readyz", env) as process:
        yield process


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            if httpx2.get(url, timeout=2).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError("the server was not ready in time")


def resident_mib(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20
