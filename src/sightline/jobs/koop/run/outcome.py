"""What came of a day, and how a run stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from sightline.jobs.koop.lifecycle import ItemState
from sightline.jobs.koop.polite import PoliteClient
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.run.progress import DayEnded, Pace
from sightline.jobs.koop.store.counts import Counts
from sightline.jobs.koop.store.documents import PublicationState
from sightline.jobs.koop.store.results import Fingerprints
from sightline.jobs.koop.store.revisions import Revisions
from sightline.jobs.koop.store.state import Day, DayState, State


class Outcomes:
    """Of one run.

    Args:
        by: who judges; None: nobody.
        terms: digest of the run's rules.
    """

    def __init__(
        self, state: State, client: PoliteClient, options: Options, by: Fingerprints | None, terms: str
    ) -> None:
        self._state = state
        self._counts = Counts(state)
        self._revisions = Revisions(state)
        self._client = client
        self._options = options
        self._by = by
        self._terms = terms
        self.pace = Pace(options.number_of_days)

    def outcome(self, day: Day) -> tuple[DayState, str | None]:
        """The state of a day of which everything was tried, and what is missing."""
        publications = self._counts.count_publications(day.date)
        items = self._counts.count_items(day.date, day.date)
        short = [] if day.whole else [day.error or "the search was not complete"]
        missing = [
            *short,
            *_counted(publications.get(PublicationState.FAILED, 0), "publication", "failed"),
            *_counted(items.get(ItemState.FAILED, 0), "file", "failed"),
            *_counted(self._counts.count_not_judged(day.date), "new verdict", "failed"),
            *_counted(self._revisions.count_failed(day.date), "file", "could not be asked for again"),
        ]
        if missing:
            return DayState.PARTIAL, "; ".join(missing)
        return (DayState.COMPLETE if publications else DayState.EMPTY), None

    def ended(self, day: Day) -> DayEnded:
        """What is told of a day that has ended."""
        items = self._counts.count_items(day.date, day.date)
        publications = self._counts.count_publications(day.date)
        absent = self._revisions.count_absent(day.date)
        kept = items.get(ItemState.KEPT, 0)
        if self._options.dry_run:
            kept = self._counts.count_wanted(day.date, self._by)
        had = sum(items.get(each, 0) for each in (ItemState.CLASSIFIED, ItemState.KEPT, ItemState.REJECTED))
        requests = sum(each.requests for each in self._client.traffic().values())
        return DayEnded(
            date=day.date,
            state=day.state,
            publications=max(0, publications.get(PublicationState.COMPLETE, 0) - absent),
            of_publications=day.number_of_records or 0,
            images=had,
            kept=kept,
            failed=sum(
                (
                    items.get(ItemState.FAILED, 0),
                    publications.get(PublicationState.FAILED, 0),
                    self._revisions.count_failed(day.date),
                )
            ),
            error=day.error,
            provisional=day.provisional,
            requests_per_s=requests / max(self.pace.elapsed_s, 1e-3),
            days=self.pace.days,
            of_days=self.pace.of_days,
            eta_s=self.pace.eta_s(self._settled_beyond(day.date)),
            absent=absent,
        )

    def _settled_beyond(self, date: dt.date) -> int:
        """How many of the days still to come need no work."""
        options, one = self._options, dt.timedelta(days=1)
        if options.newest_first:
            return self._state.count_settled(options.first, date - one, self._terms)
        return self._state.count_settled(date + one, options.last_searched, self._terms)


def _counted(number: int, what: str, how: str) -> Iterator[str]:
    if number:
        yield f"{number} {what}{'s' if number > 1 else ''} {how}"
