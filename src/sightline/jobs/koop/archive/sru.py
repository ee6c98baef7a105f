"""One answer of the search service (SRU 2.0; its 1.2 form is read as well)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sightline.errors import SearchFailed
from sightline.jobs.koop.archive.markup import Element, children, first_text, named, parse
from sightline.jobs.koop.archive.records import Record, read_record
from sightline.jobs.koop.polite import BadDocument

# Of the numbers in info:srw/diagnostic/1: general system error, system temporarily unavailable.
TEMPORARY = frozenset({1, 2})
OUT_OF_RANGE = 61
_NUMBER = re.compile(r"diagnostic/1/([0-9]{1,4})")
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Page:
    """Records as they came.

    Attributes:
        number_of_records: of the whole result, as the service estimates it.
        next_position: where the next page begins, counted from 1; None if the service names none.
        unreadable: records on the page without an identifier, or with an error in their place.
    """

    number_of_records: int
    records: tuple[Record, ...]
    next_position: int | None
    unreadable: int

    @property
    def length(self) -> int:
        return len(self.records) + self.unreadable


def read_page(data: bytes) -> Page:
    """A whole answer.

    Raises:
        BadDocument: cut short, no XML, a web page, without a count, or the service says "not now".
        SearchFailed: the service names another error; it is permanent unless the position was out of range.
        DocumentRefused: it declares entities.
    """
    root = parse(data, "searchRetrieveResponse")
    for diagnostics in children(root, "diagnostics"):
        for diagnostic in children(diagnostics, "diagnostic"):
            _raise(diagnostic)
    number = _number(root, "numberOfRecords")
    if number is None:
        raise BadDocument("the answer has no number of records")
    found = [
        _record(record) for records in children(root, "records") for record in children(records, "record")
    ]
    return Page(
        number_of_records=number,
        records=tuple(record for record in found if record is not None),
        next_position=_number(root, "nextRecordPosition"),
        unreadable=found.count(None),
    )


def _record(record: Element) -> Record | None:
    data = children(record, "recordData")
    if not data or next(named(data[0], "diagnostic"), None) is not None:
        return None
    return read_record(data[0])


def _number(root: Element, name: str) -> int | None:
    for child in children(root, name):
        text = (child.text or "").strip()
        if re.fullmatch(r"[0-9]{1,9}", text):
            return int(text)
    return None


def _raise(diagnostic: Element) -> None:
    match = _NUMBER.search(first_text(diagnostic, "uri") or "")
    number = int(match[1]) if match else None
    words = [first_text(diagnostic, "message"), first_text(diagnostic, "details")]
    said = ": ".join(word for word in words if word)[:_SHOWN_CHARACTERS] or "no message"
    message = f"the search service reports an error ({'unnumbered' if number is None else number}): {said}"
    if number in TEMPORARY:
        raise BadDocument(message)
    raise SearchFailed(message, permanent=number != OUT_OF_RANGE, diagnostic=number)
