"""How a download stands, read from its state."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from sightline.jobs.koop.store.counts import Counts
from sightline.jobs.koop.store.rates import learned_rates
from sightline.jobs.koop.store.results import Results
from sightline.jobs.koop.store.state import UNSOUND, DayState, State

# What is listed by name; the rest is counted.
_MOST_DAYS = 100
_MOST_TROUBLES = 10


@dataclass(frozen=True, slots=True)
class UnsoundDay:
    """A day that is partial or failed: why, and some of what failed on it, with the reasons."""

    date: dt.date
    state: DayState
    error: str | None
    troubles: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "date": self.date.isoformat(),
            "state": self.state.value,
            "error": self.error,
            "troubles": [{"what": what, "why": why} for what, why in self.troubles],
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """The days of a range. ``unsound`` are the first of those that failed; ``days`` counts all, by state."""

    first: dt.date
    last: dt.date
    days: dict[str, int]
    publications: int
    items: dict[str, int]
    unsound: tuple[UnsoundDay, ...]

    @property
    def failed_days(self) -> int:
        return sum(self.days.get(state, 0) for state in UNSOUND)

    @property
    def is_sound(self) -> bool:
        return self.failed_days == 0

    def as_json(self) -> dict[str, Any]:
        return {
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "days": self.days,
            "publications": self.publications,
            "items": self.items,
            "unsound": [each.as_json() for each in self.unsound],
        }

    def as_text(self) -> str:
        days = ", ".join(f"{number:,} {state}" for state, number in self.days.items())
        items = ", ".join(f"{number:,} {state}" for state, number in self.items.items())
        return (
            f"{self.first} to {self.last}: days: {days or 'none'}; "
            f"{self.publications:,} decisions; images: {items or 'none'}"
        )


@dataclass(frozen=True, slots=True)
class Status:
    """A whole folder. ``disk_bytes`` is of the files that stay; ``rates_per_s`` by origin, as learned;
    ``unsound`` as in :class:`Summary`."""

    first: str | None
    last: str | None
    days: dict[str, int]
    provisional_days: int
    publications: int
    items: dict[str, int]
    verdicts: dict[str, int]
    disk_bytes: int
    rates_per_s: dict[str, float]
    unsound: tuple[UnsoundDay, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "unsound": [each.as_json() for each in self.unsound]}


def summarized(state: State, first: dt.date, last: dt.date) -> Summary:
    """What came of a range of days, both ends included."""
    counts = Counts(state)
    return Summary(
        first,
        last,
        state.count_days(first, last),
        counts.number_of_publications(first, last),
        counts.count_items(first, last),
        _unsound(state, first, last),
    )


def status_of(state: State) -> Status:
    """What there is in a folder."""
    counts = Counts(state)
    ends = state.one(
        "SELECT min(date) AS first, max(date) AS last, total(provisional) AS provisional FROM days"
    )
    assert ends is not None
    return Status(
        first=ends["first"],
        last=ends["last"],
        days=state.count_days(),
        provisional_days=int(ends["provisional"]),
        publications=counts.number_of_publications(),
        items=counts.count_items(),
        verdicts=Results(state).count(),
        disk_bytes=counts.disk_bytes(),
        rates_per_s={origin: round(each.rate_per_s, 3) for origin, each in learned_rates(state).items()},
        unsound=_unsound(state),
    )


def _unsound(
    state: State, first: dt.date | None = None, last: dt.date | None = None
) -> tuple[UnsoundDay, ...]:
    counts = Counts(state)
    return tuple(
        UnsoundDay(day.date, day.state, day.error, tuple(counts.troubles(day.date, _MOST_TROUBLES)))
        for day in islice(state.days(first, last, UNSOUND), _MOST_DAYS)
    )
