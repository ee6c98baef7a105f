"""From tens of thousands of candidates to the few that stay."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# What SpeciesNet and MegaDetector ask YOLOv5 for: everything that is at all likely, of each thing one box.
LEAST_SCORE: Final = np.float32(0.01)
OVERLAP: Final = 0.45
CANDIDATES: Final = 30_000
DETECTIONS: Final = 300
# Boxes of different classes are moved so far apart that they never meet. It costs corners a few bits, by
# which a box can come or go.
_APART: Final = np.float32(7680)

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


def choose(answer: Floats) -> tuple[Floats, Floats, Ints]:
    """Corners f32 ``[n, 4]``, scores f32 ``[n]`` and classes ``[n]`` of at most 300 boxes, likeliest first.

    ``answer`` f32 ``[candidates, 5 + classes]`` is the network's: centre, width and height in pixels, the
    probability that anything is there, and of each class if so. A candidate counts for its likeliest class.
    """
    answer = answer[answer[:, 4] > LEAST_SCORE]
    likely = answer[:, 5:] * answer[:, 4:5]
    classes = likely.argmax(axis=1)
    scores = likely[np.arange(len(likely)), classes]
    (kept,) = np.nonzero(scores > LEAST_SCORE)
    order = kept[np.argsort(-scores[kept], kind="stable")][:CANDIDATES]
    centres, reach = answer[order, :2], answer[order, 2:4] / np.float32(2)
    corners = np.concatenate([centres - reach, centres + reach], axis=1)
    scores, classes = scores[order], classes[order]
    best = _undefeated(corners + classes.astype(np.float32)[:, None] * _APART)
    return corners[best], scores[best], classes[best]


def _undefeated(boxes: Floats) -> Ints:
    """Places of the first 300 boxes ``[n, 4]`` that no earlier one of them overlaps by more than 0.45.

    ``torchvision.ops.nms``, given boxes in their order; it would go on past the 300th.
    """
    x_min, y_min, x_max, y_max = np.ascontiguousarray(boxes.T)
    areas = (x_max - x_min) * (y_max - y_min)
    left = np.arange(len(boxes))
    chosen: list[int] = []
    while left.size and len(chosen) < DETECTIONS:
        best, left = left[0], left[1:]
        chosen.append(int(best))
        width = np.minimum(x_max[best], x_max[left]) - np.maximum(x_min[best], x_min[left])
        height = np.minimum(y_max[best], y_max[left]) - np.maximum(y_min[best], y_min[left])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore"):  # two boxes without an area have nothing in common
            overlap = shared / (areas[best] + areas[left] - shared)
        left = left[~(overlap > OVERLAP)]
    return np.array(chosen, np.intp)
