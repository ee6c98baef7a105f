"""The classifier: crops in, the likeliest labels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.species import SpeciesScores
from sightline.errors import ModelBroken
from sightline.imaging import View, interpolate
from sightline.models import Graph, TensorSpec
from sightline.models.embedders import only_input, output_index
from sightline.taxa import Taxon

SIDE: Final = 480
# How many labels the release's rules look at.
REPORTED: Final = 5

# torchvision's way from numbers between 0 and 1 to whole levels, for which it multiplies and cuts.
_LEVELS: Final = np.float32(255.999)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class SpeciesClassifier:
    """Says what a crop shows, as the :class:`~sightline.types.SpeciesScores` of its five likeliest labels.

    The crop is stretched to 480 × 480 whatever its proportions. Three signatures of graph are accepted:
    our own, uint8 ``[N, 480, 480, 3]``, and float32 from 0 to 1, ``[N, 480, 480, 3]`` or
    ``[N, 3, 480, 480]``. All answer logits ``[N, labels]``.
    """

    def __init__(self, graph: Graph, labels: Sequence[str]) -> None:
        self._graph = graph
        self._labels = tuple(labels)
        self._input = only_input(graph, "pixels")
        self._output = output_index(graph, "logits")
        self._alone = self._input.shape[:1] == (1,)
        self._channels_first = _channels_first(self._input)
        answered = graph.outputs[self._output].shape[-1:]
        if answered not in ((None,), (len(self._labels),)):
            raise ModelBroken(
                f"The classifier graph answers {answered} logits per crop and the file of labels holds "
                f"{len(self._labels)} labels"
            )

    def prepare(self, subject: View) -> Pixels:
        """uint8 [480, 480, 3]"""
        return stretched(subject.pixels())

    def infer(self, items: Sequence[Pixels]) -> list[SpeciesScores]:
        if self._alone and len(items) > 1:
            return [answer for item in items for answer in self.infer([item])]
        logits = self._graph.run({self._input.name: self._tensor(np.stack(items))})[self._output]
        return [self._scores(row) for row in logits.astype(np.float32, copy=False)]

    def _tensor(self, batch: Pixels) -> NDArray[Any]:
        if self._input.dtype == "uint8":
            return batch
        scaled = batch / np.float32(255)
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)) if self._channels_first else scaled

    def _scores(self, logits: Floats) -> SpeciesScores:
        powers = np.exp(logits - logits.max())
        scores = powers / powers.sum()
        best = np.argsort(-scores, kind="stable")[:REPORTED]
        return SpeciesScores(tuple(self._labels[place] for place in best), tuple(scores[best].tolist()))


def stretched(pixels: Pixels) -> Pixels:
    """uint8 ``[h, w, 3]`` to uint8 ``[480, 480, 3]``: bilinear without smoothing, levels cut, not rounded."""
    return (interpolate(pixels, SIDE, SIDE) * _LEVELS).astype(np.uint8)


def read_labels(path: Path) -> list[str]:
    """The labels of a release in the order of the network's answers.

    Raises:
        ModelBroken: there is no label, or a line is none.
    """
    try:
        labels = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ModelBroken("The file of labels is not text in UTF-8") from None
    while labels and not labels[-1].strip():
        labels.pop()
    labels = [label.strip() for label in labels]
    if not labels:
        raise ModelBroken("The file of labels is empty")
    for number, label in enumerate(labels, 1):
        try:
            Taxon.parse(label)
        except ValueError as error:
            raise ModelBroken(f"Line {number} of the file of labels is none: {error}") from None
    return labels


def _channels_first(spec: TensorSpec) -> bool:
    """Whether colours come before rows."""
    if len(spec.shape) == 4:
        if spec.dtype in ("uint8", "float32") and _fits(spec, (SIDE, SIDE, 3)):
            return False
        if spec.dtype == "float32" and _fits(spec, (3, SIDE, SIDE)):
            return True
    raise ModelBroken(
        f"This classifier graph must read uint8 or float32 [N, {SIDE}, {SIDE}, 3] or float32 [N, 3, {SIDE}, "
        f"{SIDE}]; it reads {spec.dtype} {list(spec.shape)}"
    )


def _fits(spec: TensorSpec, wanted: Sequence[int]) -> bool:
    return all(size in (None, want) for size, want in zip(spec.shape[1:], wanted, strict=True))
