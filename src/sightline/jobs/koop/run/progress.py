"""What happens in a run, as it happens: for whoever shows it."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sightline.jobs.koop.polite import PoliteClient, Silence
from sightline.jobs.koop.store.state import DayState

# Usual answers of the archive come within seconds.
SILENT_AFTER_S = 15.0
_LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a reader must know to not misread the result."""

    message: str


@dataclass(frozen=True, slots=True)
class Working:
    """A day under way: how many of its publications are through."""

    date: dt.date
    publications: int
    of_publications: int


@dataclass(frozen=True, slots=True)
class DayEnded:
    """A day's outcome, and how the run stands.

    Attributes:
        publications: whose items are known; ``of_publications`` is what the search says there are.
        images: files that were had, each counted once; ``kept`` and ``failed`` are of these and of those that
            could not be had. In a dry run ``kept`` are those that would be.
        requests_per_s: to all hosts together, since the run began.
        days, of_days: how many days of the range are behind the run.
        eta_s: until the end at the pace so far, in seconds.
        absent: publications beside these that an earlier search had found and this one has not.
    """

    date: dt.date
    state: DayState
    publications: int
    of_publications: int
    images: int
    kept: int
    failed: int
    error: str | None
    provisional: bool
    requests_per_s: float
    days: int
    of_days: int
    eta_s: float | None
    absent: int = 0


@dataclass(frozen=True, slots=True)
class Silent:
    """A host of the archive owes an answer, and how it is waited for. Comes again every few seconds."""

    silence: Silence


@dataclass(frozen=True, slots=True)
class Answered:
    """A host that was silent is not any more. ``after_s``: for how long it was, in seconds."""

    origin: str
    after_s: float


Event = Warned | Working | DayEnded | Silent | Answered
Report = Callable[[Event], None]


class Pace:
    """How far a run is through its days.

    Args:
        of_days: days of the range.
        now_s: a clock that only grows.
    """

    def __init__(self, of_days: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self.of_days = of_days
        self.days = 0
        self._worked = 0
        self._now_s = now_s
        self._began_s = now_s()

    def passed(self, *, worked: bool) -> None:
        """One more day is behind the run; ``worked`` unless it had been before."""
        self.days += 1
        self._worked += worked

    @property
    def elapsed_s(self) -> float:
        return self._now_s() - self._began_s

    def eta_s(self, settled: int) -> float | None:
        """Seconds until the end, if ``settled`` of the days still to come need no work."""
        if not self._worked:
            return None
        left = max(0, self.of_days - self.days - settled)
        return left * self.elapsed_s / self._worked


@asynccontextmanager
async def reporting_silences(client: PoliteClient, report: Report) -> AsyncIterator[None]:
    """Report, during the block, each host that has been silent for :data:`SILENT_AFTER_S`, every few seconds
    by the client's clock; and once that it answers again.
    """
    task = asyncio.create_task(_tell(client, report))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _tell(client: PoliteClient, report: Report) -> None:
    known: dict[str, Silence] = {}
    while True:
        await client.clock.sleep(_LOOK_EVERY_S)
        silent = {each.origin: each for each in client.silences() if each.for_s >= SILENT_AFTER_S}
        for origin in [each for each in known if each not in silent and client.answers(each)]:
            report(Answered(origin, known[origin].for_s))
        for each in silent.values():
            report(Silent(each))
        # One that nobody wants anything of just now is neither: it stays known until it answers.
        known = {origin: each for origin, each in known.items() if not client.answers(origin)} | silent
