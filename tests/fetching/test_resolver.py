"""The machine's own resolver, kept off the threads that compute."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest

from sightline.errors import FetchTimeout
from sightline.fetching import Fetcher, FetchPolicy
from sightline.fetching.resolver import SystemResolver


@pytest.fixture
async def resolver() -> AsyncIterator[SystemResolver]:
    made = SystemResolver()
    yield made
    made.close()


@pytest.mark.parametrize(
    "spelling", ["127.0.0.1", "127.1", "0177.0.0.1", "0x7f.1", "2130706433", "0x7f000001"]
)
async def test_spellings_come_out_as_the_address_they_mean(resolver: SystemResolver, spelling: str) -> None:
    assert set(await resolver(spelling, 80)) == {"127.0.0.1"}


async def test_ipv6_literals(resolver: SystemResolver) -> None:
    assert await resolver("0:0::1", 80) == ["::1"]


async def test_unknown_names_are_an_os_error(resolver: SystemResolver) -> None:
    with pytest.raises(socket.gaierror):
        await resolver("x" * 64, 80)  # too long for a label: no name server is asked


async def test_a_hung_look_up_delays_its_own_fetch_only(
    monkeypatch: pytest.MonkeyPatch, policy: Callable[..., FetchPolicy]
) -> None:
    hung = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: bytes, *arguments: object, **keywords: object) -> object:
        if host == b"slow.example":
            hung.wait(10)
        return real("127.0.0.1", *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    started_s = time.monotonic()
    async with Fetcher(policy(dns_timeout_s=0.1)) as fetcher:
        slow = asyncio.create_task(fetcher.fetch("http://slow.example/", 10))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "a thread of the common pool is free") is not None
        with pytest.raises(FetchTimeout):
            await slow
    assert time.monotonic() - started_s < 1.0
    hung.set()
