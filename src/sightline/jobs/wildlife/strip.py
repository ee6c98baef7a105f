"""The info strip that camera traps print into their photos: date, time, temperature and camera name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any

from sightline.imaging import Capture, read_capture
from sightline.jobs.looking import read_image
from sightline.jobs.wildlife.boxes import Boxes
from sightline.jobs.wildlife.identifying import Identified, Identifier, Printed
from sightline.jobs.wildlife.places import Place

# Strips of the common makers take up to an eighth of the height, at the top or at the bottom.
_STRIP_SHARE = 0.15
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# A degree sign is small: it is often read as another small round sign, or not at all.
_TEMPERATURE = re.compile(r"(?<![\d.,])([-–—]?\d{1,3})\s?[°º˚o*'’]?\s?([CF])\b|([-–—]?\d{1,3})\s?([℃℉])")
_TIME = re.compile(r"(?<!\d)([012]?\d):([0-5]\d)(?::([0-5]\d))?\s?([AaPp])?\.?[Mm]?\.?(?![\d:])")
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})([-/.:])(\d{1,2})\2(\d{1,2})(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")
_MONTH_NAMED = re.compile(r"(?<!\d)(\d{1,2})[-/. ]?([A-Za-z]{3,9})[-/., ]{1,2}(\d{4})(?!\d)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]*(?: [A-Za-z0-9_\-]+)*")
# Colder and hotter air than was ever measured.
_COLDEST_C, _HOTTEST_C = -90.0, 60.0
_SHORTEST_NAME = 3


class WithStrip:
    """An identifier that adds ``capture`` to predictions: what the strip says and EXIF does not.

    Args:
        identifier: answers for the photos, and reads their text.
        max_bytes: longest file that is read.
    """

    def __init__(self, identifier: Identifier, max_bytes: int) -> None:
        self._identifier = identifier
        self._max_bytes = max_bytes

    async def load(self) -> Mapping[str, str]:
        return await self._identifier.load()

    async def identify(self, photo: Path, place: Place, boxes: Boxes | None = None) -> Identified:
        identified = await self._identifier.identify(photo, place, boxes)
        known = await asyncio.to_thread(self._capture, photo)
        lines = await self._identifier.read(photo)
        capture = missing_from(known, read_strip(lines))
        return replace(identified, entry=identified.entry | ({"capture": capture} if capture else {}))

    async def read(self, photo: Path) -> Sequence[Printed]:
        return await self._identifier.read(photo)

    def _capture(self, photo: Path) -> Capture:
        return read_capture(read_image(str(photo), self._max_bytes))


def missing_from(known: Capture, strip: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the fields of ``strip`` for which EXIF has no value."""
    has = {
        "date": known.taken is not None,
        "time": known.taken is not None,
        "temperature_c": known.temperature_c is not None,
        "camera": known.camera is not None,
    }
    return {name: field for name, field in strip.items() if not has[name]}


def read_strip(lines: Sequence[Printed]) -> dict[str, Mapping[str, Any]]:
    """Return what the lines at the upper or lower edge say.

    Keys are those of ``date`` (ISO 8601), ``time`` (24 hours), ``temperature_c`` (degrees Celsius) and
    ``camera`` that were found. Each has ``value``, ``source`` ("strip"), ``score`` (that of its line, 0 to 1)
    and ``text`` as it is printed. ``value`` is None for a date whose order of day and month is not known.
    """
    found: dict[str, Mapping[str, Any]] = {}
    names: list[tuple[int, str, Printed]] = []
    edge = [line for line in lines if not _STRIP_SHARE < line.middle < 1 - _STRIP_SHARE]
    is_american = any(_is_american(line.text) for line in edge)
    for line in edge:
        rest = line.text
        for name, value, text in _fields(line.text, is_american):
            if name not in found:
                found[name] = _field(value, line, text)
            rest = rest.replace(text, "\n")
        names += [(len(each), each, line) for each in _names(rest)]
    # Only a line that stands with a date, a time or a temperature is a strip; other text is in the scene.
    if found and names:
        _, name, line = max(names, key=lambda each: each[0])
        found["camera"] = _field(name, line, name)
    return found


def _field(value: object, line: Printed, text: str) -> Mapping[str, Any]:
    return {"value": value, "source": "strip", "score": line.score, "text": text}


def _fields(text: str, is_american: bool) -> Iterator[tuple[str, object, str]]:
    """Name, value and printed text of what a line has."""
    for day, printed in _dates(text, is_american):
        yield "date", day, printed
    for match in _TIME.finditer(text):
        clock = _time(match)
        if clock is not None:
            yield "time", clock, match[0].strip()
    celsius = [(unit == "C", value, printed) for value, unit, printed in _temperatures(text)]
    # Where both scales are printed, Celsius is taken: it needs no conversion.
    for _, degrees, printed in sorted(celsius, key=lambda each: not each[0]):
        yield "temperature_c", degrees, printed


def _dates(text: str, is_american: bool) -> Iterator[tuple[str | None, str]]:
    for match in _YEAR_FIRST.finditer(text):
        if value := _date(int(match[1]), int(match[3]), int(match[4])):
            yield value, match[0]
    for match in _MONTH_NAMED.finditer(text):
        month = match[2][:3].lower()
        if month in _MONTHS and (value := _date(int(match[3]), _MONTHS.index(month) + 1, int(match[1]))):
            yield value, match[0]
    for match in _YEAR_LAST.finditer(text):
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        day_first, month_first = _date(year, second, first), _date(year, first, second)
        if match[2] == ".":  # no English-speaking country writes the month first with dots
            month_first = None
        if day_first and month_first and first != second:
            yield (month_first if is_american else None), match[0]
        elif day_first or month_first:
            yield day_first or month_first, match[0]


def _is_american(text: str) -> bool:
    """Whether only degrees Fahrenheit are printed: such cameras write the month first."""
    units = {unit for _, unit, _ in _temperatures(text)}
    return units == {"F"}


def _date(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _time(match: re.Match[str]) -> str | None:
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    half = (match[4] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    return time(hour, minute, second).isoformat() if hour < 24 else None


def _temperatures(text: str) -> Iterator[tuple[float, str, str]]:
    """Degrees Celsius, the scale that is printed, and the printed text."""
    for match in _TEMPERATURE.finditer(text):
        degrees = float((match[1] or match[3]).replace("–", "-").replace("—", "-"))
        scale = {"℃": "C", "℉": "F"}.get(match[4], match[2])
        celsius = degrees if scale == "C" else round((degrees - 32) * 5 / 9, 1)
        if _COLDEST_C <= celsius <= _HOTTEST_C:
            yield celsius, scale, match[0].strip()


def _names(rest: str) -> Iterator[str]:
    """Words that are left of a strip, each run of them once."""
    for part in rest.split("\n"):
        for match in _NAME.finditer(part):
            name = match[0].strip(" -_")
            if sum(each.isalpha() for each in name) >= _SHORTEST_NAME:
                yield name
