"""Pixels in one of three forms: an array, Pillow's image, or an array with a fourth byte per pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
# Pixels; or what Pillow decoded; or its bytes from another process, [height, width, 4], the last unused.
Raster: TypeAlias = "Pixels | Image"


def size_of(raster: Raster) -> tuple[int, int]:
    """Width and height."""
    if isinstance(raster, np.ndarray):
        return raster.shape[1], raster.shape[0]
    return raster.size


def num_bytes(raster: Raster) -> int:
    """Memory of its pixels. Pillow has four bytes for each."""
    return raster.nbytes if isinstance(raster, np.ndarray) else 4 * raster.width * raster.height


def as_image(raster: Raster) -> Image:
    """As Pillow's image, in mode RGB."""
    from PIL.Image import fromarray, frombytes

    if not isinstance(raster, np.ndarray):
        return raster
    pixels = np.ascontiguousarray(raster)
    if pixels.shape[2] == 4:
        return frombytes("RGB", size_of(pixels), pixels.data, "raw", "RGBX")
    return fromarray(pixels)


def as_pixels(raster: Raster) -> Pixels:
    """As an array [height, width, 3]."""
    if isinstance(raster, np.ndarray) and raster.shape[2] == 4:
        return np.asarray(as_image(raster))  # five times as fast as numpy, which copies three bytes at a time
    return np.asarray(raster)
