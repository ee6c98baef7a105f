"""Bilinear resampling without smoothing, to the last bit as the libraries around camera traps do it.

PIL's bilinear filter widens when it shrinks, so that every pixel counts. What is here reads two pixels per
axis, whatever the factor: networks that were trained on such pictures expect the grain it leaves.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.imaging.raster import Pixels

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

# OpenCV's shares of a pixel are whole 2048ths (``INTER_RESIZE_COEF_BITS``).
_SHARES: Final = 2048

# Each level as a number from 0 to 1.
_UNIT: Final = np.arange(256, dtype=np.float32) / np.float32(255)

# Rows of the result at a time: what is computed on stays in the processor's cache.
_ROWS: Final = 32


def resize_linear(pixels: Pixels, width: int, height: int) -> Pixels:
    """``pixels`` [h, w, 3] at ``height`` × ``width``: OpenCV's ``resize`` with ``INTER_LINEAR`` on uint8.

    Shares are rounded to 2048ths and sums cut as there, so no level differs.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    left, right, right_share = _opencv_taps(pixels.shape[1], width, clamped=True)
    top, bottom, bottom_share = _opencv_taps(pixels.shape[0], height, clamped=False)
    across = [
        np.rint(share * np.float32(_SHARES)).astype(np.int32) for share in (1 - right_share, right_share)
    ]
    down = [
        np.rint(share * np.float32(_SHARES)).astype(np.int32) for share in (1 - bottom_share, bottom_share)
    ]
    # Whole rows of numbers instead of pixels of three: one gather serves all channels.
    channels = np.arange(3)
    columns = [(side[:, None] * 3 + channels).ravel() for side in (left, right)]
    across = [share.repeat(3) for share in across]
    flat = pixels.reshape(pixels.shape[0], -1)
    result = np.empty((height, width * 3), np.uint8)
    for first in range(0, height, _ROWS):
        some = slice(first, first + _ROWS)
        rows, places = np.unique(np.concatenate([top[some], bottom[some]]), return_inverse=True)
        source = flat[rows]
        mixed = source.take(columns[0], axis=1) * across[0]
        mixed += source.take(columns[1], axis=1) * across[1]
        mixed >>= 4
        count = len(places) // 2
        upper = mixed.take(places[:count], axis=0)
        upper *= down[0][some, None]
        upper >>= 16
        lower = mixed.take(places[count:], axis=0)
        lower *= down[1][some, None]
        lower >>= 16
        upper += lower
        upper += 2
        upper >>= 2
        result[some] = upper
    return result.reshape(height, width, 3)


def interpolate(pixels: Pixels, width: int, height: int) -> Floats:
    """``pixels / 255`` [h, w, 3] at ``height`` × ``width``, f32, without a return to whole levels.

    torch's ``interpolate(mode="bilinear", align_corners=False, antialias=False)``.
    """
    if pixels.shape[:2] == (height, width):
        return _UNIT[pixels]
    left, right, right_share = _torch_taps(pixels.shape[1], width)
    top, bottom, bottom_share = _torch_taps(pixels.shape[0], height)
    left_share, top_share = 1 - right_share, 1 - bottom_share
    rows, places = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    source = pixels[rows]
    at_left, at_right = _UNIT[source.take(left, axis=1)], _UNIT[source.take(right, axis=1)]
    result = np.zeros((height, width, 3), np.float32)
    for where, down in ((places[:height], top_share), (places[height:], bottom_share)):
        for part, across in ((at_left, left_share), (at_right, right_share)):
            corner = part.take(where, axis=0)
            corner *= (down[:, None] * across)[..., None]
            result += corner
    return result


def _opencv_taps(size: int, wanted: int, *, clamped: bool) -> tuple[Ints, Ints, Floats]:
    """For each of ``wanted`` places along a side, the two pixels around it and the second one's share.

    Near an edge both are the same pixel. Across, it has no second share; down, it keeps one (not
    ``clamped``), and cutting two sums instead of one can cost a level.
    """
    at = ((np.arange(wanted) + 0.5) * (size / wanted) - 0.5).astype(np.float32)
    if clamped:
        at = np.clip(at, np.float32(0), np.float32(size - 1))
    first = np.floor(at)
    share = at - first
    place = first.astype(np.intp)
    return np.maximum(place, 0), np.minimum(place + 1, size - 1), share


def _torch_taps(size: int, wanted: int) -> tuple[Ints, Ints, Floats]:
    """The same as torch finds them, which computes in 32 bits throughout."""
    step = np.float32(size) / np.float32(wanted)
    half = np.float32(0.5)
    at = np.maximum(step * (np.arange(wanted, dtype=np.float32) + half) - half, np.float32(0))
    first = np.minimum(at.astype(np.intp), size - 1)
    return first, np.minimum(first + 1, size - 1), np.minimum(at - first, 1).astype(np.float32)
