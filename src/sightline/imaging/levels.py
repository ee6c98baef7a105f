"""Numbers of any kind and size as levels of 0 to 255."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.imaging.raster import Pixels

Numbers = NDArray[Any]

# Rows at a time, so that what is computed on the way takes a few megabytes.
_ROWS = 128


def levels(bands: Sequence[Numbers], bits: int) -> list[Pixels]:
    """Return ``bands`` [height, width], of one type and scale, as levels that keep their relation.

    Unsigned numbers of up to 16 bits are scaled by their largest possible value and rounded. Wider, signed
    and floating ones are scaled by the narrowest of the ranges 0-1 (floats only), 0-255 and 0-65535 that
    holds all values, or else by their own range. What is not a number is 0.
    """
    if bands[0].dtype.kind == "u" and bits <= 16:
        return [_scaled(band, 0, (1 << bits) - 1) if bits != 8 else band.astype(np.uint8) for band in bands]
    is_float = bands[0].dtype.kind == "f"
    low, high = _range(bands)
    ranges = (1.0, 255.0, 65535.0) if is_float else (255.0, 65535.0)
    top = next((limit for limit in ranges if low >= 0 and high <= limit), None)
    if top is None:
        return [_scaled(band, low, max(high - low, 1e-300)) for band in bands]
    return [_scaled(band, 0.0, top) for band in bands]


def _range(bands: Sequence[Numbers]) -> tuple[float, float]:
    ends = [
        (float(part.min()), float(part.max())) for band in bands for part in map(_plain, _parts(band))
    ]  # fmt: skip
    return min(low for low, _ in ends), max(high for _, high in ends)


def _scaled(band: Numbers, low: float, span: float) -> Pixels:
    result = np.empty(band.shape, np.uint8)
    for first, part in zip(range(0, len(band), _ROWS), _parts(band), strict=True):
        if part.dtype.kind == "u" and part.dtype.itemsize <= 2:
            top = int(span)
            result[first : first + _ROWS] = (part.astype(np.uint32) * 255 + top // 2) // top
        else:
            result[first : first + _ROWS] = np.rint((_plain(part) - low) / span * 255)
    return result


def _parts(band: Numbers) -> Iterator[Numbers]:
    return (band[first : first + _ROWS] for first in range(0, len(band), _ROWS))


def _plain(part: Numbers) -> NDArray[np.float64]:
    return np.nan_to_num(part.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
