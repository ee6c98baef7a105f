"""Resolve once, refuse unless every answer is allowed, dial what was checked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2
import pytest

from sightline.errors import UrlRefused
from sightline.fetching import Resolver
from sightline.fetching.backend import BLOCKED, MAX_DIALLED, GuardedBackend


class Handshake(httpcore2.AsyncMockStream):
    """A connection that notes how long its TLS handshake may take."""

    timeout_s: float | None = None

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's signature)
    ) -> httpcore2.AsyncNetworkStream:
        self.timeout_s = timeout
        return self


class Recorder(httpcore2.AsyncNetworkBackend):
    """Notes what it is asked to dial and fails, or succeeds for ``up``: no packet leaves the machine."""

    def __init__(self, up: str | None = None) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.timeouts_s: list[float | None] = []
        self._up = up

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's signature)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.dialled.append((host, port))
        self.timeouts_s.append(timeout)
        if host != self._up:
            raise httpcore2.ConnectError("down")
        return Handshake([])


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
async def test_the_checked_address_is_dialled(address: str, resolve: Callable[..., Resolver]) -> None:
    resolver, recorder = resolve([address]), Recorder(up=address)
    backend = GuardedBackend(resolver, dns_timeout_s=1, dialler=recorder)
    await backend.connect_tcp("photos.example", 443, timeout=1)
    assert recorder.dialled == [(address, 443)]
    assert resolver.asked == [("photos.example", 443)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["10.0.0.1", "8.8.8.8"],
        ["8.8.8.8", "::ffff:10.0.0.1"],
        ["2606:4700:4700::1111", "fe80::1%eth0"],
        ["8.8.8.8", "not an address"],
        ["8.8.8.8"] * MAX_DIALLED + ["169.254.169.254"],  # past those that would be dialled
    ],
    ids=str,
)
async def test_one_bad_answer_refuses_all(answers: list[str], resolve: Callable[..., Resolver]) -> None:
    recorder = Recorder()
    backend = GuardedBackend(resolve(answers), dns_timeout_s=1, dialler=recorder)
    with pytest.raises(UrlRefused) as refusal:
        await backend.connect_tcp("photos.example", 80, timeout=1)
    assert str(refusal.value) == BLOCKED
    assert recorder.dialled == []


async def test_rebinding_between_two_connections(resolve: Callable[..., Resolver]) -> None:
    """The second look-up turns private: the second connection is refused, the first never saw it."""
    recorder = Recorder(up="8.8.8.8")
    backend = GuardedBackend(resolve(["8.8.8.8"], ["127.0.0.1"]), dns_timeout_s=1, dialler=recorder)
    await backend.connect_tcp("photos.example", 80, timeout=1)
    with pytest.raises(UrlRefused):
        await backend.connect_tcp("photos.example", 80, timeout=1)
    assert recorder.dialled == [("8.8.8.8", 80)]


async def test_next_address_when_one_is_down(resolve: Callable[..., Resolver]) -> None:
    recorder = Recorder(up="1.1.1.1")
    answers = ["2606:4700:4700::1111", "2606:4700:4700::1111", "8.8.8.8", "1.1.1.1"]
    backend = GuardedBackend(resolve(answers), dns_timeout_s=1, dialler=recorder)
    await backend.connect_tcp("photos.example", 80, timeout=3)
    assert [host for host, _ in recorder.dialled] == ["2606:4700:4700::1111", "8.8.8.8", "1.1.1.1"]
    # Each gets an even share of what is left, so the last can still have everything.
    assert recorder.timeouts_s == pytest.approx([1.0, 1.5, 3.0], abs=0.2)


async def test_tls_gets_what_connecting_left(resolve: Callable[..., Resolver]) -> None:
    backend = GuardedBackend(resolve(["8.8.8.8"]), dns_timeout_s=1, dialler=Recorder(up="8.8.8.8"))
    stream = await backend.connect_tcp("photos.example", 443, timeout=1.0)
    await asyncio.sleep(0.1)
    handshake = await stream.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "photos.example", timeout=1.0)
    assert isinstance(handshake, Handshake)
    assert handshake.timeout_s is not None
    assert 0.0 < handshake.timeout_s <= 0.9


async def test_a_long_list_does_not_make_us_a_scanner(resolve: Callable[..., Resolver]) -> None:
    recorder = Recorder()
    answers = [f"8.8.{third}.{last}" for third in range(4) for last in range(250)]
    backend = GuardedBackend(resolve(answers), dns_timeout_s=1, dialler=recorder)
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("photos.example", 80, timeout=1)
    assert len(recorder.dialled) == MAX_DIALLED


async def test_no_answer(resolve: Callable[..., Resolver]) -> None:
    recorder = Recorder()
    backend = GuardedBackend(resolve([]), dns_timeout_s=1, dialler=recorder)
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("photos.example", 80)
    assert recorder.dialled == []


async def test_slow_look_up() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return ["8.8.8.8"]

    recorder = Recorder()
    backend = GuardedBackend(never, dns_timeout_s=0.05, dialler=recorder)
    with pytest.raises(httpcore2.ConnectTimeout):
        await backend.connect_tcp("photos.example", 80)
    assert recorder.dialled == []


async def test_failed_look_up() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(httpcore2.ConnectError):
        await GuardedBackend(unknown, dns_timeout_s=1, dialler=Recorder()).connect_tcp("photos.example", 80)


async def test_no_unix_sockets(resolve: Callable[..., Resolver]) -> None:
    with pytest.raises(UrlRefused):
        await GuardedBackend(resolve([]), dns_timeout_s=1).connect_unix_socket("/run/docker.sock")
