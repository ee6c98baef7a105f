"""What a file says of itself, read without decoding a pixel."""

from __future__ import annotations

from sightline.imaging import decoding
from sightline.imaging.formats import Format
from sightline.imaging.headers.header import Header


def read_header(data: bytes, image_format: Format) -> Header:
    width, height, orientation = decoding.measure(data, image_format)
    return Header(width, height, orientation)
