"""TIFF 6.0: size and orientation of the first page, and a check of what its directory claims."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from sightline.errors import UnsupportedImage
from sightline.imaging.headers.header import Header, damaged, truncated

_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 259, 262, 274
_STRIP_OFFSETS, _STRIP_BYTES = 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325

# Bytes per value of the types 1 to 12; unknown types count as one byte, as the standard's readers do.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4"}

# None, CCITT (2, 3, 4), LZW, old and new JPEG, Deflate (two numbers), PackBits: what photos and scans use.
# Codecs that libtiff may also carry (LZMA, Zstandard, WebP, JPEG 2000, ...) stay closed.
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32946, 32773})
_LAB_PHOTOMETRIC = frozenset({8, 9, 10})

# One strip per row and plane of the tallest picture accepted by default.
_MAX_PARTS = 120_000
# Tiles are padded to multiples of 16; small pictures may sit in one tile of a usual size.
_USUAL_TILE_SIDE = 1024


@dataclass(frozen=True, slots=True)
class _Directory:
    """The first page's entries: tag → (type, count, position of the values)."""

    data: bytes
    order: str
    entries: dict[int, tuple[int, int, int]]

    def values(self, tag: int) -> list[int]:
        """The integers of an entry; empty where it is absent.

        Raises:
            InvalidImage: they are no integers, or lie outside the file.
        """
        if tag not in self.entries:
            return []
        kind, count, position = self.entries[tag]
        if kind not in _INTEGERS or count > _MAX_PARTS:
            raise damaged("TIFF", "its directory holds values that cannot be")
        if position + count * _TYPE_BYTES[kind] > len(self.data):
            raise truncated("TIFF")
        found = np.frombuffer(self.data, self.order + _INTEGERS[kind], count, position).tolist()
        return [int(value) for value in found]

    def value(self, tag: int, default: int) -> int:
        found = self.values(tag)
        return found[0] if found else default


def read(data: bytes) -> Header:
    """Raises InvalidImage for a directory that does not fit the file, UnsupportedImage for its coding."""
    directory = _read_directory(data)
    width, height = directory.value(_WIDTH, 0), directory.value(_HEIGHT, 0)
    orientation = directory.value(_ORIENTATION, 1)
    if directory.value(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise UnsupportedImage("This TIFF's compression is not decoded; none, LZW, Deflate and JPEG are.")
    if directory.value(_PHOTOMETRIC, 1) in _LAB_PHOTOMETRIC:
        raise UnsupportedImage("Lab colours in TIFF are not decoded; RGB, grey, palette and CMYK are.")
    return Header(width, height, orientation if 1 <= orientation <= 8 else 1)


def essentials(data: bytes) -> bytes:
    """The file as it is, after a check that its strips or tiles lie inside it and are of sensible size.

    Raises:
        InvalidImage: they do not, or are not.
    """
    directory = _read_directory(data)
    for tag, side in ((_TILE_WIDTH, _WIDTH), (_TILE_HEIGHT, _HEIGHT)):
        if directory.value(tag, 0) > max(directory.value(side, 0) + 15, _USUAL_TILE_SIDE):
            raise damaged("TIFF", "its tiles are larger than the picture")
    for offsets_tag, bytes_tag in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        offsets, num_bytes = directory.values(offsets_tag), directory.values(bytes_tag)
        if len(num_bytes) not in (0, len(offsets)):
            raise damaged("TIFF", "its pixel data has fewer or more lengths than places")
        for offset, length in zip(offsets, num_bytes or [0] * len(offsets), strict=True):
            if offset + length > len(data):
                raise truncated("TIFF")
    return data


def _read_directory(data: bytes) -> _Directory:
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (num_entries,) = struct.unpack_from(order + "H", data, start)
        entries: dict[int, tuple[int, int, int]] = {}
        num_value_bytes = 0
        for position in range(start + 2, start + 2 + 12 * num_entries, 12):
            tag, kind, count, pointer = struct.unpack_from(order + "HHII", data, position)
            size = count * _TYPE_BYTES.get(kind, 1)
            if size > 4:
                num_value_bytes += size
            entries.setdefault(tag, (kind, count, pointer if size > 4 else position + 8))
    except struct.error:
        raise truncated("TIFF") from None
    # Honest entries do not share their values; hostile ones point at the same megabytes again and again.
    if num_value_bytes > len(data):
        raise truncated("TIFF")
    return _Directory(data, order, entries)
