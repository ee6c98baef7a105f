"""A photo as the network wants it: scaled to fit, its sides filled up with grey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.imaging import View, resize_linear
from sightline.types import Box

# What MegaDetector v5 was trained on, and how coarse its coarsest map is.
LONG_SIDE: Final = 1280
STEP: Final = 64
GREY: Final = 114

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Letterboxed:
    """``image`` uint8 ``[H, W, 3]`` with the photo in its middle, which was ``width`` × ``height``."""

    image: Pixels
    width: int
    height: int


def letterbox(view: View, square: int | None = None) -> Letterboxed:
    """Scale the photo, up or down, until it just fits; then fill up.

    The longer side becomes 1280 pixels and both are filled to multiples of 64. With ``square``, for graphs of
    one size only, the photo is fitted into a square of that side and fills it up.

    Raises like :meth:`sightline.imaging.View.pixels`.
    """
    pixels = view.pixels()
    height, width = pixels.shape[:2]
    side = square or LONG_SIDE
    ratio = min(side / height, side / width)
    # Of a strip at least one pixel stays; the reference fails on it.
    inner_width, inner_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    spare_width, spare_height = side - inner_width, side - inner_height
    if square is None:
        spare_width, spare_height = spare_width % STEP, spare_height % STEP
    # An odd pixel goes to the right and the bottom.
    left, top = round(spare_width / 2 - 0.1), round(spare_height / 2 - 0.1)
    image = np.full((inner_height + spare_height, inner_width + spare_width, 3), GREY, np.uint8)
    inner = resize_linear(pixels, inner_width, inner_height)
    image[top : top + inner_height, left : left + inner_width] = inner
    return Letterboxed(image, width, height)


def placed_back(corners: Floats, boxed: Letterboxed) -> list[Box]:
    """Boxes f32 ``[n, 4]`` in pixels of the letterboxed image as whole pixels of the photo, cut at its edges.

    Halves go to the even number, and scale and margins are those of the filled image, as in the reference.
    """
    filled_height, filled_width = boxed.image.shape[:2]
    ratio = min(filled_height / boxed.height, filled_width / boxed.width)
    x = (filled_width - boxed.width * ratio) / 2
    y = (filled_height - boxed.height * ratio) / 2
    moved = (corners - np.array([x, y, x, y], np.float32)) / np.float32(ratio)
    farthest = np.array([boxed.width, boxed.height, boxed.width, boxed.height], np.float32)
    inside = np.rint(np.clip(moved, np.float32(0), farthest))
    return [Box(*corner) for corner in inside.tolist()]
