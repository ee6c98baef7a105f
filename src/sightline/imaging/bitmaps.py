"""Windows bitmaps whose pixels are fields of bits. Pillow knows some of the masks that occur."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightline.imaging.headers.bmp import Masks, row_bytes
from sightline.imaging.headers.header import damaged, truncated
from sightline.imaging.raster import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

_ROWS = 128


def decode(data: bytes, masks: Masks, width: int, height: int) -> Image:
    """Return the bitmap in mode RGB, or RGBA if it has an alpha mask and says that anything is visible.

    Many programs write an alpha of 0 everywhere and mean opaque.

    Raises:
        InvalidImage: cut off, or the masks are not fields of neighbouring bits.
    """
    from PIL.Image import fromarray

    stride = row_bytes(width, masks.bits)
    if masks.start + stride * height > len(data):
        raise truncated("BMP")
    rows = np.frombuffer(data, np.uint8, stride * height, masks.start).reshape(height, stride)
    pixels = rows.view("<u2" if masks.bits == 16 else "<u4")[:, :width]
    pixels = pixels if masks.is_top_down else pixels[::-1]
    bands = [_field(pixels, mask) for mask in (masks.masks if masks.masks[3] else masks.masks[:3])]
    if len(bands) == 4 and not bands[3].any():
        bands.pop()
    return fromarray(np.dstack(bands))


def _field(pixels: NDArray[np.unsignedinteger], mask: int) -> Pixels:
    """The bits of ``mask`` as levels of 0 to 255."""
    shift = (mask & -mask).bit_length() - 1 if mask else 0
    top = mask >> shift
    if top & (top + 1):
        raise damaged("BMP", "its masks have gaps")
    result = np.zeros(pixels.shape, np.uint8)
    for first in range(0, len(pixels) if mask else 0, _ROWS):
        value = (pixels[first : first + _ROWS].astype(np.uint64) & np.uint64(mask)) >> np.uint64(shift)
        result[first : first + _ROWS] = (value * 255 + top // 2) // top
    return result
