"""PNG (ISO/IEC 15948): size, orientation, and the chunks that matter for pixels."""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sightline.errors import UnsupportedImage
from sightline.imaging.headers.exif import orientation_of
from sightline.imaging.headers.header import Header, damaged, truncated

_SIGNATURE_BYTES = 8
_CHUNK = struct.Struct(">I4s")
# An IDAT chunk is rarely under 4 KiB: 100,000 of them would be some hundreds of megabytes.
_MAX_CHUNKS = 100_000
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
# First column and row of each pass of an interlaced picture, and the steps between them.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_PROFILE = b"Raw profile type "
# ImageMagick writes EXIF as hexadecimal digits under one of these names.
_PROFILES = (_PROFILE + b"exif", _PROFILE + b"APP1")
_XMP = b"XML:com.adobe.xmp"
# The orientation is in the first kilobytes of a text.
_MAX_TEXT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ColourKey:
    """The one grey level or colour that is transparent, in the numbers that are stored."""

    bits: int
    key: tuple[int, ...]


def read(data: bytes) -> Header:
    """Return size and orientation.

    Raises:
        InvalidImage: the file does not begin with an image header.
        UnsupportedImage: it is Apple's variant.
    """
    if data[12:16] == b"CgBI":
        raise UnsupportedImage(
            "This is a CgBI PNG (optimised by Apple's tools), which is not decoded; send the original PNG."
        )
    if data[8:16] != b"\x00\x00\x00\x0dIHDR" or len(data) < 24:
        raise damaged("PNG", "it does not begin with a header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    return Header(width, height, orientation_of(*_metadata(data)))


def essentials(data: bytes) -> bytes:
    """The header, palette, transparency and pixels: no metadata, no further frames, nothing behind the end.

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


def filled(data: bytes) -> bytes:
    """Return a truncated file whose missing rows are zeros: black, or the first colour of a palette.

    Raises:
        InvalidImage: it ends before its pixels, or what there is of them is damaged.
    """
    view = memoryview(data)
    kept, pixels = [view[:_SIGNATURE_BYTES]], []
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            pixels.append(view[start : min(end, len(data))])
        elif pixels or end + 4 > len(data):
            break
        elif kind in _PIXEL_CHUNKS:
            kept.append(view[start - 8 : end + 4])
    if not pixels:
        raise truncated("PNG")
    rows = _row_bytes(data)
    try:
        stored = zlib.decompressobj().decompress(b"".join(pixels), sum(rows))
    except zlib.error:
        raise damaged("PNG", "its pixels cannot be decompressed") from None
    whole = 0
    for row in rows:  # the end of a row that is cut off does not count
        if whole + row > len(stored):
            break
        whole += row
    body = zlib.compress(stored[:whole].ljust(sum(rows), b"\0"), 1)
    chunk = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    return b"".join([*kept, chunk, _END])


def _row_bytes(data: bytes) -> list[int]:
    """Return the bytes of each row in the order they are stored, with its filter type."""
    width, height, bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour_type)
    if channels is None:
        raise damaged("PNG", "its colour type is unknown")
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    rows: list[int] = []
    for left, top, across, down in passes:
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and lines > 0:
            rows += [1 + -(-columns * bits * channels // 8)] * lines
    return rows


def colour_key(data: bytes) -> ColourKey | None:
    """Return what a tRNS chunk says of a grey or RGB picture; None where there is none."""
    bits, colour_type = data[24], data[25]
    count = {0: 1, 2: 3}.get(colour_type)
    if count is None:
        return None
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            return None
        if kind == b"tRNS" and end - start >= 2 * count and end <= len(data):
            # Bits beyond the depth do not count (PNG, 11.3.2.1).
            key = struct.unpack_from(f">{count}H", data, start)
            return ColourKey(bits, tuple(level & ((1 << bits) - 1) for level in key))
    return None


def exif(data: bytes) -> bytes:
    """Return the EXIF block; empty where there is none."""
    return _metadata(data)[0]


def _metadata(data: bytes) -> tuple[bytes, bytes]:
    """Return EXIF and XMP, each empty where there is none."""
    exif = b""
    # Only the first text of a kind counts, so that many of them cost no more than one.
    texts: dict[bytes, tuple[bytes, bytes]] = {}
    for kind, start, end in _chunks(data, strict=False):
        if end > len(data) or kind == b"fdAT":
            break  # an animation may have thousands of frames, and its metadata is before them
        if kind == b"eXIf":
            exif = data[start:end]
        elif kind in _TEXT_CHUNKS:
            name = data[start : min(end, start + 80)].partition(b"\0")[0]
            if name in _PROFILES or name == _XMP:
                texts.setdefault(name, (kind, data[start + len(name) + 1 : end]))
    profile = next((_profile(_text(*texts[name])) for name in _PROFILES if name in texts), b"")
    return exif or profile, _text(*texts[_XMP]) if _XMP in texts else b""


def _text(kind: bytes, body: bytes) -> bytes:
    """Return the beginning of a text, decompressed; empty where it is malformed."""
    is_compressed = kind == b"zTXt"
    if kind == b"zTXt":
        body = body[1:]
    elif kind == b"iTXt":
        is_compressed = body[:1] == b"\1"
        # A flag, a method, a language and a translated keyword come first.
        body = body[2:].partition(b"\0")[2].partition(b"\0")[2]
    if not is_compressed:
        return body[:_MAX_TEXT_BYTES]
    try:
        return zlib.decompressobj().decompress(body, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""


def _profile(text: bytes) -> bytes:
    """Return the bytes behind the lines with a name and a length; empty where they are not digits."""
    digits = b"".join(text.split(b"\n")[3:])
    try:
        return binascii.unhexlify(digits[: len(digits) // 2 * 2])
    except binascii.Error:
        return b""


def _chunks(data: bytes, *, strict: bool = True) -> Iterator[tuple[bytes, int, int]]:
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
    if strict:
        raise damaged("PNG", f"it has more than {_MAX_CHUNKS} chunks")
