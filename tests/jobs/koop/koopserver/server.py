"""The three hosts: routes, paging, limits, faults and the log."""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

from koopserver import documents, faults, records
from koopserver.archive import Alteration, Archive, Decision, PerDay
from koopserver.cql import Part, SyntaxProblem, bounds, indexes, matches, parse
from koopserver.faults import HTML, XML, Fault
from koopserver.pdf import pdf
from koopserver.rate import Bucket, Rate
from koopserver.records import Hosts
from koopserver.wire import Listeners, Request, Response

ROLES = ("search", "reader", "attachments")
DEFAULT_PAGE = 10
GREATEST_PAGE = 1000
# From here on the real service answers 500.
TOO_DEEP = 15_000
# A publication is changed at most so long after it came out, see archive.py.
_LATEST_CHANGE = timedelta(days=20)
_KINDS = {"png": "image/png", "jpg": "image/jpeg", "pdf": "application/pdf", "html": HTML[1]}


@dataclass(frozen=True, slots=True)
class Logged:
    """A request that came in. ``at`` is the server's clock; ``url`` is path and query, readable."""

    at: float
    role: str
    url: str
    user_agent: str
    status: int
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return self.url.partition("?")[0]


@dataclass
class _Programmed:
    pattern: re.Pattern[str]
    fault: Fault
    left: float


