"""A polite client for the loopback servers, whose pauses take no time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from koopserver import KoopServer

from sightline.jobs.koop.polite import Clock, Learned, PoliteClient, PolitenessPolicy


class Jumping:
    """A clock that jumps to the end of each sleep."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now_s, lambda: 1_700_000_000.0 + self.now_s, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        await asyncio.sleep(0)
        self.now_s = max(self.now_s, until_s)


def client_of(
    koop: KoopServer,
    time: Jumping | None = None,
    *,
    learned: Mapping[str, Learned] | None = None,
    **policy: Any,
) -> PoliteClient:
    """May ask all three hosts. Without ``time`` it has a clock of its own."""
    hosts = (koop.repository_url, koop.reader_url, koop.attachments_url)
    return PoliteClient(
        PolitenessPolicy("https://example.org/about", **policy),
        hosts,
        clock=(time or Jumping()).clock(),
        rng=random.Random(3),
        learned=learned,
    )
