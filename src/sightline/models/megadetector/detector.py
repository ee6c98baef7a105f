"""The detector: photos in, boxes of animals, humans and vehicles out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ModelBroken
from sightline.imaging import View
from sightline.models import Graph, TensorSpec
from sightline.models.embedders import only_input
from sightline.models.megadetector.letterbox import Letterboxed, letterbox, placed_back
from sightline.models.megadetector.suppression import choose
from sightline.types import Detection

LABELS: Final = ("animal", "human", "vehicle")
# Centre, size, probability of anything, and of each class.
CANDIDATE: Final = 5 + len(LABELS)

_USUAL_DTYPES: Final = ("float32", "float16")


class AnimalDetector:
    """Finds things labelled "animal", "human" or "vehicle".

    ``infer`` answers with one list per photo, highest score first: at most 300 detections with scores above
    0.01. Corners are whole pixels inside the view.

    Two signatures of graph are accepted, both answering ``[N, candidates, 8]``: our own, uint8
    ``[N, H, W, 3]``, and the usual one, float ``[N, 3, H, W]`` from 0 to 1. Where the graph fixes ``H`` and
    ``W``, which must be equal then, photos are fitted into that square; where it fixes ``N`` to 1, they go
    one by one.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._input = only_input(graph, "pixels")
        self._output = _candidates_output(graph)
        self._usual = self._input.dtype in _USUAL_DTYPES
        self._square = _square(self._input)
        self._alone = self._input.shape[0] == 1

    def prepare(self, subject: View) -> Letterboxed:
        return letterbox(subject, self._square)

    def infer(self, items: Sequence[Letterboxed]) -> list[list[Detection]]:
        """Photos of one shape are computed together."""
        shapes: dict[Any, list[int]] = {}
        for place, item in enumerate(items):
            key = place if self._alone else item.image.shape
            shapes.setdefault(key, []).append(place)
        found: list[list[Detection]] = [[] for _ in items]
        for places in shapes.values():
            batch = np.stack([items[place].image for place in places])
            answers = self._graph.run({self._input.name: self._tensor(batch)})[self._output]
            for place, answer in zip(places, answers, strict=True):
                found[place] = _detections(answer.astype(np.float32, copy=False), items[place])
        return found

    def _tensor(self, batch: NDArray[np.uint8]) -> NDArray[Any]:
        if not self._usual:
            return batch
        scaled = batch.transpose(0, 3, 1, 2) / np.float32(255)
        return np.ascontiguousarray(scaled, dtype=self._input.dtype)


def _detections(answer: NDArray[np.float32], boxed: Letterboxed) -> list[Detection]:
    corners, scores, classes = choose(answer)
    return [
        Detection(box, score, LABELS[label])
        for box, score, label in zip(
            placed_back(corners, boxed), scores.tolist(), classes.tolist(), strict=True
        )
    ]


def _square(spec: TensorSpec) -> int | None:
    """The side of the only square that the graph reads, or None if it reads any multiple of 64."""
    sides: tuple[int | None, ...] = ()
    if len(spec.shape) == 4:
        if spec.dtype == "uint8" and spec.shape[3] in (3, None):
            sides = spec.shape[1:3]
        elif spec.dtype in _USUAL_DTYPES and spec.shape[1] in (3, None):
            sides = spec.shape[2:]
    if not sides or sides[0] != sides[1]:
        raise ModelBroken(
            "This detector graph must read uint8 [N, H, W, 3] or float [N, 3, H, W] with H and W free or "
            f"equal; it reads {spec.dtype} {list(spec.shape)}"
        )
    return sides[0]


def _candidates_output(graph: Graph) -> int:
    """Where the decoded candidates are: some exports also answer with what they were decoded from."""
    for place, spec in enumerate(graph.outputs):
        if len(spec.shape) == 3 and spec.shape[2] in (CANDIDATE, None):
            return place
    answers = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in graph.outputs)
    raise ModelBroken(f"This detector graph must answer [N, candidates, {CANDIDATE}]; it answers {answers}")
