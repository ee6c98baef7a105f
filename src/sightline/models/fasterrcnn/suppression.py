"""Non-maximum suppression within groups: the best box stays, boxes that overlap it too much go, and so on."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

# Up to so many boxes torchvision tells groups apart by moving them away from each other, which costs the
# later groups a few bits of their corners. Done here too, because a box can come or go by it.
_SHIFTED_BOXES: Final = 1000

# Rows of the table of overlaps at a time: what is computed on stays in the processor's second cache.
_ROWS: Final = 64


def suppress(boxes: Floats, scores: Floats, groups: Ints, threshold: float) -> Ints:
    """Indices of the boxes kept, highest score first; of equal scores the earlier box goes first.

    A box is dropped if its intersection over union with a better one of its group, itself kept, is above
    ``threshold`` (more than 0). Equals ``torchvision.ops.batched_nms`` on a CPU. ``boxes`` f32 [n, 4],
    ``scores`` f32 [n], ``groups`` [n] numbers from 0.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, groups = boxes[order], groups[order]
    if len(boxes) <= _SHIFTED_BOXES:
        apart = boxes.max(initial=0) + np.float32(1)
        pairs = [_overlapping(boxes + groups.astype(np.float32)[:, None] * apart, threshold)]
    else:
        pairs = []
        for group in np.unique(groups):
            (members,) = np.nonzero(groups == group)
            better, worse = _overlapping(boxes[members], threshold)
            pairs.append((members[better], members[worse]))
    better, worse = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return order[_undefeated(len(order), better, worse)]


def _overlapping(boxes: Floats, threshold: float) -> tuple[Ints, Ints]:
    """Pairs of places whose boxes overlap by more than ``threshold``, the smaller place first."""
    x_min, y_min, x_max, y_max = np.ascontiguousarray(boxes.T)
    areas = (x_max - x_min) * (y_max - y_min)
    # intersection / union > t  ⟺  intersection · (1 + t) / t > area + area. A hair less, so that the exact
    # test below gets every pair it could accept.
    enough = np.float32((1 + threshold) / threshold * (1 + 1e-5))
    found: list[tuple[Ints, Ints]] = []
    for first in range(0, len(boxes), _ROWS):
        row, column = slice(first, first + _ROWS), slice(first, None)
        shared = np.minimum(x_max[row, None], x_max[column])
        shared -= np.maximum(x_min[row, None], x_min[column])
        np.maximum(shared, 0, out=shared)
        height = np.minimum(y_max[row, None], y_max[column])
        height -= np.maximum(y_min[row, None], y_min[column])
        shared *= height  # below 0 where only the heights miss each other, which no test passes
        rows, columns = np.nonzero(shared * enough > areas[row, None] + areas[column])
        ahead = rows < columns
        rows, columns = rows[ahead], columns[ahead]
        shared = shared[rows, columns]
        rows, columns = rows + first, columns + first
        above = shared / (areas[rows] + areas[columns] - shared) > threshold
        found.append((rows[above], columns[above]))
    if not found:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    better, worse = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return better, worse


def _undefeated(count: int, better: Ints, worse: Ints) -> NDArray[np.bool_]:
    """Return which of ``count`` boxes stay. Decide together whatever depends on no open decision."""
    alive = np.ones(count, dtype=bool)
    while better.size:
        challenged = np.zeros(count, dtype=bool)
        challenged[worse] = True
        alive[worse[~challenged[better]]] = False
        open_pairs = alive[better] & alive[worse]
        better, worse = better[open_pairs], worse[open_pairs]
    return alive
