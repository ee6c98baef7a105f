"""When and with which camera a photo was taken, from EXIF. Position is never read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from sightline.errors import ImageError
from sightline.imaging.decoding import READ_BY_LIBRARIES, open_metadata
from sightline.imaging.formats import sniff

# Tag numbers of Exif 2.32 (CIPA DC-008), tables 4 to 8.
_MODEL = 0x0110
_DATE_TIME = 0x0132
_EXIF_DIRECTORY = 0x8769
_DATE_TIME_ORIGINAL = 0x9003
_DATE_TIME_DIGITIZED = 0x9004
_AMBIENT_TEMPERATURE = 0x9400
_WRITTEN = "%Y:%m:%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Capture:
    """Fields of EXIF; None where the file has none that can be read. ``taken`` has no time zone."""

    taken: datetime | None = None
    camera: str | None = None
    temperature_c: float | None = None


def read_capture(data: bytes) -> Capture:
    """Return what EXIF says. Missing or malformed metadata is an empty answer, never an error."""
    try:
        image_format = sniff(data)
        if image_format in READ_BY_LIBRARIES:  # no camera trap writes these, and their libraries are isolated
            return Capture()
        exif = open_metadata(data, image_format)
        details = exif.get_ifd(_EXIF_DIRECTORY)
        dates = (details.get(_DATE_TIME_ORIGINAL), details.get(_DATE_TIME_DIGITIZED), exif.get(_DATE_TIME))
        taken = next(filter(None, map(_date, dates)), None)
        return Capture(taken, _text(exif.get(_MODEL)), _number(details.get(_AMBIENT_TEMPERATURE)))
    except ImageError:
        return Capture()


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
