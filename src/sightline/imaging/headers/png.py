"""PNG (ISO/IEC 15948): size, orientation, and the chunks that matter for pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from sightline.imaging.headers.exif import read_orientation
from sightline.imaging.headers.header import Header, damaged, truncated

_SIGNATURE_BYTES = 8
_CHUNK = struct.Struct(">I4s")
# An IDAT chunk is rarely under 4 KiB: 100,000 of them would be some hundreds of megabytes.
_MAX_CHUNKS = 100_000
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"


def read(data: bytes) -> Header:
    """Raises InvalidImage when the file does not begin with an image header."""
    if data[8:16] != b"\x00\x00\x00\x0dIHDR" or len(data) < 24:
        raise damaged("PNG", "it does not begin with a header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    # Orientation usually stands before the pixels; chunks behind them are only walked if it may be there.
    if data.find(b"eXIf", _SIGNATURE_BYTES) < 0:
        return Header(width, height)
    for kind, start, end in _chunks(data):
        if kind == b"eXIf" and end <= len(data):
            return Header(width, height, read_orientation(data[start:end]))
    return Header(width, height)


def essentials(data: bytes) -> bytes:
    """Header, palette, transparency and pixels: no metadata, no further frames, nothing behind the end.

    Raises:
        InvalidImage: a chunk is cut off or its checksum is wrong, or the end chunk is missing.
    """
    view = memoryview(data)
    kept = [view[:_SIGNATURE_BYTES]]
    position, pixels_began = _SIGNATURE_BYTES, False
    for kind, start, end in _chunks(data):
        if end + 4 > len(data):
            raise truncated("PNG")
        if pixels_began and kind != b"IDAT":
            break  # chunks of pixels follow each other without a gap
        position = end + 4
        if kind in _PIXEL_CHUNKS:
            if zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
                raise damaged("PNG", "a chunk has a wrong checksum")
            kept.append(view[start - 8 : end + 4])
            pixels_began = kind == b"IDAT"
    if data.find(_END, position) < 0:
        raise truncated("PNG")
    return b"".join([*kept, _END])


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk's data. The end may lie behind the end of a truncated file."""
    position = _SIGNATURE_BYTES
    for _ in range(_MAX_CHUNKS):
        if position + _CHUNK.size > len(data):
            return
        length, kind = _CHUNK.unpack_from(data, position)
        start = position + _CHUNK.size
        yield kind, start, start + length
        if kind == b"IEND":
            return
        position = start + length + 4
    raise damaged("PNG", f"it has more than {_MAX_CHUNKS} chunks")
