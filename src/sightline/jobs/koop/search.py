"""A day's records, all of them or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sightline.fetching.polite import PoliteClient
from sightline.jobs.koop.query import NOTHING, DateField, Exclusions
from sightline.jobs.koop.records import Record

PAGE_RECORDS = 900
# 2,079 publications were published on this day, 95 of them traffic decisions.
CANARY_DAY = date(2023, 10, 27)


@dataclass(frozen=True, slots=True)
class DayFound:
    """What the search has for one day.

    Attributes:
        records: each identifier once, in the order of the pages.
        number_of_records: how many there are, by the service's last word on it.
        unique_ids: how many were found.
        complete: all pages were read, and found is what there is.
        warnings: sentences about anything that was not as it should be.
    """

    records: tuple[Record, ...]
    number_of_records: int
    unique_ids: int
    complete: bool
    warnings: tuple[str, ...]


class Search:
    """The archive's search. One question at a time: that is the caller's to see to.

    Args:
        endpoint: the service's URL, such as ``https://repository.overheid.nl/sru``.
        page_records: records asked for per page, 1 to 1000.
    """

    def __init__(self, client: PoliteClient, endpoint: str, *, page_records: int = PAGE_RECORDS) -> None:
        raise NotImplementedError

    async def day(
        self, day: date, field: DateField = DateField.AVAILABLE, exclusions: Exclusions = NOTHING
    ) -> DayFound:
        """The day's traffic decisions.

        Raises:
            SearchFailed: the service refused the question or could not answer it (``permanent`` tells which).
            ArchiveError: its answer did not come.
            InvalidRequest: see :func:`day_query`.
        """
        raise NotImplementedError

    async def count(self, query: str) -> int:
        """How many records the service says there are. Raises as :meth:`day` does."""
        raise NotImplementedError

    async def check(self, field: DateField = DateField.AVAILABLE, canary: date = CANARY_DAY) -> int:
        """Ask for something that must be there: a broken index answers "none" and no error.

        Returns how many there were.

        Raises:
            SearchFailed: there were none; and as :meth:`day`.
        """
        raise NotImplementedError
