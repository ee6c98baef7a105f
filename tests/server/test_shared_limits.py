"""Rate limits that servers share, with a real Redis."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from sightline.errors import ConfigurationError
from sightline.server.app import create_app, wrapped
from sightline.settings import Settings


@contextmanager
def redis_at(folder: Path, port: int) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed; on Debian: apt-get install redis-server")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:  # pytest's own time limit ends what never answers
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


def statuses(client: httpx2.Client, times: int) -> list[int]:
    return [client.get("/v1/operations").status_code for _ in range(times)]


def test_two_servers_share_one_limit(serve, tmp_path: Path, port: int) -> None:
    with redis_at(tmp_path, port) as url:
        limits = {"rate_limit_store": url, "rate_limits": ("/v1=5/hour",)}
        one, other = serve(**limits), serve(**limits)
        assert statuses(one, 3) == [200] * 3
        assert statuses(other, 3) == [200, 200, 429]
        refused = one.get("/v1/operations")
        assert refused.status_code == 429
        assert refused.json()["code"] == "rate_limited"
        assert 3590 <= int(refused.headers["retry-after"]) <= 3600


def test_a_refused_request_counts_against_no_limit(serve, tmp_path: Path, port: int) -> None:
    with redis_at(tmp_path, port) as url:
        client = serve(rate_limit_store=url, rate_limits=("/v1=4/hour", "/v1/operations=1/hour"))
        assert statuses(client, 4) == [200, 429, 429, 429]
        assert [client.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_without_redis_each_server_limits_alone_and_shares_again_later(
    serve, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.server.middleware.redis_windows.PAUSE_S", 0.0)
    client = serve(rate_limit_store=f"redis://127.0.0.1:{port}/0", rate_limits=("/v1=2/hour",))
    assert statuses(client, 3) == [200, 200, 429]
    with redis_at(tmp_path, port):
        assert statuses(client, 3) == [200, 200, 429]


def test_a_redis_that_hangs_holds_no_request_up(serve, port: int) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", port))
        silent.listen(8)
        client = serve(rate_limit_store=f"redis://127.0.0.1:{port}/0", rate_limits=("/v1=2/hour",))
        assert statuses(client, 3) == [200, 200, 429]


def test_an_address_that_is_none_is_refused_at_start() -> None:
    settings = Settings(_env_file=None, rate_limit_store="ftp://example.org", rate_limits=("/v1=2/hour",))
    with pytest.raises(ConfigurationError):
        wrapped(create_app(settings), settings)
