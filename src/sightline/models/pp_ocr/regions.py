"""Regions of a probability map as rectangles: connected components, smallest rectangles, growth.

What OpenCV's ``findContours``, ``minAreaRect`` and ``dilate`` and pyclipper's round offset give the
reference, in numpy. Corners are float64 ``[4, 2]``, (x, y) in pixels of the map with pixel centres at whole
numbers, in the order top left, top right, bottom right, bottom left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.intp]

# How far inside an edge's line a pixel's centre may lie outside and still count: fillPoly draws the outline.
_OUTLINE: Final = 0.5


def dilated(mask: Mask) -> Mask:
    """Return ``mask`` [h, w] grown by one pixel to the right and down: a 2 × 2 kernel of ones."""
    grown = mask.copy()
    grown[:, 1:] |= mask[:, :-1]
    grown[1:] |= mask[:-1]
    grown[1:, 1:] |= mask[:-1, :-1]
    return grown


def components(mask: Mask, most: int) -> list[Floats]:
    """Return the outline points, float64 ``[n, 2]``, of up to ``most`` 8-connected parts of ``mask`` [h, w].

    The points are the ends of the component's runs: their convex hull is that of all its pixels. Components
    come from the bottom to the top, as ``findContours`` lists them.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded.ravel())
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    if not len(starts):
        return []
    stride = width + 2
    labels = _joined(starts, ends, stride)
    order = np.argsort(labels, kind="stable")
    bounds = np.r_[0, np.flatnonzero(np.diff(labels[order])) + 1, len(order)]
    found = []
    # Of a picture full of speckles, a million components, only those that are wanted are put together.
    for group in range(len(bounds) - 2, max(len(bounds) - 2 - most, -1), -1):
        runs = order[bounds[group] : bounds[group + 1]]
        x = np.concatenate([starts[runs], ends[runs]]) % stride
        found.append(np.stack([x, np.tile(starts[runs] // stride, 2)], axis=1).astype(np.float64))
    return found


def _joined(starts: Ints, ends: Ints, stride: int) -> Ints:
    """For each run the first run of its component. Runs that are diagonal to each other touch."""
    first = np.searchsorted(ends, starts + stride - 1)
    last = np.searchsorted(starts, ends + stride + 1, side="right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    labels = np.arange(len(starts))
    while True:
        one, two = labels[upper], labels[lower]
        apart = one != two
        if not apart.any():
            return labels
        np.minimum.at(labels, np.maximum(one, two)[apart], np.minimum(one, two)[apart])
        while (labels != labels[labels]).any():
            labels = labels[labels]


def smallest_rectangle(points: Floats) -> tuple[Floats, float]:
    """Return the corners of the rectangle of least area around ``points`` [n, 2], and its shorter side.

    One of its sides lies along an edge of the convex hull (Freeman and Shapira 1975).
    """
    hull = _hull(points)
    edges = np.roll(hull, -1, axis=0) - hull
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    if len(hull) < 2:
        return np.repeat(hull, 4, axis=0), 0.0
    along = edges[lengths > 0] / lengths[lengths > 0, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    at, side = hull @ along.T, hull @ across.T
    low, high = np.stack([at.min(0), side.min(0)]), np.stack([at.max(0), side.max(0)])
    sizes = high - low
    best = int(np.argmin(sizes[0] * sizes[1]))
    ends = np.array([[low[0, best], high[0, best]], [low[1, best], high[1, best]]])
    corners = np.array(
        [ends[0, i] * along[best] + ends[1, j] * across[best] for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
    )
    return clockwise(corners), float(sizes[:, best].min())


def clockwise(corners: Floats) -> Floats:
    """Return four corners as top left, top right, bottom right, bottom left.

    The two leftmost are the left side; each side is ordered by y.
    """
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    left, right = left[np.argsort(left[:, 1], kind="stable")], right[np.argsort(right[:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]])


def grown(corners: Floats, ratio: float) -> tuple[Floats, float]:
    """Return the rectangle moved outwards on every side by ``area × ratio / perimeter``, and its shorter
    side.

    As in pyclipper, corners are cut to whole pixels before and rounded after.
    """
    sides = np.roll(corners, -1, axis=0) - corners
    area = 0.5 * abs(_cross([0.0, 0.0], [*(corners[2] - corners[0])], [*(corners[3] - corners[1])]))
    perimeter = float(np.hypot(sides[:, 0], sides[:, 1]).sum())
    distance = area * ratio / perimeter if perimeter else 0.0
    whole = np.trunc(corners)
    edges = np.roll(whole, -1, axis=0) - whole
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    edges, starts, lengths = edges[lengths > 0], whole[lengths > 0], lengths[lengths > 0]
    # Outwards is to the left of a side, as corners go clockwise in a frame whose y points down.
    outwards = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / lengths[:, None] * distance
    moved = np.concatenate([starts + outwards, starts + edges + outwards])
    return smallest_rectangle(np.copysign(np.floor(np.abs(moved) + 0.5), moved))


class RowSums:
    """Sums along the rows of a map, so that a mean over a quadrilateral costs its height, not its area."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        """``values`` is [h, w]."""
        self._height, self._width = values.shape
        self._sums = np.zeros((self._height, self._width + 1))
        np.cumsum(values, axis=1, dtype=np.float64, out=self._sums[:, 1:])

    def mean_inside(self, corners: Floats) -> float:
        """Return the mean over the pixels inside or on the outline of a convex quadrilateral, clockwise."""
        last = np.array([self._width - 1, self._height - 1])
        low = np.clip(np.floor(corners.min(axis=0)), 0, last)
        high = np.clip(np.ceil(corners.max(axis=0)), 0, last)
        # The outline runs through whole pixels, cut toward zero in the frame of the quadrilateral's own box.
        outline = np.trunc(corners - low) + low
        y = np.arange(int(low[1]), int(high[1]) + 1)
        first, end = np.full(len(y), low[0]), np.full(len(y), high[0])
        for start, stop in _edges(outline):
            (along_x, along_y), length = stop - start, float(np.hypot(*(stop - start)))
            room = along_x * (y - start[1]) + _OUTLINE * length
            if along_y > 0:
                end = np.minimum(end, np.floor(start[0] + room / along_y))
            elif along_y < 0:
                first = np.maximum(first, np.ceil(start[0] + room / along_y))
            elif length:
                end = np.where(room >= 0, end, -1)
        seen = end >= first
        rows, left, right = y[seen], first[seen].astype(np.intp), end[seen].astype(np.intp) + 1
        count = int((right - left).sum())
        return float((self._sums[rows, right] - self._sums[rows, left]).sum() / count) if count else 0.0


def _edges(corners: Floats) -> Iterator[tuple[Floats, Floats]]:
    return zip(corners, np.roll(corners, -1, axis=0), strict=True)


def _hull(points: Floats) -> Floats:
    """Convex hull, clockwise, by Andrew's monotone chain. Only the ends of each row can be on it."""
    rows = points[np.lexsort((points[:, 0], points[:, 1]))]
    first = np.flatnonzero(np.r_[True, rows[1:, 1] != rows[:-1, 1]])
    last = np.r_[first[1:] - 1, len(rows) - 1]
    left, right = rows[first].tolist(), rows[last].tolist()
    corners = dict.fromkeys(map(tuple, (*_chain(right), *_chain(left[::-1]))))
    return np.array(list(corners), np.float64)


def _chain(points: list[list[float]]) -> list[list[float]]:
    """One side of the hull along points that are sorted by y: clockwise turns only."""
    chain: list[list[float]] = []
    for point in points:
        while len(chain) > 1 and _cross(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain


def _cross(origin: list[float], one: list[float], two: list[float]) -> float:
    return (one[0] - origin[0]) * (two[1] - origin[1]) - (one[1] - origin[1]) * (two[0] - origin[0])
