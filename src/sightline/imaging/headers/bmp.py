"""Windows bitmaps: size, and a guard for the one slow coding."""

from __future__ import annotations

import struct

from sightline.errors import UnsupportedImage
from sightline.imaging.headers.header import Header, truncated

_CORE_HEADER_BYTES = 12
_RUN_LENGTH_CODINGS = frozenset({1, 2})
# Pillow decodes run lengths in Python, about 1 µs per run of two bytes.
_MAX_RUN_LENGTH_BYTES = 1024 * 1024


def read(data: bytes) -> Header:
    """Raises InvalidImage when cut off, UnsupportedImage for large run-length coded files."""
    if len(data) < 26:
        raise truncated("BMP")
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height = struct.unpack_from("<HH", data, 18)
        return Header(width, height)
    if len(data) < 34:
        raise truncated("BMP")
    width, height = struct.unpack_from("<ii", data, 18)
    (coding,) = struct.unpack_from("<I", data, 30)
    if coding in _RUN_LENGTH_CODINGS and len(data) > _MAX_RUN_LENGTH_BYTES:
        raise UnsupportedImage(
            f"Run-length coded BMP is read up to {_MAX_RUN_LENGTH_BYTES} bytes; send it as PNG instead."
        )
    return Header(width, abs(height))
