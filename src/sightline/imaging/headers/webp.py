"""WebP (RFC 9649): size, orientation, and the first frame alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from sightline.imaging.headers.exif import orientation_of
from sightline.imaging.headers.header import Header, Placement, damaged, truncated

_FIRST_CHUNK = 12
_MAX_CHUNKS = 100_000
_ANIMATED, _WITH_ALPHA = 0x02, 0x10
_ANNOUNCED = ((_ANIMATED, b"ANMF"), (0x08, b"EXIF"), (0x04, b"XMP "))
_FRAME_HEADER_BYTES = 16
# An alpha plane and pixels, perhaps behind a chunk of a later version.
_MAX_FRAME_CHUNKS = 16


def read(data: bytes) -> Header:
    """Raises InvalidImage when the size is not where it should be."""
    kind = data[12:16]
    if len(data) < 30 and kind != b"VP8L":
        raise truncated("WebP")
    if kind == b"VP8X":
        width, height = _u24(data, 24) + 1, _u24(data, 27) + 1
        orientation, frame = _extended(data)
        return Header(width, height, orientation, frame)
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF)
    raise damaged("WebP", "its first chunk is no picture header")


def essentials(data: bytes) -> bytes:
    """The pixels of the picture or of the first frame: no animation, metadata or profile.

    Raises:
        InvalidImage: the file is shorter than it declares, or has no pixels.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated("WebP")
    if data[12:16] != b"VP8X":
        return data[:end]
    size, start = data[24:30], _FIRST_CHUNK
    if data[20] & _ANIMATED:
        frame = next((place for kind, *place in _chunks(data[:end], start) if kind == b"ANMF"), None)
        if frame is None:
            raise truncated("WebP")
        size = data[frame[0] + 6 : frame[0] + 12]
        start, end = frame[0] + _FRAME_HEADER_BYTES, min(frame[1], end)
    return _still(data[:end], start, size, data[20] & _WITH_ALPHA)


def _still(data: bytes, start: int, size: bytes, flags: int) -> bytes:
    """A file of the first picture from ``start`` on, and of the alpha plane before it."""
    alpha = b""
    chunks = _chunks(data, start)
    for kind, begin, end in chunks if start == _FIRST_CHUNK else islice(chunks, _MAX_FRAME_CHUNKS):
        if kind == b"ALPH" and not alpha:
            alpha = _chunk(kind, data[begin:end])
        elif kind in (b"VP8 ", b"VP8L"):
            if end > len(data):
                raise truncated("WebP")
            head = _chunk(b"VP8X", bytes((flags, 0, 0, 0)) + size)
            body = head + (alpha if kind == b"VP8 " else b"") + _chunk(kind, data[begin:end])
            return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    raise truncated("WebP")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def exif(data: bytes) -> bytes:
    """Return the EXIF block; empty where there is none."""
    return _announced(data).get(b"EXIF", b"") if data[12:16] == b"VP8X" and len(data) >= 30 else b""


def _announced(data: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each kind that the flags announce: the head of a frame, EXIF and XMP."""
    # Chunks that the flags do not announce are not looked for, as in libwebp.
    wanted = {kind for flag, kind in _ANNOUNCED if data[20] & flag}
    found: dict[bytes, bytes] = {}
    for kind, start, end in _chunks(data, _FIRST_CHUNK):
        if not wanted or end > len(data):
            break
        if kind in wanted:
            wanted.remove(kind)
            found[kind] = data[start : start + _FRAME_HEADER_BYTES if kind == b"ANMF" else end]
    return found


def _extended(data: bytes) -> tuple[int, Placement | None]:
    """Orientation, and where the first frame of an animation is."""
    found = _announced(data)
    frame = found.get(b"ANMF", b"")
    placement: Placement | None = None
    if len(frame) == _FRAME_HEADER_BYTES:
        left, top, width, height = (_u24(frame, 3 * i) for i in range(4))
        placement = Placement(2 * left, 2 * top, width + 1, height + 1)
    return orientation_of(found.get(b"EXIF", b""), found.get(b"XMP ", b"")), placement


def _chunks(data: bytes, position: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position + 8, position + 8 + length
        position += 8 + length + length % 2
    raise damaged("WebP", f"it has more than {_MAX_CHUNKS} chunks")


def _u24(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 3], "little")
