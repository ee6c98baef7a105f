"""A token bucket that learns how much its host bears (additive increase, multiplicative decrease)."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from sightline.jobs.koop.polite.clock import Clock
from sightline.jobs.koop.polite.policy import PolitenessPolicy

# Sums of floats come out a hair short, and nobody should sleep for that.
_HAIR = 1e-9
# Of a burst.
_UNSAID_PART = 0.1


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of a host, to be kept between runs. Moments are Unix seconds.

    Attributes:
        tokens: what the bucket held at ``at_unix_s``; a run that begins at once has no second burst. Less
            than nothing if some may have been spent since that nobody wrote down.
        paused_until_unix_s: the host asked to be left alone until then; 0 if it did not.
    """

    rate_per_s: float
    tokens: float
    at_unix_s: float
    paused_until_unix_s: float = 0.0


def most_unsaid(policy: PolitenessPolicy) -> float:
    """How many tokens may be spent before that is written down."""
    return max(1.0, policy.burst * _UNSAID_PART)


class Bucket:
    """The requests one host may get. Shared by all workers of one event loop; they are served in turn.

    In any ``t`` seconds it gives out at most ``burst + ceiling_per_s × t`` tokens.

    Args:
        learned: where an earlier run left off; figures that make no sense are ignored.
    """

    def __init__(
        self, policy: PolitenessPolicy, clock: Clock, rng: random.Random, learned: Learned | None = None
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._queue = asyncio.Lock()
        self._rate_per_s = policy.rate_per_s
        self._tokens = policy.burst
        # Tokens are counted up to this moment. It lies ahead during a pause, in which none are added.
        self._counted_to_s = clock.now_s()
        self._slowed_at_s = -math.inf
        self._pauses_in_a_row = 0
        self._paused_as_asked = False
        if learned is not None:
            self._restore(learned)

    def _restore(self, learned: Learned) -> None:
        figures = (learned.rate_per_s, learned.tokens, learned.at_unix_s, learned.paused_until_unix_s)
        if not all(map(math.isfinite, figures)):
            return
        policy, unix_s = self._policy, self._clock.unix_s()
        self._rate_per_s = min(max(learned.rate_per_s, policy.floor_per_s), policy.ceiling_per_s)
        rested_s = max(0.0, unix_s - max(learned.at_unix_s, learned.paused_until_unix_s))
        tokens = max(-most_unsaid(policy), learned.tokens)
        self._tokens = min(policy.burst, tokens + rested_s * self._rate_per_s)
        pause_s = min(learned.paused_until_unix_s - unix_s, policy.max_retry_after_s)
        if pause_s > 0:
            self._pause(pause_s)

    @property
    def rate_per_s(self) -> float:
        return self._rate_per_s

    @property
    def paused_s(self) -> float:
        """Seconds from now for which nothing is sent to the host; 0 if it is not paused."""
        return max(0.0, self._counted_to_s - self._clock.now_s())

    @property
    def is_paused_as_asked(self) -> bool:
        """Whether it is paused, and for as long as the host said."""
        return self._paused_as_asked and self.paused_s > 0

    async def take(self, allow: Callable[[float], None] | None = None) -> float:
        """Wait for one token. Returns the moment it was taken, by the clock's ``now_s``.

        ``allow`` is told how many seconds a pause still takes, and may raise.
        """
        async with self._queue:
            while (wait_s := self._wait_s()) > 0:
                if allow is not None and (paused_s := self.paused_s) > 0:
                    allow(paused_s)
                await self._clock.sleep(wait_s)
            self._tokens = max(0.0, self._tokens - 1)
            return self._clock.now_s()

    def quicken(self, sent_at_s: float) -> None:
        """A request sent at ``sent_at_s`` was answered well."""
        if sent_at_s < self._slowed_at_s:
            return  # it says nothing about the rate since then
        self._count()
        self._pauses_in_a_row = 0
        self._rate_per_s = min(self._rate_per_s + self._policy.increase_per_s, self._policy.ceiling_per_s)

    def slow_down(self, sent_at_s: float, retry_after_s: float | None) -> None:
        """A request sent at ``sent_at_s`` was too much for the host; the whole host is paused.

        Requests that were under way together are one lesson, not many: the rate falls once.
        """
        pause_s = retry_after_s or 0.0
        if sent_at_s >= self._slowed_at_s and not self.paused_s:
            self._count()
            policy = self._policy
            self._rate_per_s = max(self._rate_per_s * policy.decrease, policy.floor_per_s)
            self._slowed_at_s = self._clock.now_s()
            longest_s = min(policy.pause_s * 2.0 ** min(self._pauses_in_a_row, 30), policy.max_pause_s)
            # Never next to nothing: the host has just said that it was too much.
            pause_s = max(pause_s, self._rng.uniform(longest_s / 2, longest_s))
            self._pauses_in_a_row += 1
        if pause_s > 0:
            if pause_s > self.paused_s:
                self._paused_as_asked = pause_s == retry_after_s
            self._pause(pause_s)

    def learned(self) -> Learned:
        self._count()
        unix_s = self._clock.unix_s()
        paused_s = self.paused_s
        return Learned(self._rate_per_s, self._tokens, unix_s, unix_s + paused_s if paused_s else 0.0)

    def _pause(self, pause_s: float) -> None:
        self._tokens = 0.0
        self._counted_to_s = max(self._counted_to_s, self._clock.now_s() + pause_s)

    def _count(self) -> None:
        now_s = self._clock.now_s()
        if now_s > self._counted_to_s:
            gained = (now_s - self._counted_to_s) * self._rate_per_s
            self._tokens = min(self._tokens + gained, self._policy.burst)
            self._counted_to_s = now_s

    def _wait_s(self) -> float:
        self._count()
        missing = 1 - self._tokens
        return self.paused_s + (missing / self._rate_per_s if missing > _HAIR else 0.0)
