"""Greedy non-maximum suppression: the best box stays, boxes that overlap it too much go, and so on down.

All functions answer with indices of the boxes kept, highest score first; of equal scores the earlier box
goes first, unless noted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]
Floats = NDArray[np.float32]

# Windows of one level overlap by half or more (IoU > 0.5) only up to two cells apart: at three cells they
# share at most 10 of 19 pixels a side at the finest scale, where rounding to whole pixels matters most.
_REACH = 2
_NEIGHBOURS = [
    (dy, dx)
    for dy in range(_REACH + 1)
    for dx in range(-_REACH, _REACH + 1)
    if dy > 0 or (dy == 0 and dx > 0)
]


def suppress(boxes: Floats, scores: Floats, threshold: float) -> Ints:
    """Drop boxes whose intersection over union with a better one is above ``threshold``, like torchvision."""
    return _greedy(boxes, np.argsort(-scores, kind="stable"), threshold, grow=0.0, of_smaller=False)


def suppress_contained(boxes: Floats, scores: Floats, threshold: float) -> Ints:
    """Drop boxes whose intersection with a better one is above ``threshold`` of the smaller of the two.

    Sides count one pixel more than the difference of corners. Of equal scores the later box goes first.
    """
    return _greedy(boxes, np.argsort(scores, kind="stable")[::-1], threshold, grow=1.0, of_smaller=True)


def _greedy(boxes: Floats, order: Ints, threshold: float, *, grow: float, of_smaller: bool) -> Ints:
    x_min, y_min, x_max, y_max = np.ascontiguousarray(boxes.T)
    area = (x_max - x_min + grow) * (y_max - y_min + grow)
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x_max[best], x_max[rest]) - np.maximum(x_min[best], x_min[rest]) + grow
        height = np.minimum(y_max[best], y_max[rest]) - np.maximum(y_min[best], y_min[rest]) + grow
        shared = np.maximum(0.0, width) * np.maximum(0.0, height)
        whole = np.minimum(area[best], area[rest]) if of_smaller else area[best] + area[rest] - shared
        # Boxes without area overlap nothing.
        order = rest[np.divide(shared, whole, out=np.zeros_like(whole), where=whole != 0) <= threshold]
    return np.array(kept, dtype=np.intp)


def suppress_windows(
    rows: Ints, columns: Ints, boxes: Floats, scores: Floats, threshold: float, grid: tuple[int, int]
) -> Ints:
    """``suppress`` for windows of one level, each at its own cell of ``grid``, for thresholds from 0.5 up.

    Thousands of windows pass in a large photo, so overlaps are sought among neighbouring cells only, and all
    decisions that no undecided box stands in the way of are taken at once.
    """
    better, worse = _overlapping(rows, columns, boxes, threshold, grid)
    order = np.argsort(-scores, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    swap = rank[better] > rank[worse]
    better, worse = np.where(swap, worse, better), np.where(swap, better, worse)
    alive = np.ones(len(scores), dtype=bool)
    while better.size:
        challenged = np.zeros(len(scores), dtype=bool)
        challenged[worse] = True
        alive[worse[~challenged[better]]] = False
        open_pairs = alive[better] & alive[worse]
        better, worse = better[open_pairs], worse[open_pairs]
    return order[alive[order]]


def _overlapping(
    rows: Ints, columns: Ints, boxes: Floats, threshold: float, grid: tuple[int, int]
) -> tuple[Ints, Ints]:
    """Every pair of windows with intersection over union above ``threshold``, as two arrays of indices."""
    if len(rows) < 2:
        nothing = np.empty(0, dtype=np.intp)
        return nothing, nothing
    stride = grid[1] + 2 * _REACH
    at = np.full((grid[0] + _REACH) * stride, -1, dtype=np.intp)
    cells = rows * stride + columns + _REACH
    at[cells] = np.arange(len(rows))
    found = np.stack([at[cells + dy * stride + dx] for dy, dx in _NEIGHBOURS])
    _, first = np.nonzero(found >= 0)
    second = found[found >= 0]
    one, other = boxes[first].T, boxes[second].T
    shared = np.maximum(0, np.minimum(one[2], other[2]) - np.maximum(one[0], other[0]))
    shared *= np.maximum(0, np.minimum(one[3], other[3]) - np.maximum(one[1], other[1]))
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    pairs = shared / (areas[first] + areas[second] - shared) > threshold
    return first[pairs], second[pairs]
