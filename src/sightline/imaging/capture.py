"""When, where and with which camera a photo was taken, from EXIF.

The position is read by :func:`read_position` alone. Operations that guess where a photo was taken do not call
it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sightline.errors import ImageError
from sightline.imaging.decoding import READ_BY_LIBRARIES, open_metadata
from sightline.imaging.formats import sniff
from sightline.imaging.headers.isobmff import exif_item
from sightline.types import Coordinate

if TYPE_CHECKING:
    from PIL.Image import Exif

_log = logging.getLogger(__name__)

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
    exif, details = _directories(data, _EXIF_DIRECTORY)
    dates = (details.get(_DATE_TIME_ORIGINAL), details.get(_DATE_TIME_DIGITIZED), exif.get(_DATE_TIME))
    taken = next(filter(None, map(_date, dates)), None)
    return Capture(taken, _text(exif.get(_MODEL)), _number(details.get(_AMBIENT_TEMPERATURE)))


def read_position(data: bytes) -> Coordinate | None:
    """Return where EXIF says that the photo was taken; None if it says nothing, or something impossible."""
    _, gps = _directories(data, _GPS_DIRECTORY)
    latitude = _degrees(gps.get(_LATITUDE), gps.get(_LATITUDE_REF), "N", "S")
    longitude = _degrees(gps.get(_LONGITUDE), gps.get(_LONGITUDE_REF), "E", "W")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    if latitude == 0 and longitude == 0:  # what devices write that have no position
        return None
    return Coordinate(latitude, longitude)


def _directories(data: bytes, number: int) -> tuple[Mapping[int, Any], Mapping[int, Any]]:
    """The main directory of EXIF and one of its others; empty ones where there are none that can be read."""
    try:
        exif = _exif(data)
        return exif, exif.get_ifd(number)
    except ImageError:
        return {}, {}
    except Exception:  # Pillow raises many kinds for malformed directories
        _log.debug("EXIF cannot be read", exc_info=True)
        return {}, {}


def _exif(data: bytes) -> Exif:
    image_format = sniff(data)
    if image_format not in READ_BY_LIBRARIES:
        return open_metadata(data, image_format)
    from PIL.Image import Exif

    exif = Exif()  # the decoding libraries of these formats are isolated, and are not needed for it
    if block := exif_item(data):
        exif.load(block)
    return exif


def _degrees(value: object, ref: object, positive: str, negative: str) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    found = degrees + minutes / 60 + seconds / 3600
    letter = (_text(ref) or positive).upper()
    if letter not in (positive, negative) or not math.isfinite(found):
        return None
    return found if letter == positive else -found


def _date(value: object) -> datetime | None:
    try:
        return datetime.strptime(_text(value) or "", _WRITTEN)
    except ValueError:  # also "0000:00:00 00:00:00", which cameras write for an unset clock
        return None


def _text(value: object) -> str | None:
    return (value.replace("\0", "").strip() or None) if isinstance(value, str) else None


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
