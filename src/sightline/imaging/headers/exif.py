"""The one thing read from EXIF: the orientation. Position, camera and the rest are never looked at."""

from __future__ import annotations

import struct

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4


def read_orientation(block: bytes) -> int:
    """Orientation (1 to 8) in an EXIF block, with or without its ``Exif\\0\\0`` prefix.

    1, upright, for anything absent or malformed: bad metadata is no reason to refuse good pixels.
    """
    block = block.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (num_entries,) = struct.unpack_from(order + "H", block, directory)
        for entry in range(directory + 2, directory + 2 + 12 * num_entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", block, entry)
            if tag == _ORIENTATION_TAG:
                code = {_SHORT: "H", _LONG: "I"}.get(kind)
                if code is None or count != 1:
                    return 1
                (value,) = struct.unpack_from(order + code, block, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
