"""A circuit breaker: a host that keeps failing is left alone, then tried by one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sightline.jobs.koop.polite.clock import Clock
from sightline.jobs.koop.polite.policy import PolitenessPolicy


class Turn:
    """One request's leave to go. It says how the host was; saying nothing means that it never got there."""

    def __init__(self) -> None:
        self.host_was_well: bool | None = None

    def well(self) -> None:
        self.host_was_well = True

    def ill(self) -> None:
        self.host_was_well = False


class Breaker:
    """Lets requests of one host through, or holds them.

    After ``breaker_failures`` failures in a row nothing goes for ``breaker_pause_s``; then one request goes
    and all others wait for how it fares. A failure doubles the pause, a success lets everyone go.
    """

    def __init__(self, policy: PolitenessPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._failures = 0
        self._pause_s = policy.breaker_pause_s
        self._closed_again_s: float | None = None
        self._probe_over: asyncio.Event | None = None

    @property
    def left_s(self) -> float:
        """Seconds from now for which nothing goes; 0 if something may."""
        return max(0.0, (self._closed_again_s or 0.0) - self._clock.now_s())

    @property
    def is_open(self) -> bool:
        """Whether requests are held."""
        return self._closed_again_s is not None

    @asynccontextmanager
    async def turn(self, allow: Callable[[float], None] | None = None) -> AsyncIterator[Turn]:
        """Wait until a request may go; the block is that request. ``allow`` is told how many seconds that
        will take, and may raise."""
        is_probe = await self._wait(allow)
        turn = Turn()
        try:
            yield turn
        finally:
            if is_probe:
                self._end_probe()
            if turn.host_was_well is True:
                self._close()
            elif turn.host_was_well is False:
                self._fail(is_probe)

    async def _wait(self, allow: Callable[[float], None] | None) -> bool:
        """Returns whether the request is the one that tries."""
        while self._closed_again_s is not None:
            if (left_s := self.left_s) > 0:
                if allow is not None:
                    allow(left_s)
                await self._clock.sleep(left_s)
            elif self._probe_over is None:
                self._probe_over = asyncio.Event()
                return True
            else:
                await self._probe_over.wait()
        return False

    def _end_probe(self) -> None:
        if self._probe_over is not None:
            self._probe_over.set()
            self._probe_over = None

    def _close(self) -> None:
        self._failures = 0
        self._closed_again_s = None
        self._pause_s = self._policy.breaker_pause_s

    def _fail(self, is_probe: bool) -> None:
        self._failures += 1
        if is_probe:
            self._pause_s = min(self._pause_s * 2, self._policy.max_breaker_pause_s)
        elif self.is_open or self._failures < self._policy.breaker_failures:
            return
        self._closed_again_s = self._clock.now_s() + self._pause_s
