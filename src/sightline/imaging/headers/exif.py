"""EXIF blocks (CIPA DC-008): the orientation, and directories for those who ask for more.

Only Python reads them, so they need no isolation. Their cost is bounded by the length of the block.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

_ORIENTATION_TAG = 0x0112
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_CODES = {3: "H", 4: "I", 8: "h", 9: "i"}
# Types of TIFF 6.0, section 2, by the code that ``struct`` has for one value.
_ASCII = 2
_NUMBERS = {1: "B", 3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
_RATIONALS = frozenset({5, 10})
# A position has three numbers, a name of a camera some tens of characters.
_MAX_NUMBERS, _MAX_TEXT_BYTES = 16, 1000
# As Pillow's ``Image.getexif`` finds it, in XML attributes and elements.
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# Some programs write the prefix twice.
_PREFIX = re.compile(rb"(?:Exif\x00\x00){1,2}")


@dataclass(frozen=True, slots=True)
class ExifDirectory:
    """Entries of one directory: tag → (type, count, position of the values in ``block``)."""

    block: bytes = b""
    order: str = "<"
    entries: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    def text(self, tag: int) -> str | None:
        """Return a text without its padding; None where it is absent, empty or of another type."""
        kind, count, position = self.entries.get(tag, (0, 0, 0))
        if kind != _ASCII or position + count > len(self.block):
            return None
        stored = self.block[position : position + min(count, _MAX_TEXT_BYTES)]
        return stored.decode("latin-1").replace("\0", "").strip() or None

    def numbers(self, tag: int) -> list[float]:
        """Return numbers, NaN for a fraction of zero; none where the entry is absent or malformed."""
        kind, count, position = self.entries.get(tag, (0, 0, 0))
        if kind not in _NUMBERS or count > _MAX_NUMBERS:
            return []
        try:
            stored = struct.unpack_from(self.order + _NUMBERS[kind] * count, self.block, position)
        except struct.error:
            return []
        if kind not in _RATIONALS:
            return [float(value) for value in stored]
        pairs = zip(stored[::2], stored[1::2], strict=True)
        return [top / bottom if bottom else math.nan for top, bottom in pairs]

    def below(self, tag: int) -> ExifDirectory:
        """Return the directory that an entry points at; an empty one where there is none."""
        kind, count, position = self.entries.get(tag, (0, 0, 0))
        if _NUMBERS.get(kind) != "I" or count != 1:
            return ExifDirectory()
        try:
            (start,) = struct.unpack_from(self.order + "I", self.block, position)
            return _directory(self.block, self.order, start)
        except struct.error:
            return ExifDirectory()


def first_directory(block: bytes) -> ExifDirectory:
    """Return the main directory of an EXIF block or of a TIFF file; an empty one if there is none."""
    block = block[prefix.end() :] if (prefix := _PREFIX.match(block)) else block
    order = _ORDERS.get(block[:4])
    if order is None:
        return ExifDirectory()
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        return _directory(block, order, start)
    except struct.error:
        return ExifDirectory()


def _directory(block: bytes, order: str, start: int) -> ExifDirectory:
    """Raises struct.error: the directory is not inside the block."""
    (num_entries,) = struct.unpack_from(order + "H", block, start)
    begin = start + 2
    entries: dict[int, tuple[int, int, int]] = {}
    for position in range(begin, begin + 12 * num_entries, 12):
        tag, kind, count, pointer = struct.unpack_from(order + "HHII", block, position)
        num_bytes = count * struct.calcsize("=" + _NUMBERS.get(kind, "B"))
        entries.setdefault(tag, (kind, count, pointer if num_bytes > 4 else position + 8))
    return ExifDirectory(block, order, entries)


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """Return the orientation (1 to 8) in an EXIF block or, where that has none, in XMP.

    Malformed metadata means upright: it is not a reason to refuse good pixels.
    """
    found = _find(exif)
    if found is None:
        return orientation_in_xmp(xmp)
    return found if 1 <= found <= 8 else 1


def read_orientation(block: bytes) -> int:
    """Return the orientation (1 to 8) in an EXIF block, with or without ``Exif\\0\\0`` before it."""
    return orientation_of(block)


def orientation_in_xmp(xmp: bytes) -> int:
    match = _IN_XMP.search(xmp)
    value = int(match[1]) if match else 1
    return value if 1 <= value <= 8 else 1


def _find(block: bytes) -> int | None:
    """Return the tag's value, which may be out of range; None where there is none that can be read."""
    prefix = _PREFIX.match(block)
    if prefix is not None:
        block = block[prefix.end() :]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (num_entries,) = struct.unpack_from(order + "H", block, directory)
        for entry in range(directory + 2, directory + 2 + 12 * num_entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", block, entry)
            if tag == _ORIENTATION_TAG:
                if kind not in _CODES or count != 1:
                    return 1
                (value,) = struct.unpack_from(order + _CODES[kind], block, entry + 8)
                return int(value)
    except struct.error:
        pass
    return None
