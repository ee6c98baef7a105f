"""Pictures built on the spot: real photographs of scikit-image, encoded in every format."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from skimage import data

from sightline.imaging import ImageLimits

pillow_heif.register_heif_opener()

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def limits() -> ImageLimits:
    return ImageLimits(max_bytes=25 * 1024 * 1024, max_pixels=50_000_000, max_side=30_000)


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """160 × 120 pixels, no two quadrants alike."""
    return Image.fromarray(data.astronaut()).resize((160, 120), Image.Resampling.LANCZOS)


@pytest.fixture(scope="session")
def encode() -> Encode:
    """``encode(image, "jpeg", **save_options) -> bytes``"""

    def encode(image: Image.Image, name: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, name.upper(), **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def files(photo: Image.Image, encode: Encode) -> dict[str, bytes]:
    """The photo, once in each format."""
    return {
        "jpeg": encode(photo, "jpeg", quality=95),
        "png": encode(photo, "png"),
        "webp": encode(photo, "webp", quality=95),
        "gif": encode(photo.quantize(256), "gif"),
        "bmp": encode(photo, "bmp"),
        "tiff": encode(photo, "tiff", compression="tiff_lzw"),
        "avif": encode(photo, "avif", quality=95),
        "heif": encode(photo, "heif", quality=95),
    }


@pytest.fixture(scope="session")
def tiff_file() -> Callable[..., bytes]:
    """``tiff_file({tag: [values]}, body, *more)``: a TIFF whose directories have one strip of ``body`` each.

    Values are 16-bit, or text where they are bytes. ``sub`` are the tags of a directory below the first one.
    """

    def directory(tags: dict[int, Any], at: int) -> tuple[bytes, bytes]:
        entries, values = b"", b""
        behind = at + 2 + 12 * len(tags) + 4
        for tag, content in sorted(tags.items()):
            is_offset = tag in (273, 279, 330, 513, 514)
            kind = 2 if isinstance(content, bytes) else 4 if is_offset else 3
            count = len(content)
            stored = content if kind == 2 else struct.pack(f"<{count}{'I' if is_offset else 'H'}", *content)
            if len(stored) > 4:
                pointer, values = struct.pack("<I", behind + len(values)), values + stored
            else:
                pointer = stored.ljust(4, b"\0")
            entries += struct.pack("<HHI", tag, kind, count) + pointer
        return struct.pack("<H", len(tags)) + entries, values

    def tiff_file(
        tags: dict[int, Any], body: bytes, *more: dict[int, Any], sub: dict[int, Any] | None = None
    ) -> bytes:
        file = b"II*\0\0\0\0\0" + body
        strip = {273: [8], 279: [len(body)]}
        if sub is not None:
            head, values = directory(strip | sub, len(file))
            tags = tags | {330: [len(file)]}
            file += head + b"\0\0\0\0" + values
        place = 4
        for each in (tags, *more):
            start = len(file)
            head, values = directory(strip | each, start)
            file = file[:place] + struct.pack("<I", start) + file[place + 4 :]
            place = start + len(head)
            file += head + b"\0\0\0\0" + values
        return file

    return tiff_file


@pytest.fixture(scope="session")
def difference() -> Callable[[Any, Any], float]:
    """Mean absolute difference in levels of 0 to 255."""

    def difference(a: Any, b: Any) -> float:
        left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert left.shape == right.shape
        return float(np.abs(left - right).mean())

    return difference


@pytest.fixture(scope="session")
def cosine() -> Callable[[Any, Any], float]:
    def cosine(a: Any, b: Any) -> float:
        left, right = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
        return float(left @ right / np.sqrt((left @ left) * (right @ right)))

    return cosine
