"""From the first graph's answer to boxes worth a second look: anchors, decoding, a choice per level."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.models.fasterrcnn.scaling import Scaled
from sightline.models.fasterrcnn.suppression import suppress

# Constants of torchvision's ``FasterRCNN`` and ``RegionProposalNetwork``.
ANCHOR_SIZES: Final = (32, 64, 128, 256, 512)
ASPECT_RATIOS: Final = (0.5, 1.0, 2.0)  # height over width
PER_LEVEL: Final = 1000
PROPOSALS: Final = 1000
OVERLAP: Final = 0.7
SMALLEST_SIDE: Final = 1e-3
# A side never grows by more than this factor's logarithm: ``BoxCoder``'s default.
_MOST_GROWTH: Final = np.float32(math.log(1000 / 16))

# What the first graph says of a cell: one logit per anchor, then four offsets per anchor.
ANCHORS: Final = len(ASPECT_RATIOS)
CELL_OUTPUTS: Final = 5 * ANCHORS

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


def grids(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of cells of each level, for an image with sides that are multiples of 32.

    The fifth level is the fourth, every second cell of it.
    """
    found = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
    rows, columns = found[-1]
    return [*found, ((rows + 1) // 2, (columns + 1) // 2)]


def propose(answer: Floats, scaled: Scaled) -> Floats:
    """At most 1000 boxes f32 ``[n, 4]`` in pixels of the scaled photo, the likeliest first.

    ``answer`` f32 ``[cells, 15]`` is the first graph's: all levels, finest first, row by row.
    """
    image_height, image_width = scaled.image.shape[2:]
    boxes, logits, levels = [], [], []
    first = 0
    for level, (rows, columns) in enumerate(grids(image_height, image_width)):
        part = answer[first : first + rows * columns]
        first += rows * columns
        best = _best(part[:, :ANCHORS].ravel(), PER_LEVEL)
        cells, shapes = np.divmod(best, ANCHORS)
        # Cells of the fifth level are not a whole number of pixels apart; the reference rounds down.
        step = np.array([image_width // columns, image_height // rows] * 2, np.float32)
        corners = np.stack([cells % columns, cells // columns] * 2, axis=1).astype(np.float32) * step
        anchors = corners + anchor_shapes(ANCHOR_SIZES[level])[shapes]
        offsets = part[:, ANCHORS:].reshape(-1, ANCHORS, 4)[cells, shapes]
        boxes.append(clipped(decode(anchors, offsets), scaled.height, scaled.width))
        logits.append(part[cells, shapes])
        levels.append(np.full(len(best), level))
    return _chosen(np.concatenate(boxes), np.concatenate(logits), np.concatenate(levels))


def anchor_shapes(size: int) -> Floats:
    """Boxes f32 ``[3, 4]`` around the origin, with the area ``size``² before corners are rounded."""
    tall = np.sqrt(np.array(ASPECT_RATIOS, np.float32))
    heights, widths = tall * np.float32(size), (np.float32(1) / tall) * np.float32(size)
    return np.rint(np.stack([-widths, -heights, widths, heights], axis=1) / np.float32(2))


def decode(boxes: Floats, offsets: Floats) -> Floats:
    """Boxes f32 ``[n, 4]`` moved by offsets f32 ``[n, 4]``: centre in sides, logarithms of growth."""
    half = np.float32(0.5)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + half * sides
    centres = offsets[:, :2] * sides + centres
    reach = half * (np.exp(np.minimum(offsets[:, 2:], _MOST_GROWTH)) * sides)
    return np.concatenate([centres - reach, centres + reach], axis=1)


def clipped(boxes: Floats, height: int, width: int) -> Floats:
    """The parts of ``boxes`` inside an image."""
    farthest = np.array([width, height, width, height], np.float32)
    inside: Floats = np.clip(boxes, np.float32(0), farthest)
    return inside


def with_area(boxes: Floats, smallest_side: float) -> NDArray[np.bool_]:
    """Return a mask of the boxes without a side below ``smallest_side``."""
    sides = boxes[:, 2:] - boxes[:, :2]
    wide: NDArray[np.bool_] = np.all(sides >= np.float32(smallest_side), axis=1)
    return wide


def _chosen(boxes: Floats, logits: Floats, levels: Ints) -> Floats:
    keep = with_area(boxes, SMALLEST_SIDE)
    boxes, logits, levels = boxes[keep], logits[keep], levels[keep]
    # Compared as probabilities, as the reference does: far from 0, different logits give equal ones.
    with np.errstate(over="ignore"):
        scores = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return boxes[suppress(boxes, scores, levels, OVERLAP)[:PROPOSALS]]


def _best(values: Floats, count: int) -> Ints:
    """Places of the ``count`` largest values, largest first."""
    places = np.arange(len(values))
    if len(values) > count:
        places = np.argpartition(values, len(values) - count)[len(values) - count :]
        places.sort()
    return places[np.argsort(-values[places], kind="stable")]
