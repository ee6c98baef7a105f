"""Text recognition: crops of lines to strings, by CTC (connectionist temporal classification, Graves 2006).

Constants are those of ``rapidocr`` 3.10.0 (``ch_ppocr_cls``, ``ch_ppocr_rec``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.imaging import resize_linear, warp_quad
from sightline.models import Graph
from sightline.models.pp_ocr.regions import Floats

Pixels = NDArray[np.uint8]

# Height of a line, and the width that the direction classifier and the recogniser see at least.
LINE_HEIGHT: Final = 48
DIRECTION_WIDTH: Final = 192
LEAST_WIDTH: Final = 320
# A crop this many times as high as wide is text that runs downwards.
_UPRIGHT_RATIO: Final = 1.5
_TURNED: Final = 1
_TURNED_SCORE: Final = 0.9
MAX_BATCH: Final = 6
# Wider lines are squeezed: 2,000 × 20 pixels come to this at a height of 48.
MOST_WIDTH: Final = 4800


# Widths of all lines of a photo together: a newspaper page has about 120,000, and these take some seconds.
MOST_TOTAL_WIDTH: Final = 200_000


@dataclass(frozen=True, slots=True)
class Reading:
    """The text of one line and the mean probability of its characters; no text if there was none to read."""

    text: str
    score: float


class Recogniser:
    """Lines to text. ``alphabet`` has the string of each class after the blank, the space last."""

    def __init__(self, direction: Graph, recogniser: Graph, alphabet: Sequence[str]) -> None:
        self._direction = direction
        self._recogniser = recogniser
        self._alphabet = ("", *alphabet)

    def read(self, page: Pixels, quads: Sequence[Floats]) -> list[Reading]:
        """Return readings of the quadrilaterals of ``page`` [h, w, 3], in their order.

        The list is shorter than ``quads`` where the lines are wider together than ``MOST_TOTAL_WIDTH``.
        """
        crops = self._turned(_within_budget(page, quads))
        readings: list[Reading] = [Reading("", 0.0)] * len(crops)
        for places in _batches([_aspect(crop) for crop in crops]):
            # Cut, not rounded up: a column of padding more or less changes scores.
            width = max(LEAST_WIDTH, int(LINE_HEIGHT * max(_aspect(crops[place]) for place in places)))
            batch = _batch([crops[place] for place in places], min(width, MOST_WIDTH))
            (spec,) = self._recogniser.inputs
            answer = self._recogniser.run({spec.name: batch})[0]
            for place, probabilities in zip(places, answer, strict=True):
                readings[place] = self._decoded(probabilities)
        return readings

    def _turned(self, crops: list[Pixels]) -> list[Pixels]:
        """The crops with those that are upside down turned round."""
        result = list(crops)
        (spec,) = self._direction.inputs
        for first in range(0, len(crops), MAX_BATCH):
            some = crops[first : first + MAX_BATCH]
            answer = self._direction.run({spec.name: _batch(some, DIRECTION_WIDTH)})[0]
            for place, probabilities in enumerate(answer, start=first):
                if probabilities.argmax() == _TURNED and probabilities[_TURNED] > _TURNED_SCORE:
                    result[place] = result[place][::-1, ::-1]
        return result

    def _decoded(self, probabilities: NDArray[np.float32]) -> Reading:
        """Greedy: the likeliest class of each step; repeats and blanks are dropped."""
        classes = probabilities.argmax(axis=1)
        kept = classes != 0
        kept[1:] &= classes[1:] != classes[:-1]
        if not kept.any():
            return Reading("", 0.0)
        text = "".join(self._alphabet[index] for index in classes[kept])
        return Reading(text, float(probabilities.max(axis=1)[kept].mean(dtype=np.float64)))


def _batches(aspects: Sequence[float]) -> list[list[int]]:
    """Places of lines that are computed together: similar widths, so that little is padded."""
    order = sorted(range(len(aspects)), key=aspects.__getitem__)
    return [order[first : first + MAX_BATCH] for first in range(0, len(order), MAX_BATCH)]


def _within_budget(page: Pixels, quads: Sequence[Floats]) -> list[Pixels]:
    crops, total = [], 0.0
    for quad in quads:
        crop = _crop(page, quad)
        total += min(max(LINE_HEIGHT * _aspect(crop), LEAST_WIDTH), MOST_WIDTH)
        if total > MOST_TOTAL_WIDTH:
            break
        crops.append(crop)
    return crops


def _crop(page: Pixels, quad: Floats) -> Pixels:
    """The quadrilateral made upright, uint8 ``[h, w, 3]``; text that runs downwards is turned left."""
    width = int(max(np.hypot(*(quad[0] - quad[1])), np.hypot(*(quad[2] - quad[3]))))
    height = int(max(np.hypot(*(quad[0] - quad[3])), np.hypot(*(quad[1] - quad[2]))))
    crop = warp_quad(page, quad, max(width, 1), max(height, 1))
    return np.rot90(crop) if crop.shape[0] / crop.shape[1] >= _UPRIGHT_RATIO else crop


def _aspect(crop: Pixels) -> float:
    """Width over height."""
    return float(crop.shape[1] / crop.shape[0])


def _batch(crops: Sequence[Pixels], width: int) -> NDArray[np.float32]:
    """float32 ``[n, 3, 48, width]`` from -1 to 1, blue first; what is narrower is filled up with 0 (grey)."""
    batch = np.zeros((len(crops), 3, LINE_HEIGHT, width), np.float32)
    for row, crop in zip(batch, crops, strict=True):
        line = resize_linear(
            np.ascontiguousarray(crop), min(math.ceil(LINE_HEIGHT * _aspect(crop)), width), LINE_HEIGHT
        )
        row[:, :, : line.shape[1]] = line[:, :, ::-1].transpose(2, 0, 1) / np.float32(255)
        row[:, :, : line.shape[1]] -= np.float32(0.5)
        row[:, :, : line.shape[1]] /= np.float32(0.5)
    return batch