class KoopServer:
    """The servers, running from construction until ``close`` (or the end of a ``with``).

    Args:
        seed: what all publications are made from.
        decisions_per_day: traffic decisions on a date; see :class:`koopserver.archive.Archive`.
        rate: the token bucket each host has, or none.
        clock: seconds, for the bucket and the log.
        ports: fixed ports by role, for runs by hand.

    Attributes:
        count_error: added to every numberOfRecords, which is only an estimate.
        drifting: records are inserted between pages: each begins with the last of the one before.
        without_next: never say nextRecordPosition.
        repeating: list the first record once more, and count it twice.
        endless_next: the last page too says where the next one begins: "on", or "back" at its own position.
        stuck_next: say the position of the same page again.
        unknown_index: "empty" as the real service, or "diagnostic".
        out_of_range: "diagnostic", or "empty" for a page without records.
        greatest_page: most records in an answer, whatever was asked.
        packs: gzip text for clients that take it.
    """

    def __init__(
        self,
        seed: int = 1,
        decisions_per_day: PerDay = 3,
        *,
        rate: Rate | None = None,
        clock: Callable[[], float] = time.monotonic,
        others_per_day: int = 1,
        first: date = date(2013, 1, 1),
        last: date = date(2040, 12, 31),
        ports: dict[str, int] | None = None,
    ) -> None:
        self.archive = Archive(seed, decisions_per_day, others_per_day, first, last)
        self.log: list[Logged] = []
        self.count_error = 0
        self.drifting = False
        self.without_next = False
        self.stuck_next = False
        self.repeating = False
        self.endless_next: str | None = None
        self.unknown_index = "empty"
        self.out_of_range = "diagnostic"
        self.greatest_page = GREATEST_PAGE
        self.packs = True
        self._clock = clock
        self._arrived = threading.Condition()
        self._faults: list[_Programmed] = []
        self.limit(rate)
        self._listeners = Listeners(ROLES, self._answer)
        self._listeners.start(ports)
        self.hosts = Hosts(*(f"http://127.0.0.1:{self._listeners.ports[role]}" for role in ROLES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._listeners.stop()

    # -- programming ---------------------------------------------------------------------------------------

    @property
    def search_url(self) -> str:
        """The search service itself, for queries."""
        return f"{self.hosts.search}/sru"

    @property
    def repository_url(self) -> str:
        return self.hosts.search

    @property
    def reader_url(self) -> str:
        return self.hosts.reader

    @property
    def attachments_url(self) -> str:
        return self.hosts.attachments

    @property
    def attachments_folder(self) -> str:
        """Below which every attachment has a folder of its own."""
        return f"{self.hosts.attachments}/externebijlagen"

    @property
    def netlocs(self) -> tuple[str, ...]:
        """``127.0.0.1:port`` of each host."""
        hosts = (self.hosts.search, self.hosts.reader, self.hosts.attachments)
        return tuple(url.removeprefix("http://") for url in hosts)

    def fail(self, pattern: str, fault: Fault, times: float = 1) -> None:
        """Answer the next ``times`` requests with a fault whose readable path and query contain ``pattern``.

        ``times`` may be ``math.inf``. Of faults that fit and are not used up, the first programmed is taken.
        """
        self._faults.append(_Programmed(re.compile(pattern), fault, times))

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def alter(self, pattern: str, alteration: Alteration) -> None:
        """Change the publications whose identifier begins with ``pattern``; see quirks.py."""
        self.archive.alter(pattern, alteration)

    def limit(self, rate: Rate | None) -> None:
        """Fresh buckets of this rate, or none."""
        self._buckets = {role: Bucket(rate, self._clock) for role in ROLES} if rate else {}

    # -- looking -------------------------------------------------------------------------------------------

    def decisions(self, first: date, last: date | None = None) -> list[Decision]:
        """The traffic decisions that came out then."""
        found = self.archive.between(first, last or first)
        return [each for each in found if records.values(each)["dt.type"] != ("omgevingsvergunning",)]

    def requests(self, pattern: str = "", *, status: int | None = None) -> list[Logged]:
        """What the log has of URLs that contain a pattern."""
        wanted = re.compile(pattern)
        return [each for each in tuple(self.log) if wanted.search(each.url) and status in (None, each.status)]

    def wait_for(self, requests: int, timeout_s: float = 60.0) -> None:
        """Return once the log has so many entries."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.log) >= requests, timeout_s), (
                "too few requests came"
            )

    # -- answering -----------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        bucket = self._buckets.get(request.role)
        if bucket is not None and not bucket.take():
            response = faults.too_many()(request, Response())
        else:
            response = self._packed(request, self._route(request))
            fault = self._programmed(request)
            if fault is not None:
                response = fault(request, response)
        agent = request.headers.get("user-agent", "")
        with self._arrived:
            self.log.append(
                Logged(
                    self._clock(),
                    request.role,
                    request.readable,
                    agent,
                    response.status,
                    dict(request.headers),
                )
            )
            self._arrived.notify_all()
        return response

    def _programmed(self, request: Request) -> Fault | None:
        for each in self._faults:
            if each.left > 0 and each.pattern.search(request.readable):
                each.left -= 1
                return each.fault
        return None

    def _packed(self, request: Request, response: Response) -> Response:
        is_text = any(
            "xml" in value or "html" in value for name, value in response.headers if name == "Content-Type"
        )
        if not (self.packs and is_text and "gzip" in request.headers.get("accept-encoding", "")):
            return response
        headers = (*response.headers, ("Content-Encoding", "gzip"))
        return Response(gzip.compress(response.body, 1), response.status, headers)

    def _route(self, request: Request) -> Response:
        routes = {"search": self._repository, "reader": self._reader, "attachments": self._attachment}
        return routes[request.role](request) or faults.not_found(request, Response())

    # -- the repository ------------------------------------------------------------------------------------

    def _repository(self, request: Request) -> Response | None:
        if request.path in ("/sru", "/sru/Search"):
            return self._search(request)
        if request.path == "/robots.txt":
            return Response(b"User-agent: *\nDisallow: /\n", 200, (("Content-Type", "text/plain"),))
        found = re.fullmatch(r"/frbr/officielepublicaties/gmb/\d{4}/([\w-]+)/1/(\w+)/([\w.-]+)", request.path)
        decision = self.archive.find(found[1]) if found else None
        if found is None or decision is None or records.item_name(decision, found[2]) != found[3]:
            return None
        return self._manifestation(decision, found[2])

    def _manifestation(self, decision: Decision, manifestation: str) -> Response | None:
        if manifestation not in decision.manifestations:
            return None
        if manifestation == "xml":
            return Response(documents.publication(decision, self.hosts), 200, (XML,))
        if manifestation in ("metadata", "metadataowms"):
            return Response(documents.metadata(decision), 200, (XML,))
        if manifestation == "html":
            return Response(documents.reader_page(decision), 200, (HTML,))
        if manifestation == "pdf":
            return Response(pdf("text", "map", seed=int(decision.number)), 200, _kind("x.pdf"))
        return Response(b"PK\x03\x04", 200, _kind("x.odt"))

    def _search(self, request: Request) -> Response:
        asked = request.query
        start = _number(asked.get("startRecord"), 1)
        most = min(_number(asked.get("maximumRecords"), DEFAULT_PAGE), self.greatest_page)
        if "query" not in asked:
            return _xml(records.diagnostic(7, "query"))
        if start is None or start < 1 or most < 0:
            return _xml(records.diagnostic(6, "startRecord"))
        if start >= TOO_DEEP:
            return faults.status(500)(request, Response())
        try:
            query = parse(asked["query"])
        except SyntaxProblem as problem:
            return _xml(records.diagnostic(10, f"line 1:0 {problem}"))
        unknown = indexes(query) - KNOWN_INDEXES
        if unknown and self.unknown_index == "diagnostic":
            return _xml(records.diagnostic(16, f"Unsupported index {min(unknown)}"))
        return self._page([] if unknown else self._found(query), start, most)

    def _found(self, query: Part) -> list[Decision]:
        first, last = _days(query, "dt.available", self.archive)
        changed_first, changed_last = _days(query, "dt.modified", self.archive)
        first, last = max(first, changed_first - _LATEST_CHANGE), min(last, changed_last)
        return [each for each in self.archive.between(first, last) if matches(query, records.values(each))]

    def _page(self, found: list[Decision], start: int, most: int) -> Response:
        found = found[:1] + found if self.repeating else found
        total = len(found)
        if start > max(1, total) and self.out_of_range == "diagnostic":
            return _xml(records.diagnostic(61, "First record position out of range"))
        begin = start - 1
        if self.drifting and start > 1:
            begin -= 1
        shown = found[begin : begin + most]
        following = begin + len(shown) + 1
        next_position = following if shown and following <= total else None
        if next_position and self.stuck_next:
            next_position = start
        if next_position is None and self.endless_next:
            next_position = following if self.endless_next == "on" else start
        if self.without_next:
            next_position = None
        said = max(0, total + self.count_error)
        return _xml(
            records.page(shown, total=said, start=start, next_position=next_position, hosts=self.hosts)
        )

    # -- the reader's site ---------------------------------------------------------------------------------

    def _reader(self, request: Request) -> Response | None:
        if request.path == "/robots.txt":
            return Response(b"User-agent: *\nDisallow:\n", 200, (("Content-Type", "text/plain"),))
        name = request.path.removeprefix("/")
        found = re.match(r"gmb-\d{4}-\d{7}", name)
        decision = self.archive.find(found[0]) if found else None
        if decision is None:
            return None
        if name == f"{decision.identifier}/metadata.xml":
            return self._manifestation(decision, "metadata")
        for suffix in ("html", "pdf", "xml"):
            if name == f"{decision.identifier}.{suffix}":
                return self._manifestation(decision, suffix)
        for each in decision.illustrations:
            if each.name == name and each.status == 200:
                return Response(each.content(), 200, _kind(name))
        return None

    # -- attachments ---------------------------------------------------------------------------------------

    def _attachment(self, request: Request) -> Response | None:
        found = re.fullmatch(r"/externebijlagen/([\w-]+)/1/(?:(\w+)/([\w.-]+))?", request.path)
        attachment = self.archive.find_attachment(found[1]) if found else None
        if found is None or attachment is None:
            return None
        if found[2] is None:
            if attachment.listing_status != 200:
                return faults.status(attachment.listing_status)(request, Response())
            return Response(documents.listing(attachment), 200, (XML,))
        if (found[2], found[3]) != (attachment.label, attachment.item):
            return faults.redirect_to_itself(request, Response())
        return Response(attachment.content(), 200, _kind(attachment.item))


def _xml(text: str) -> Response:
    return Response(text.encode(), 200, (XML,))


def _kind(name: str) -> tuple[tuple[str, str], ...]:
    suffix = name.rsplit(".", 1)[-1].lower()
    return (("Content-Type", _KINDS.get(suffix, "application/octet-stream")),)


def _number(text: str | None, default: int) -> int:
    with suppress(ValueError, TypeError):
        return int(text)
    return default


def _days(query: Part, index: str, archive: Archive) -> tuple[date, date]:
    """The days an index is confined to, within the archive's."""
    first, last = bounds(query, index)
    return _day(first, archive.first), _day(last, archive.last + _LATEST_CHANGE)


def _day(text: str, default: date) -> date:
    with suppress(ValueError):
        return date.fromisoformat(text)
    return default


# Known and without a value here: asking for them finds nothing and is no mistake either.
_WITHOUT_VALUES = (
    "dt.source dt.spatial dt.hasVersion dt.isPartOf cql.allRecords w.referentienummer w.bijlage "
    "w.gebiedsmarkering w.locatiegebied w.geometrielabel w.ligtInGemeente w.ligtInProvincie w.postcode "
    "w.postcodeHuisnummer w.straatnaam w.wegnummer w.hectometernummer w.vereisteVanBesluit w.wegcategorie "
    "w.weggebruiker w.terinzageleggingOP w.terinzageleggingBG cd.datumTijdstipWijzigingWork"
)
KNOWN_INDEXES = (
    frozenset(_WITHOUT_VALUES.split())
    | records.values(Decision("gmb-2000-0010001", date.min, date.min, "", "", "", "")).keys()
)
