"""Windows bitmaps: size, how the pixels are stored, and a guard for the one slow coding."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sightline.errors import UnsupportedImage
from sightline.imaging.headers.header import Header, truncated

_FILE_HEADER_BYTES, _CORE_HEADER_BYTES = 14, 12
# BITMAPCOREHEADER, OS/2 2, BITMAPINFOHEADER and those with masks, BITMAPV4HEADER, BITMAPV5HEADER.
_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})
_RGB, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
# Compression → bits per pixel that it may have.
_BITS = {
    _RGB: frozenset({1, 4, 8, 16, 24, 32}),
    _RLE8: frozenset({8}),
    _RLE4: frozenset({4}),
    _MASKS: frozenset({16, 32}),
    _ALPHA_MASKS: frozenset({16, 32}),
}
_RUN_LENGTH_CODINGS = frozenset({_RLE8, _RLE4})
# Pillow decodes run lengths in Python, about 1 µs per run of two bytes.
_MAX_RUN_LENGTH_BYTES = 1024 * 1024
# A header of the old kind is followed by three masks; later ones have four in them.
_MASKS_AT = _FILE_HEADER_BYTES + 40
_OS2_HEADER_BYTES = 64


@dataclass(frozen=True, slots=True)
class Masks:
    """The bits of red, green, blue and alpha (0: opaque) in a pixel, and the offset of the rows."""

    bits: int
    masks: tuple[int, int, int, int]
    start: int
    is_top_down: bool


def read(data: bytes) -> Header:
    """Raises InvalidImage when cut off, UnsupportedImage for a kind that is not decoded."""
    if len(data) < 26:
        raise truncated("BMP")
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        _require_decoded(header_bytes, _RGB, bits)
        return Header(width, height)
    if len(data) < 34:
        raise truncated("BMP")
    width, height, _, bits, coding = struct.unpack_from("<iiHHI", data, 18)
    _require_decoded(header_bytes, coding, bits)
    if coding in _RUN_LENGTH_CODINGS and len(data) > _MAX_RUN_LENGTH_BYTES:
        raise UnsupportedImage(
            f"Run-length coded BMP is read up to {_MAX_RUN_LENGTH_BYTES} bytes; send it as PNG instead."
        )
    return Header(width, abs(height))


def filled(data: bytes) -> bytes:
    """Return a truncated file with zeros for the rows that are missing.

    Raises:
        InvalidImage: it is run-length coded, or ends before its pixels.
    """
    header_bytes, start = struct.unpack_from("<I", data, 14)[0], struct.unpack_from("<I", data, 10)[0]
    if header_bytes == _CORE_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        coding = _RGB
    else:
        width, height, _, bits, coding = struct.unpack_from("<iiHHI", data, 18)
    if coding in _RUN_LENGTH_CODINGS or start > len(data):
        raise truncated("BMP")
    return data.ljust(start + row_bytes(width, bits) * abs(height), b"\0")


def row_bytes(width: int, bits: int) -> int:
    """Rows are padded to 32 bits."""
    return (width * bits + 31) // 32 * 4


def masks(data: bytes) -> Masks | None:
    """Return the masks of a bitmap that has them and that :func:`read` let through.

    Raises:
        InvalidImage: they are cut off.
    """
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == _CORE_HEADER_BYTES:
        return None
    height, _, bits, coding = struct.unpack_from("<iHHI", data, 22)
    if coding not in (_MASKS, _ALPHA_MASKS):
        return None
    with_alpha = coding == _ALPHA_MASKS or header_bytes >= 56
    count = 4 if with_alpha else 3
    if len(data) < _MASKS_AT + 4 * count:
        raise truncated("BMP")
    found = (*struct.unpack_from(f"<{count}I", data, _MASKS_AT), 0)[:4]
    (start,) = struct.unpack_from("<I", data, 10)
    red, green, blue, alpha = found
    return Masks(bits, (red, green, blue, alpha), start, height < 0)


def _require_decoded(header_bytes: int, coding: int, bits: int) -> None:
    if header_bytes not in _HEADER_BYTES:
        reason = f"a header of {header_bytes} bytes"
    elif header_bytes == _OS2_HEADER_BYTES and coding > _RLE4:
        reason = "Huffman or 24-bit run-length coding of OS/2"
    elif coding not in _BITS:
        reason = f"compression {coding}"
    elif bits not in _BITS[coding]:
        reason = f"{bits} bits per pixel with compression {coding}"
    else:
        return
    raise UnsupportedImage(f"This BMP is not decoded: it has {reason}.")
