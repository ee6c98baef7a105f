"""TIFF 6.0 and BigTIFF directories: the entries that say where pixels are and what they mean."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from sightline.imaging.headers.header import damaged, truncated


class Tag(IntEnum):
    """The tags that are read. Entries with any other tag are skipped, whatever they hold."""

    SUBFILE_TYPE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    MAKE = 271
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    PLANAR = 284
    FAX3_OPTIONS = 292
    FAX4_OPTIONS = 293
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    SUB_DIRECTORIES = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    JPEG_STREAM = 513
    JPEG_STREAM_BYTES = 514
    YCBCR_COEFFICIENTS = 529
    YCBCR_SUBSAMPLING = 530
    REFERENCE_BLACK_WHITE = 532
    XMP = 700
    DNG_VERSION = 50706
    SR2_PRIVATE = 50740


_KNOWN = frozenset(Tag)
# Bytes per value of each type; unknown types count as one byte, as in the standard's readers.
_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_BYTE_STRINGS = frozenset({1, 2, 6, 7})
_RATIONALS = {5: "u4", 10: "i4"}

# The palette of 16-bit indices has 196,608; one strip per row and plane of the tallest RGBA picture accepted
# by default makes 120,000.
_MAX_VALUES = 200_000
# Directories whose entries are read while the pages of a file are counted.
MAX_DIRECTORIES = 1_000
# Cameras write up to four of them.
_MAX_SUB_DIRECTORIES = 16


@dataclass(frozen=True, slots=True)
class Directory:
    """Known entries of one directory: tag → (type, count, position of the values)."""

    data: bytes
    order: str
    entries: dict[int, tuple[int, int, int]]
    next_position: int

    def values(self, tag: Tag) -> list[int]:
        """Return the integers of an entry; empty where it is absent.

        Raises:
            InvalidImage: they are not integers, or are outside the file.
        """
        if tag not in self.entries:
            return []
        kind, count, position = self.entries[tag]
        if kind not in _INTEGERS or count > _MAX_VALUES:
            raise damaged("TIFF", "its directory holds values that cannot be")
        if position + count * _TYPE_BYTES[kind] > len(self.data):
            raise truncated("TIFF")
        found = np.frombuffer(self.data, self.order + _INTEGERS[kind], count, position).tolist()
        return [int(value) for value in found]

    def value(self, tag: Tag, default: int) -> int:
        found = self.values(tag)
        return found[0] if found else default

    def numbers(self, tag: Tag) -> list[float]:
        """Return the integers or fractions of an entry; empty where it is absent or malformed."""
        kind, count, position = self.entries.get(tag, (0, 0, 0))
        if kind in _INTEGERS:
            return [float(value) for value in self.values(tag)]
        if kind not in _RATIONALS or position + 8 * count > len(self.data):
            return []
        pairs = np.frombuffer(self.data, self.order + _RATIONALS[kind], 2 * count, position).tolist()
        return [top / bottom if bottom else 0.0 for top, bottom in zip(pairs[::2], pairs[1::2], strict=True)]

    def content(self, tag: Tag) -> bytes:
        """Return the bytes of a text or of an undefined value; empty where it is absent or malformed."""
        kind, count, position = self.entries.get(tag, (0, 0, 0))
        return self.data[position : position + count] if kind in _BYTE_STRINGS else b""


def first_directory(data: bytes) -> Directory:
    """Read the directory that the file's header points at.

    Raises:
        InvalidImage: it is outside the file.
    """
    order = _order(data)
    try:
        is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
        (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        return _read(data, start)
    except struct.error:
        raise truncated("TIFF") from None


def chain(first: Directory) -> Iterator[Directory]:
    """Yield a directory and those that follow it, up to a damaged one."""
    seen: set[int] = set()
    directory = first
    while True:
        yield directory
        position = directory.next_position
        if position == 0 or position in seen or len(seen) >= MAX_DIRECTORIES:
            return
        seen.add(position)
        try:
            directory = _read(directory.data, position)
        except struct.error:
            return


def sub_directories(directory: Directory) -> Iterator[Directory]:
    """Yield the directories below one: cameras store their raw data there."""
    if directory.entries.get(Tag.SUB_DIRECTORIES, (0, 0, 0))[0] not in _INTEGERS:
        return
    for position in directory.values(Tag.SUB_DIRECTORIES)[:_MAX_SUB_DIRECTORIES]:
        try:
            yield _read(directory.data, position)
        except struct.error:
            continue


def _order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _read(data: bytes, start: int) -> Directory:
    """Raises struct.error: the directory is not inside the file."""
    order = _order(data)
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
    count_code, entry_code, inline_bytes = ("Q", "HHQQ", 8) if is_big else ("H", "HHII", 4)
    entry_bytes = 4 + 2 * inline_bytes
    (num_entries,) = struct.unpack_from(order + count_code, data, start)
    begin = start + struct.calcsize(count_code)
    end = begin + entry_bytes * num_entries
    if end > len(data):
        raise struct.error("entries outside the file")
    entries: dict[int, tuple[int, int, int]] = {}
    for position in range(begin, end, entry_bytes):
        tag, kind, count, pointer = struct.unpack_from(order + entry_code, data, position)
        if tag in _KNOWN:
            size = count * _TYPE_BYTES.get(kind, 1)
            place = pointer if size > inline_bytes else position + 4 + inline_bytes
            entries.setdefault(tag, (kind, count, place))
    following = data[end : end + inline_bytes]
    is_whole = len(following) == inline_bytes
    next_position = int.from_bytes(following, "little" if order == "<" else "big") if is_whole else 0
    return Directory(data, order, entries, next_position)
