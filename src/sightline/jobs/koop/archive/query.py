"""Questions to the search, in its query language (CQL 1.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sightline.errors import InvalidRequest

# The Staatscourant, where municipal traffic decisions stood before 2014, is on line from this day on.
EARLIEST = date(1995, 1, 1)
_COLLECTION = "c.product-area==officielepublicaties"
# The rubric's full name has changed over the years; this word has always been in it.
_RUBRIC = 'dt.type any "verkeersbesluit"'
# Quotation marks and backslashes would end the value; the rest would turn words into patterns.
_SPECIAL = re.compile(r'["\\*?^\x00-\x1f\x7f]')


class DateField(StrEnum):
    """Which date a day is about: of publication, or of the record's last change (which moves)."""

    AVAILABLE = "available"
    MODIFIED = "modified"


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What is left out by the search itself, at no cost in documents.

    Attributes:
        words: publications with any of these words in a title.
        decision_types: decisions whose type has all words of one of these.
    """

    words: Sequence[str] = ()
    decision_types: Sequence[str] = ()


NOTHING = Exclusions()


def day_query(day: date, field: DateField = DateField.AVAILABLE, exclusions: Exclusions = NOTHING) -> str:
    """All traffic decisions of one day.

    Raises:
        InvalidRequest: the day is before :data:`EARLIEST`, or an exclusion has no letter or digit.
    """
    require_day(day)
    clauses = [_COLLECTION, _RUBRIC, f'dt.{field.value}=="{day.isoformat()}"']
    return " ".join([" AND ".join(clauses), *_exclude(exclusions)])


def since_query(day: date, field: DateField) -> str:
    """All traffic decisions of a day and everything after it.

    Raises:
        InvalidRequest: the day is before :data:`EARLIEST`.
    """
    require_day(day)
    return " AND ".join([_COLLECTION, _RUBRIC, f'dt.{field.value}>="{day.isoformat()}"'])


def require_day(day: date) -> None:
    """Raises InvalidRequest for a day on which the archive cannot have anything."""
    if day < EARLIEST:
        raise InvalidRequest(f"{day} is too early: the archive begins on {EARLIEST}.")


def parse_day(text: str) -> date:
    """Raises InvalidRequest unless ``text`` is a date (YYYY-MM-DD) that the archive can have."""
    try:
        day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII) else None
    except ValueError:
        day = None
    if day is None:
        raise InvalidRequest(f"{text[:40]!r} is not a date; write YYYY-MM-DD, such as 2024-01-15.")
    require_day(day)
    return day


def require_range(first: date, last: date, today: date) -> None:
    """Raises InvalidRequest unless ``first`` … ``last`` are days of the archive up to ``today``."""
    require_day(first)
    if last < first:
        raise InvalidRequest(f"The range ends on {last}, before it begins on {first}.")
    if first > today:
        raise InvalidRequest(f"The range begins on {first}, which is still to come.")


def quote(value: str) -> str:
    """``value`` as one quoted term: what could end or change the term is taken out of it.

    Raises:
        InvalidRequest: nothing to search for is left.
    """
    cleaned = " ".join(_SPECIAL.sub(" ", value).split())
    if not any(character.isalnum() for character in cleaned):
        raise InvalidRequest(f"{value[:40]!r} has no letter or digit to search for.")
    return f'"{cleaned}"'


def _exclude(exclusions: Exclusions) -> list[str]:
    clauses = []
    if exclusions.words:
        words = quote(" ".join(exclusions.words))
        clauses += [f"NOT dt.title any {words}", f"NOT dt.alternative any {words}"]
    clauses += [f"NOT w.typeVerkeersbesluit all {quote(kind)}" for kind in exclusions.decision_types]
    return clauses
