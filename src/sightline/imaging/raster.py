"""Pixels as they lie in memory: an array, or what Pillow decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]
# Pixels, or what Pillow decoded, which has still to become an array.
Raster: TypeAlias = "Pixels | Image"


def size_of(raster: Raster) -> tuple[int, int]:
    """Width and height."""
    if isinstance(raster, np.ndarray):
        return raster.shape[1], raster.shape[0]
    return raster.size


def num_bytes(raster: Raster) -> int:
    """Memory of its pixels. Pillow keeps four bytes for each."""
    return raster.nbytes if isinstance(raster, np.ndarray) else 4 * raster.width * raster.height


def as_image(raster: Raster) -> Image:
    """As Pillow's image, in mode RGB."""
    from PIL.Image import fromarray

    return fromarray(np.ascontiguousarray(raster)) if isinstance(raster, np.ndarray) else raster
