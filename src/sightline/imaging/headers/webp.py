"""WebP (RFC 9649): size and orientation."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sightline.imaging.headers.exif import read_orientation
from sightline.imaging.headers.header import Header, damaged, truncated

_FIRST_CHUNK = 12
_MAX_CHUNKS = 100_000


def read(data: bytes) -> Header:
    """Raises InvalidImage when the size is not where it should be."""
    kind = data[12:16]
    if len(data) < 30 and kind != b"VP8L":
        raise truncated("WebP")
    if kind == b"VP8X":
        width, height = _u24(data, 24) + 1, _u24(data, 27) + 1
        return Header(width, height, _orientation(data))
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF)
    raise damaged("WebP", "its first chunk is no picture header")


def essentials(data: bytes) -> bytes:
    """The file up to the end it declares.

    Raises:
        InvalidImage: it is shorter than that.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated("WebP")
    return data[:end]


def _orientation(data: bytes) -> int:
    for kind, start, end in _chunks(data):
        if kind == b"EXIF" and end <= len(data):
            return read_orientation(data[start:end])
    return 1


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    position = _FIRST_CHUNK
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position + 8, position + 8 + length
        position += 8 + length + length % 2
    raise damaged("WebP", f"it has more than {_MAX_CHUNKS} chunks")


def _u24(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 3], "little")
