"""A day's records, all of them or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from urllib.parse import quote, urlencode

from sightline.errors import ConfigurationError, DocumentUnavailable, SearchFailed
from sightline.jobs.koop.archive.query import NOTHING, DateField, Exclusions, day_query, since_query
from sightline.jobs.koop.archive.records import Record
from sightline.jobs.koop.archive.sru import OUT_OF_RANGE, Page, read_page
from sightline.jobs.koop.polite import Document, PoliteClient

PAGE_RECORDS = 900
# What the service takes at most.
MAX_PAGE_RECORDS = 1000
# Large pages have come back empty; public clients stop halving them here.
MIN_PAGE_RECORDS = 10
# Positions from here on are answered with HTTP 500.
MAX_POSITION = 15_000
# 2,079 publications came out on this day, 95 of them traffic decisions.
CANARY_DAY = date(2023, 10, 27)
# A record takes about 5 kB.
_MAX_PAGE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DayFound:
    """What the search has for one day.

    Attributes:
        records: each identifier once, in the order of the pages.
        number_of_records: how many there are, by the service's last word on it.
        unique_ids: how many were found.
        complete: all pages were read, and found is what there is and of this day.
        warnings: sentences about anything that was not as it should be.
    """

    records: tuple[Record, ...]
    number_of_records: int
    unique_ids: int
    complete: bool
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    """Grows with every page read."""

    records: dict[str, Record] = field(default_factory=dict)
    number_of_records: int = 0
    unreadable: int = 0
    # On the pages of one pass; a record that comes twice counts twice.
    received: int = 0
    repeats_stay: bool = False
    problems: dict[str, None] = field(default_factory=dict)
    remarks: dict[str, None] = field(default_factory=dict)

    def add(self, page: Page) -> None:
        self.number_of_records = page.number_of_records
        self.unreadable += page.unreadable
        self.received += len(page.records)
        for record in page.records:
            self.records.setdefault(record.identifier, record)

    def begin_pass(self) -> None:
        self.unreadable = self.received = 0

    def end_second_pass(self, known_before: int) -> None:
        """Records that come twice may hide others that moved to a page that was read before. If all pages
        bring the same once more, nothing moved."""
        self.repeats_stay = len(self.records) == known_before and self.received == self.number_of_records

    @property
    def is_whole(self) -> bool:
        number = len(self.records)
        return (number == self.number_of_records or self.repeats_stay) and not self.unreadable

    @property
    def has_all(self) -> bool:
        """Whether the pages so far hold what the service counts."""
        return bool(self.records) and self.received >= self.number_of_records and not self.unreadable


class Search:
    """The archive's search. One question at a time: that is the caller's to see to.

    Args:
        endpoint: the service's URL, such as ``https://repository.overheid.nl/sru``.
        page_records: records asked for per page, 10 to 1000.

    Raises:
        ConfigurationError: ``page_records`` is out of range.
    """

    def __init__(self, client: PoliteClient, endpoint: str, *, page_records: int = PAGE_RECORDS) -> None:
        if not MIN_PAGE_RECORDS <= page_records <= MAX_PAGE_RECORDS:
            raise ConfigurationError(
                f"a page has {MIN_PAGE_RECORDS} to {MAX_PAGE_RECORDS} records, not {page_records}"
            )
        self._client = client
        self._endpoint = endpoint
        self._page_records = page_records

    async def day(
        self, day: date, field: DateField = DateField.AVAILABLE, exclusions: Exclusions = NOTHING
    ) -> DayFound:
        """The day's traffic decisions.

        A count that does not fit what was found is asked for again once, and so are the pages if some records
        are still missing; if that does not settle it, the day is not complete and the warnings say why.

        Raises:
            SearchFailed: the service refused the question or could not answer it (``permanent`` tells which).
            ArchiveError: its answer did not come.
            InvalidRequest: see :func:`day_query`.
        """
        query = day_query(day, field, exclusions)
        found = _Found()
        await self._read_pages(query, found)
        if not found.is_whole and not found.problems:
            found.number_of_records = await self.count(query)
            if len(found.records) < found.number_of_records or found.unreadable:
                known_before = len(found.records)
                await self._read_pages(query, found)
                found.end_second_pass(known_before)
        return _settled(found, day, field)

    async def count(self, query: str) -> int:
        """How many records the service says there are. Raises as :meth:`day` does."""
        page = await self._client.fetch_as(
            self._url(query, None, 0), lambda document: read_page(document.body), max_bytes=_MAX_PAGE_BYTES
        )
        return page.number_of_records

    async def check(self, field: DateField = DateField.AVAILABLE, canary: date = CANARY_DAY) -> int:
        """Ask for something that must be there: a broken index answers "none" and no error.

        The date of the last change moves, so there it is anything changed since the canary day.
        Returns how many there were.

        Raises:
            SearchFailed: there were none; and as :meth:`day`.
        """
        on_the_day = field is DateField.AVAILABLE
        number = await self.count(day_query(canary) if on_the_day else since_query(canary, field))
        if number == 0:
            when = f"of {canary}" if on_the_day else f"changed since {canary}"
            raise SearchFailed(
                f"the search knows no traffic decision {when}, and there are many: its index is broken or "
                "its query language has changed, and what it says of other days means nothing"
            )
        return number

    async def check_anew(self, field: DateField = DateField.AVAILABLE) -> int:
        """:meth:`check` after another question found the service silent: it has its full patience again."""
        self._client.begin_anew(self._endpoint)
        return await self.check(field)

    async def _read_pages(self, query: str, found: _Found) -> None:
        found.begin_pass()
        position: int | None = 1
        page_records = self._page_records
        while position is not None:
            if position >= MAX_POSITION:
                found.problems["the service has more records for this day than it gives out"] = None
                return
            try:
                page, page_records = await self._page(query, position, page_records)
            except SearchFailed as error:
                if error.diagnostic == OUT_OF_RANGE and position > 1:
                    return  # the count promised more than there is
                if found.has_all:
                    found.remarks[f"there is no page from {position} on, which the service names"] = None
                    return
                raise
            except DocumentUnavailable:
                if not found.has_all:
                    raise
                found.remarks[f"the page from {position} on, which the service names, does not come"] = None
                return
            found.add(page)
            try:
                position = _following(page, position)
            except SearchFailed as error:
                if not found.has_all:
                    raise
                found.remarks[str(error)] = None
                return

    async def _page(self, query: str, position: int, page_records: int) -> tuple[Page, int]:
        """A page, and the size at which it came: an empty answer is asked for again at half the size."""
        while True:
            url = self._url(query, position, page_records)
            page = await self._client.fetch_as(url, _page_or_nothing, max_bytes=_MAX_PAGE_BYTES)
            if page is not None:
                return page, page_records
            if page_records <= MIN_PAGE_RECORDS:
                raise SearchFailed(f"the search answers with nothing, even for {page_records} records")
            page_records = max(page_records // 2, MIN_PAGE_RECORDS)

    def _url(self, query: str, position: int | None, page_records: int) -> str:
        fields = {
            "operation": "searchRetrieve",
            "version": "2.0",
            "query": query,
            "maximumRecords": page_records,
            "httpAccept": "application/xml",
        }
        if position is not None:
            fields["startRecord"] = position
        joint = "&" if "?" in self._endpoint else "?"
        return f"{self._endpoint}{joint}{urlencode(fields, quote_via=quote)}"


def _page_or_nothing(document: Document) -> Page | None:
    return read_page(document.body) if document.body.strip() else None


def _following(page: Page, position: int) -> int | None:
    """Where the next page begins; None after the last one.

    Raises:
        SearchFailed: the service sends us back, which would never end.
    """
    if page.length == 0:
        return None
    following = page.next_position
    if following is None:
        following = position + page.length
        return following if following <= page.number_of_records else None
    if following <= position:
        raise SearchFailed(f"the search says that record {following} follows the page from {position} on")
    return following  # whatever the count says, which may be too low


def _settled(found: _Found, day: date, field: DateField) -> DayFound:
    records = tuple(found.records.values())
    warnings = [*found.problems, *found.remarks]
    if found.repeats_stay and len(records) < found.number_of_records:
        warnings.append(f"{found.number_of_records - len(records)} records came twice")
    elif len(records) != found.number_of_records:
        warnings.append(f"the service counts {found.number_of_records} records and gave {len(records)}")
    if found.unreadable:
        warnings.append(f"{found.unreadable} records could not be read")
    strangers = 0
    if field is DateField.AVAILABLE:
        strangers = sum(record.available not in (None, day) for record in records)
        if strangers:
            warnings.append(f"{strangers} records name another day of publication")
    return DayFound(
        records=records,
        number_of_records=found.number_of_records,
        unique_ids=len(records),
        complete=found.is_whole and not found.problems and not strangers,
        warnings=tuple(warnings),
    )
