"""Pictures built on the spot: real photographs of scikit-image, encoded in every format."""

from __future__ import annotations

import io
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
