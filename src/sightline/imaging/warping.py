"""A quadrilateral of a picture as a rectangle, as OpenCV's ``warpPerspective`` makes it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.imaging.raster import Pixels

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

# OpenCV's cubic kernel (Keys 1981 with a = -0.75), at places that are rounded to 32nds of a pixel.
_SHARPNESS: Final = -0.75
_STEPS: Final = 32
# Rows of the result at a time: what is gathered stays in the processor's cache.
_ROWS: Final = 16


def warp_quad(pixels: Pixels, quad: Floats, width: int, height: int) -> Pixels:
    """Return the inside of ``quad`` as uint8 ``[height, width, 3]``.

    ``quad`` is float64 ``[4, 2]``: (x, y) of the top left, top right, bottom right and bottom left corner in
    ``pixels`` [h, w, 3]; they become (0, 0), (width, 0), (width, height), (0, height). Pixels beyond the edge
    repeat the edge. An upright rectangle of that very size is copied; anything else is interpolated with
    OpenCV's ``INTER_CUBIC``.
    """
    x, y = (int(value) for value in quad[0])
    upright = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])
    if (quad == upright).all() and _inside(pixels, x, y, width, height):
        return pixels[y : y + height, x : x + width].copy()
    matrix = _matrix(quad, width, height)
    result = np.empty((height, width, 3), np.uint8)
    for first in range(0, height, _ROWS):
        last = min(first + _ROWS, height)
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(first, last)), axis=-1)
        result[first:last] = _sampled(pixels, _places(matrix, grid))
    return result


def _inside(pixels: Pixels, x: int, y: int, width: int, height: int) -> bool:
    return min(x, y) >= 0 and x + width <= pixels.shape[1] and y + height <= pixels.shape[0]


def _matrix(quad: Floats, width: int, height: int) -> Floats:
    """The homography [3, 3] from places in the result to places in the picture."""
    targets = ((0, 0), (width, 0), (width, height), (0, height))
    rows = []
    for (x, y), (u, v) in zip(targets, quad.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    solved = np.linalg.solve(np.array(rows, np.float64), quad.ravel())
    return np.append(solved, 1.0).reshape(3, 3)


def _places(matrix: Floats, grid: Ints) -> Ints:
    """Where pixels (x, y) of the result lie in the picture, in 32nds of a pixel."""
    at = grid @ matrix[:, :2].T + matrix[:, 2]
    return np.rint(at[..., :2] / at[..., 2:] * _STEPS).astype(np.intp)


def _sampled(pixels: Pixels, places: Ints) -> Pixels:
    """Sixteen pixels around each place, weighted."""
    whole, part = places // _STEPS, places % _STEPS
    weights = _WEIGHTS[part]
    columns = np.clip(whole[..., 0, None] + _TAPS, 0, pixels.shape[1] - 1)
    rows = np.clip(whole[..., 1, None] + _TAPS, 0, pixels.shape[0] - 1)
    total = np.zeros((*places.shape[:-1], 3), np.float32)
    for tap in range(len(_TAPS)):
        line = np.zeros_like(total)
        for across in range(len(_TAPS)):
            near = pixels[rows[..., tap], columns[..., across]]
            line += near * weights[..., 0, across, None]
        total += line * weights[..., 1, tap, None]
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)


def _cubic_weights() -> NDArray[np.float32]:
    """The weights of four neighbouring pixels, float32 ``[32, 4]``, for each 32nd between the middle two."""
    a = _SHARPNESS
    part = np.arange(_STEPS) / _STEPS
    first = ((a * (part + 1) - 5 * a) * (part + 1) + 8 * a) * (part + 1) - 4 * a
    second = ((a + 2) * part - (a + 3)) * part * part + 1
    third = ((a + 2) * (1 - part) - (a + 3)) * (1 - part) * (1 - part) + 1
    weights = np.stack([first, second, third, 1 - first - second - third], axis=1)
    return weights.astype(np.float32)


_TAPS: Final = np.array([-1, 0, 1, 2])
_WEIGHTS: Final = _cubic_weights()
