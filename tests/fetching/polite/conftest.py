"""Time that passes when somebody sleeps, and clients whose hosts are on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sightline.jobs.koop.polite import Clock, PoliteClient, PolitenessPolicy

CONTACT = "https://example.org/about"
STARTED_UNIX_S = 1_700_000_000.0


class Jumping:
    """A clock that jumps to the end of each sleep. ``slept`` has every sleep's seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        self.clock = Clock(lambda: self.now_s, lambda: STARTED_UNIX_S + self.now_s - 1000.0, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        until_s = self.now_s + seconds
        await asyncio.sleep(0)
        self.now_s = max(self.now_s, until_s)

    def rest(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def time() -> Jumping:
    return Jumping()


@pytest.fixture(scope="session")
def jumping() -> type[Jumping]:
    """For tests that need a fresh one per example."""
    return Jumping


@pytest.fixture
def policy() -> Callable[..., PolitenessPolicy]:
    """The usual ones; keywords override."""
    return lambda **changes: PolitenessPolicy(**{"contact": CONTACT, **changes})


@pytest.fixture
async def polite(
    time: Jumping, policy: Callable[..., PolitenessPolicy]
) -> AsyncIterator[Callable[..., PoliteClient]]:
    """``polite(server, ...)``: a client that may ask these servers.

    Keywords are the policy's, and ``learned``, ``resolver``, ``origins``.
    """
    made: list[PoliteClient] = []

    def build(*servers: Any, **options: Any) -> PoliteClient:
        origins = [f"http://127.0.0.1:{server.port}" for server in servers] + options.pop("origins", [])
        mine = {name: options.pop(name) for name in ("learned", "resolver") if name in options}
        client = PoliteClient(policy(**options), origins, clock=time.clock, rng=random.Random(7), **mine)
        made.append(client)
        return client

    yield build
    for client in made:
        await client.aclose()


@pytest.fixture
def answers(
    ok: Callable[..., bytes],
) -> Callable[..., Callable[[str, asyncio.StreamWriter], Awaitable[None]]]:
    """``answers(*scripts)``: what a server sends, one script per request and the last for ever.

    A script is a status (an empty answer with it), ``(status, header, ...)``, or bytes: a body with 200, or
    all that is sent if they begin with ``HTTP/``. Every answer closes its connection.
    """

    def build(*scripts: Any) -> Callable[[str, asyncio.StreamWriter], Awaitable[None]]:
        left = list(scripts)

        async def answer(head: str, writer: asyncio.StreamWriter) -> None:
            script = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(script, bytes):
                raw = script if script.startswith(b"HTTP/") else ok(script, "Connection: close")
            else:
                status, *headers = script if isinstance(script, tuple) else (script,)
                raw = ok(b"", "Connection: close", *headers, status=f"{status} -")
            writer.write(raw)
            await writer.drain()
            writer.close()

        return answer

    return build
