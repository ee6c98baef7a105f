"""The detector: one graph reads the photo, a second one looks at the boxes the first one proposes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ModelBroken
from sightline.imaging import View
from sightline.models import Graph
from sightline.models.fasterrcnn.categories import CATEGORIES
from sightline.models.fasterrcnn.pooling import BINS, pool
from sightline.models.fasterrcnn.proposals import CELL_OUTPUTS, clipped, decode, propose, with_area
from sightline.models.fasterrcnn.scaling import Scaled, scale
from sightline.models.fasterrcnn.suppression import suppress
from sightline.types import Box, Detection

# Constants of torchvision's ``FasterRCNN`` and ``RoIHeads``.
LEAST_SCORE: Final = 0.05
OVERLAP: Final = 0.5
SMALLEST_SIDE: Final = 1e-2
DETECTIONS: Final = 100
_OFFSET_WEIGHTS: Final = np.array([10, 10, 5, 5], np.float32)

# The feature maps that boxes are looked up in, pixels of the image per cell of each, the first graph's word
# on every cell, and what the second graph reads.
MAPS: Final = ("p2", "p3", "p4", "p5")
STRIDES: Final = (4, 8, 16, 32)
CELLS: Final = "cells"
CROPS: Final = "crops"

# Boxes come to the second graph in multiples of this many: its products are prepared anew for every number
# that it has not seen.
_BOX_STEP: Final = 128

# Two halve the time. Each box takes a few turns with the interpreter lock, for which many threads would wait.
_MOST_THREADS: Final = 4

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


class ObjectDetector:
    """Finds things of the 91 COCO classes.

    ``infer`` answers with one list per photo, highest score first: at most 100 detections with scores above
    0.05. Boxes are floats in pixels of the view and lie inside it. Labels are the names of
    :mod:`~sightline.models.fasterrcnn.categories`.

    Two deviations from the reference. It fails on a photo so long that the scaled short side is below one
    pixel. And it derives the scale of each feature map from the height of the first photo it ever sees,
    which goes wrong if that is such a strip; here they are always 1/4, 1/8, 1/16 and 1/32.

    Boxes are pooled on ``threads`` threads, while the graphs have nothing to do.
    """

    def __init__(self, features: Graph, boxes: Graph, threads: int = 1) -> None:
        self._features = features
        self._boxes = boxes
        self._parts = min(threads, _MOST_THREADS)
        self._threads = ThreadPoolExecutor(self._parts, thread_name_prefix="pooling")
        self._feature_places = _places(features, {"image"}, (*MAPS, CELLS))
        self._box_places = _places(boxes, {CROPS}, ("logits", "offsets"))

    def prepare(self, subject: View) -> Scaled:
        return scale(subject)

    def infer(self, items: Sequence[Scaled]) -> list[list[Detection]]:
        return [self._detect(item) for item in items]

    def _detect(self, scaled: Scaled) -> list[Detection]:
        answers = self._features.run({"image": scaled.image})
        *maps, cells = (answers[place] for place in self._feature_places)
        if cells.shape[1:] != (CELL_OUTPUTS,):
            raise ModelBroken(f"the features graph answers {cells.shape[1:]} per cell, not {CELL_OUTPUTS}")
        boxes = propose(cells, scaled)
        if not len(boxes):
            return []
        logits, offsets = self._look_at(maps, boxes)
        return _decided(boxes, _softmax(logits), offsets, scaled)

    def _look_at(self, maps: Sequence[Floats], boxes: Floats) -> tuple[Floats, Floats]:
        """The second graph's logits f32 ``[n, 91]`` and offsets f32 ``[n, 364]`` for boxes f32 ``[n, 4]``."""
        levels = map_levels(boxes)
        total = len(boxes) + -len(boxes) % _BOX_STEP
        crops = np.zeros((total, BINS, BINS, maps[0].shape[3]), np.float32)
        pooling: list[Future[None]] = []
        for level, (cells, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            for rows in np.array_split(np.flatnonzero(levels == level), self._parts):
                if len(rows):
                    within = boxes[rows] * np.float32(1 / stride)
                    pooling.append(self._threads.submit(pool, cells[0], within, crops, rows))
        for each in pooling:
            each.result()
        answers = self._boxes.run({CROPS: crops.reshape(total, -1)})
        logits, offsets = (answers[place][: len(boxes)] for place in self._box_places)
        return logits, offsets


def map_levels(boxes: Floats) -> Ints:
    """Return the index of the map for each box f32 ``[n, 4]``: the third of four for 224 pixels.

    Equation 1 of the Feature Pyramid Networks paper, with torchvision's epsilon.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    levels = np.floor(np.float32(4) + np.log2(np.sqrt(areas) / np.float32(224)) + np.float32(1e-6))
    numbers: Ints = np.clip(levels, 2, 5).astype(np.intp) - 2
    return numbers


def _decided(boxes: Floats, scores: Floats, offsets: Floats, scaled: Scaled) -> list[Detection]:
    """Every class competes for itself; ``scores`` f32 ``[n, 91]``, ``offsets`` f32 ``[n, 364]``."""
    which, labels = np.nonzero(scores[:, 1:] > np.float32(LEAST_SCORE))
    labels += 1
    likely = scores[which, labels]
    moves = offsets.reshape(len(boxes), -1, 4)[which, labels] / _OFFSET_WEIGHTS
    found = clipped(decode(boxes[which], moves), scaled.height, scaled.width)
    keep = with_area(found, SMALLEST_SIDE)
    found, likely, labels = found[keep], likely[keep], labels[keep]
    best = suppress(found, likely, labels, OVERLAP)[:DETECTIONS]
    x = np.float32(scaled.full_width) / np.float32(scaled.width)
    y = np.float32(scaled.full_height) / np.float32(scaled.height)
    corners = found[best] * np.array([x, y, x, y], np.float32)
    return [
        Detection(Box(*corner), score, CATEGORIES[label])
        for corner, score, label in zip(
            corners.tolist(), likely[best].tolist(), labels[best].tolist(), strict=True
        )
    ]


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: Floats = powers / powers.sum(axis=1, keepdims=True)
    return scores


def _places(graph: Graph, inputs: set[str], outputs: Sequence[str]) -> list[int]:
    """Where each output stands in the graph's answer."""
    found_inputs = {spec.name for spec in graph.inputs}
    found = [spec.name for spec in graph.outputs]
    if found_inputs != inputs or not set(outputs) <= set(found):
        raise ModelBroken(
            f"a Faster R-CNN graph reads {', '.join(sorted(inputs))} and answers {', '.join(outputs)}; this "
            f"one reads {', '.join(sorted(found_inputs))} and answers {', '.join(found)}"
        )
    return [found.index(name) for name in outputs]
