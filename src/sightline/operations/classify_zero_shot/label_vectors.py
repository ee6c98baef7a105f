"""Labels as vectors: those of their texts, averaged, and remembered for the next picture."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.embedding import TEXT_EMBEDDING
from sightline.capabilities.label_sets import LabelSet
from sightline.operations import Scene
from sightline.types import ModelRef

# The epsilon of torch.nn.functional.normalize.
_EPSILON = 1e-12
# Questions whose label vectors stay at hand, and the numbers that one of them may have: 16 MiB together.
_MOST_KEPT = 16
_LARGEST_KEPT = 131_072

Vectors = NDArray[np.float64]


class LabelVectors:
    """A cache of the label vectors of the last requests, by the model of their texts.

    The texts' own vectors are the runtime's to keep. To average a set's anew for every picture of a folder
    would take a hundredth of the time of the picture's own vector.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[ModelRef, LabelSet], Vectors] = OrderedDict()

    async def of(self, scene: Scene, space: str, asked: LabelSet) -> tuple[Vectors, ModelRef]:
        """Return each label's vector of length 1, [labels, dimensions], and the model of the texts."""
        first = scene.known(TEXT_EMBEDDING, asked.prompts[0][1][0], space)
        if first is not None and (kept := self._kept.get((first.model, asked))) is not None:
            self._kept.move_to_end((first.model, asked))
            return kept, first.model
        vectors, readers = await _read(scene, space, asked)
        if len(readers) == 1 and vectors.size <= _LARGEST_KEPT:
            self._kept[readers[0], asked] = vectors
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return vectors, readers[0]


async def _read(scene: Scene, space: str, asked: LabelSet) -> tuple[Vectors, list[ModelRef]]:
    """The mean of each label's texts at length 1, and who read them: several if weights changed meanwhile."""
    texts = list(dict.fromkeys(text for _, prompts in asked.prompts for text in prompts))
    inferences = await scene.infer_all(TEXT_EMBEDDING, texts, space)
    vectors = units(np.stack([each.output for each in inferences]))
    rows = {text: row for row, text in enumerate(texts)}
    means = [vectors[[rows[text] for text in prompts]].mean(0) for _, prompts in asked.prompts]
    return units(np.stack(means)), list(dict.fromkeys(each.model for each in inferences))


def units(vectors: NDArray[Any]) -> Vectors:
    """Vectors along the last axis, each at length 1."""
    exact = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("...i,...i->...", exact, exact))[..., None]
    result: Vectors = exact / np.maximum(lengths, _EPSILON)
    return result
