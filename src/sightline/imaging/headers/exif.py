"""The one thing that is read from metadata: the orientation. Position, camera and the rest are not read."""

from __future__ import annotations

import re
import struct

_ORIENTATION_TAG = 0x0112
_CODES = {3: "H", 4: "I", 8: "h", 9: "i"}
# As Pillow's ``Image.getexif`` finds it, in XML attributes and elements.
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# Some programs write the prefix twice.
_PREFIX = re.compile(rb"(?:Exif\x00\x00){1,2}")


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
