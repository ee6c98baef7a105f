"""Filters of a search: dates, a place, a folder, and conditions on fields.

A condition is ``name operator value``, joined with ``and``, ``or``, ``not`` and brackets::

    species = "Vulpes vulpes" and (width >= 1000 or camera ~ browning)

Names are columns of an item or fields of stored answers; a value is a number, a word or a quoted text. ``~``
means "contains". Every value reaches SQLite as a parameter, never as part of the statement.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sightline.errors import InvalidRequest
from sightline.sphere import EARTH_RADIUS_KM
from sightline.types import Coordinate

# Columns of an item that conditions may name.
COLUMNS = frozenset(
    {
        *("path", "size", "format", "width", "height", "taken_at", "latitude", "longitude"),
        *("place", "country", "camera", "sha256", "indexed_at"),
    }
)
_MAX_CHARACTERS = 2_000
_MAX_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<operator><=|>=|!=|=|<|>|~)|(?P<bracket>[()])"""
    r"""|(?P<word>[^\s()=<>!~"']+))"""
)
# Of SQLite. A value that is not there differs from every value.
_OPERATORS = {"=": "=", "!=": "IS NOT", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True, slots=True)
class Near:
    """A circle on the Earth."""

    centre: Coordinate
    radius_km: float


@dataclass(frozen=True, slots=True)
class Filter:
    """The conditions on an item. ``after`` is inclusive, ``before`` exclusive; both are times in EXIF."""

    after: datetime | None = None
    before: datetime | None = None
    near: Near | None = None
    folder: str | None = None
    where: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every item passes."""
        return self == Filter()

    def sql(self) -> tuple[str, list[object]]:
        """Return a condition on table ``item`` and its parameters. A circle is a box here.

        Raises:
            InvalidRequest: ``where`` cannot be read; the message says where and what is expected.
        """
        parts, values = [], _Values()
        if self.after is not None:
            parts.append(f"item.taken_at >= {values.add(self.after.isoformat())}")
        if self.before is not None:
            parts.append(f"item.taken_at < {values.add(self.before.isoformat())}")
        if self.near is not None:
            parts.append(_box(self.near, values))
        if self.folder is not None:
            prefix = self.folder.rstrip("/") + "/"
            parts.append(f"substr(item.path, 1, {len(prefix)}) = {values.add(prefix)}")
        if self.where is not None:
            parts.append(_Reader(self.where, values).condition())
        return " AND ".join(f"({part})" for part in parts) or "1", values.given


@dataclass(slots=True)
class _Values:
    given: list[object] = field(default_factory=list)

    def add(self, value: object) -> str:
        self.given.append(value)
        return "?"


def _box(near: Near, values: _Values) -> str:
    """A box around the circle; over a pole or the 180th meridian, all longitudes."""
    degrees = math.degrees(near.radius_km / EARTH_RADIUS_KM)
    south, north = near.centre.latitude - degrees, near.centre.latitude + degrees
    condition = f"item.latitude BETWEEN {values.add(south)} AND {values.add(north)}"
    if max(abs(south), abs(north)) >= 90:
        return condition
    wide = math.degrees(
        math.asin(min(1.0, math.sin(math.radians(degrees)) / math.cos(math.radians(near.centre.latitude))))
    )
    west, east = near.centre.longitude - wide, near.centre.longitude + wide
    if degrees >= 90 or west < -180 or east > 180:
        return condition
    return f"{condition} AND item.longitude BETWEEN {values.add(west)} AND {values.add(east)}"


class _Reader:
    """Reads a condition by recursive descent."""

    def __init__(self, text: str, values: _Values) -> None:
        if len(text) > _MAX_CHARACTERS:
            raise InvalidRequest(f"where: {len(text)} characters; expected at most {_MAX_CHARACTERS}")
        self._parts = list(_parts(text))
        self._next = 0
        self._values = values
        self._depth = 0

    def condition(self) -> str:
        found = self._any_of()
        if self._next < len(self._parts):
            raise self._problem("and, or, or the end")
        return found

    def _any_of(self) -> str:
        found = [self._all_of()]
        while self._takes("or"):
            found.append(self._all_of())
        return " OR ".join(found) if len(found) > 1 else found[0]

    def _all_of(self) -> str:
        found = [self._one()]
        while self._takes("and"):
            found.append(self._one())
        return " AND ".join(f"({each})" for each in found) if len(found) > 1 else found[0]

    def _one(self) -> str:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InvalidRequest(f"where: nested too deeply; expected at most {_MAX_DEPTH} levels")
        try:
            if self._takes("not"):
                return f"NOT ({self._one()})"
            if self._takes("("):
                inside = self._any_of()
                if not self._takes(")"):
                    raise self._problem("a closing bracket")
                return f"({inside})"
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> str:
        _, name = self._take("word", "a name")
        _, operator = self._take("operator", "one of = != < <= > >= ~")
        value = self._value()
        if name.lower() in COLUMNS:
            return self._compared(f"item.{name.lower()}", operator, value)
        number = isinstance(value, float) and operator != "~"
        column = "field.number" if number else "field.text"
        has = "EXISTS (SELECT 1 FROM field WHERE field.item_id = item.id AND field.name = "
        if operator == "!=":
            operator, has = "=", f"NOT {has}"
        return f"{has}{self._values.add(name)} AND {self._compared(column, operator, value)})"

    def _compared(self, column: str, operator: str, value: str | float) -> str:
        if operator == "~":
            escaped = re.sub(r"([\\%_])", r"\\\1", str(value))
            return f"{column} LIKE {self._values.add(f'%{escaped}%')} ESCAPE '\\'"
        case = "" if isinstance(value, float) else " COLLATE NOCASE"
        return f"{column} {_OPERATORS[operator]} {self._values.add(value)}{case}"

    def _value(self) -> str | float:
        if self._next >= len(self._parts):
            raise self._problem("a value")
        kind, text = self._parts[self._next]
        if kind not in ("text", "word"):
            raise self._problem("a value")
        self._next += 1
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text

    def _take(self, kind: str, expected: str) -> tuple[str, str]:
        if self._next >= len(self._parts) or self._parts[self._next][0] != kind:
            raise self._problem(expected)
        self._next += 1
        return self._parts[self._next - 1]

    def _takes(self, word: str) -> bool:
        if self._next < len(self._parts):
            kind, text = self._parts[self._next]
            if kind != "text" and text.lower() == word:
                self._next += 1
                return True
        return False

    def _problem(self, expected: str) -> InvalidRequest:
        if self._next < len(self._parts):
            return InvalidRequest(f"where: {self._parts[self._next][1][:50]!r}; expected {expected}")
        return InvalidRequest(f"where: it ends early; expected {expected}")


def _parts(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidRequest(
                f"where: {text[position : position + 20].strip()!r}; expected a name, an operator or a value"
            )
        position = match.end()
        kind = str(match.lastgroup)
        yield kind, match[kind]


def read_near(text: str) -> Near:
    """Read ``52.1,5.1,20km``.

    Raises:
        InvalidRequest: it is something else.
    """
    match = re.fullmatch(r"\s*([-+\d.]+)\s*,\s*([-+\d.]+)\s*,\s*([\d.]+)\s*(km|m)?\s*", text)
    try:
        if match is None:
            raise ValueError
        latitude, longitude, radius = (float(match[number]) for number in (1, 2, 3))
        radius_km = radius / 1000 if match[4] == "m" else radius
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and 0 < radius_km <= 20_100):
            raise ValueError
    except ValueError:
        raise InvalidRequest(
            f"near: {text[:50]!r}; expected latitude, longitude and radius such as 52.1,5.1,20km"
        ) from None
    return Near(Coordinate(latitude, longitude), radius_km)


def read_date(name: str, text: str) -> datetime:
    """Read ``2021``, ``2021-06``, ``2021-06-30`` or a date with a time, without a time zone.

    Raises:
        InvalidRequest: it is something else.
    """
    filled = {4: f"{text}-01-01", 7: f"{text}-01"}.get(len(text), text)
    try:
        return datetime.fromisoformat(filled).replace(tzinfo=None)
    except ValueError:
        raise InvalidRequest(
            f"{name}: {text[:50]!r}; expected a date such as 2021, 2021-06 or 2021-06-30T12:00"
        ) from None
