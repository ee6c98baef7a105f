"""When, where and with which camera a photo was taken, from EXIF.

The position is read by :func:`read_position` alone. Operations that guess where a photo was taken do not call
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sightline.errors import ImageError
from sightline.imaging.formats import sniff
from sightline.imaging.headers import EXIF_BLOCKS
from sightline.imaging.headers.exif import ExifDirectory, first_directory
from sightline.types import Coordinate

# Tag numbers of Exif 2.32 (CIPA DC-008), tables 4 to 8.
_MODEL = 0x0110
_DATE_TIME = 0x0132
_EXIF_DIRECTORY = 0x8769
_DATE_TIME_ORIGINAL = 0x9003
_DATE_TIME_DIGITIZED = 0x9004
_AMBIENT_TEMPERATURE = 0x9400
_GPS_DIRECTORY = 0x8825
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4
_WRITTEN = "%Y:%m:%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Capture:
    """Fields of EXIF; None where the file has none that can be read. ``taken`` has no time zone."""

    taken: datetime | None = None
    camera: str | None = None
    temperature_c: float | None = None


def read_capture(data: bytes) -> Capture:
    """Return what EXIF says. Missing or malformed metadata is an empty answer, never an error."""
    main = _main_directory(data)
    details = main.below(_EXIF_DIRECTORY)
    dates = (details.text(_DATE_TIME_ORIGINAL), details.text(_DATE_TIME_DIGITIZED), main.text(_DATE_TIME))
    taken = next(filter(None, map(_date, dates)), None)
    return Capture(taken, main.text(_MODEL), _number(details.numbers(_AMBIENT_TEMPERATURE)))


def read_position(data: bytes) -> Coordinate | None:
    """Return where EXIF says that the photo was taken; None if it says nothing, or something impossible."""
    gps = _main_directory(data).below(_GPS_DIRECTORY)
    latitude = _degrees(gps.numbers(_LATITUDE), gps.text(_LATITUDE_REF), "N", "S")
    longitude = _degrees(gps.numbers(_LONGITUDE), gps.text(_LONGITUDE_REF), "E", "W")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    if latitude == 0 and longitude == 0:  # what devices write that have no position
        return None
    return Coordinate(latitude, longitude)


def _main_directory(data: bytes) -> ExifDirectory:
    """Return the main directory of EXIF; an empty one where there is none that can be read."""
    try:
        block = EXIF_BLOCKS.get(sniff(data))
        return first_directory(block(data)) if block is not None else ExifDirectory()
    except ImageError:
        return ExifDirectory()


def _degrees(parts: Sequence[float], ref: str | None, positive: str, negative: str) -> float | None:
    if len(parts) != 3:
        return None
    degrees, minutes, seconds = parts
    found = degrees + minutes / 60 + seconds / 3600
    letter = (ref or positive).upper()
    if letter not in (positive, negative) or not math.isfinite(found):
        return None
    return found if letter == positive else -found


def _date(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", _WRITTEN)
    except ValueError:  # also "0000:00:00 00:00:00", which cameras write for an unset clock
        return None


def _number(values: Sequence[float]) -> float | None:
    return values[0] if len(values) == 1 and math.isfinite(values[0]) else None
