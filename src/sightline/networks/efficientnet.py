"""EfficientNetV2-M as SpeciesNet's classifier has it: the network for made-up weights.

The published classifier brings its own graph: see :mod:`~sightline.networks.speciesnet`. This one has its
convolutions, gates and uneven margins, and normalisations inside the convolutions as there.

M. Tan, Q. V. Le: EfficientNetV2: Smaller Models and Faster Training, 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple, Self

import numpy as np

from sightline.networks.builder import GraphBuilder, Weight, int64
from sightline.networks.convolutions import Answers, Convolution, GraphLayers, Layers, V
from sightline.networks.moments import MomentLayers, Moments
from sightline.networks.network import Network
from sightline.weights.tensors import Checkpoint, Shape

SIDE: Final = 480
_FLOAT: Final = 1  # TensorProto.FLOAT of onnx, which takes a moment to import
# What the last layer answers: of 2,498 labels the likeliest then has a few to a hundred percent.
_LOGIT_DEVIATION: Final = 4.0
# Residual blocks add this much to what came in; more would drown it in the last of 18.
_BLOCK_DEVIATION: Final = 0.5


class Stage(NamedTuple):
    """Blocks of one kind. ``gate`` is the width of a gate for each channel of the input: 0 stands for fused
    blocks, which have no gates and convolve while they widen."""

    blocks: int
    outputs: int
    widening: int
    stride: int
    gate: float


@dataclass(frozen=True)
class EfficientNetV2(Network):
    """``classifier.onnx``: uint8 ``pixels`` [N, 480, 480, 3] → f32 ``logits`` [N, labels]."""

    labels: int
    stem: int = 24
    stages: tuple[Stage, ...] = (
        Stage(3, 24, 1, 1, 0),
        Stage(5, 48, 4, 2, 0),
        Stage(5, 80, 4, 2, 0),
        Stage(7, 160, 4, 2, 0.25),
        Stage(14, 176, 6, 1, 0.25),
        Stage(18, 304, 6, 2, 0.25),
        Stage(5, 512, 6, 1, 0.25),
    )
    features: int = 1280

    @property
    def tensors(self) -> Mapping[str, Shape]:
        return self._moments.shapes

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {"classifier.onnx": self._classifier}

    def draw(self, seed: int) -> Checkpoint:
        return self._moments.checkpoint(seed)

    def tiny(self) -> Self:
        stages = (Stage(1, 8, 1, 2, 0), Stage(1, 16, 2, 2, 0), Stage(2, 16, 2, 2, 0.25))
        return replace(self, stem=8, stages=stages, features=64)

    @cached_property
    def _moments(self) -> MomentLayers:
        layers = MomentLayers()
        # Pictures from -1 to 1.
        maps = self._maps(layers, Moments.of_channels(3, -0.1, 0.28, alike=0.9))
        layers.dense(layers.average(maps), self._last)
        return layers

    @property
    def _last(self) -> Convolution:
        return Convolution(
            "classifier",
            self.labels,
            answers=Answers((0.0,) * self.labels, (_LOGIT_DEVIATION,) * self.labels),
        )

    def _maps(self, layers: Layers[V], planes: V) -> V:
        maps = layers.convolution(planes, _convolution("stem", self.stem, 3, 2))
        inputs = self.stem
        for number, stage in enumerate(self.stages, 1):
            for block in range(stage.blocks):
                name, stride = f"stage{number}.block{block}", 1 if block else stage.stride
                found = _block(layers, maps, name, inputs, stage, stride)
                maps = layers.add(found, maps) if stride == 1 and inputs == stage.outputs else found
                inputs = stage.outputs
        return layers.convolution(maps, _convolution("top", self.features))

    def _classifier(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("classifier")
        pixels = graph.input("pixels", np.uint8, ["batch", SIDE, SIDE, 3])
        levels = graph.add("Div", graph.add("Cast", pixels, to=_FLOAT), np.float32(255))
        scaled = graph.add("Add", graph.add("Mul", levels, np.float32(2)), np.float32(-1))
        planes = graph.add("Transpose", scaled, perm=[0, 3, 1, 2])
        maps = self._maps(_PublishedLayers(graph, tensors), planes)
        features = graph.add("Squeeze", graph.add("GlobalAveragePool", maps), int64(2, 3))
        last = tensors[f"{self._last.name}.weight"]
        weight = Weight((self.features, self.labels), lambda: last.numpy().T)
        found = graph.add("MatMul", features, weight)
        graph.add("Add", found, tensors[f"{self._last.name}.bias"].numpy(), output="logits")
        graph.output("logits", ["batch", self.labels])
        return graph


class _PublishedLayers(GraphLayers):
    """Means go through the shapes that they have in the published graph."""

    def average(self, maps: str) -> str:
        flat = self._graph.add("Squeeze", super().average(maps), int64(2, 3))
        # A number of 0 copies that dimension.
        rows = self._graph.add("Reshape", flat, int64(0, 1, 1, -1))
        return self._graph.add("Reshape", rows, int64(0, -1, 1, 1))


def _block(layers: Layers[V], maps: V, name: str, inputs: int, stage: Stage, stride: int) -> V:
    wide = inputs * stage.widening
    if stage.gate == 0 and stage.widening == 1:
        return layers.convolution(maps, _convolution(f"{name}.fused", stage.outputs, 3, stride))
    if stage.gate == 0:
        found = layers.convolution(maps, _convolution(f"{name}.expand", wide, 3, stride))
    else:
        found = layers.convolution(maps, _convolution(f"{name}.expand", wide))
        found = layers.convolution(
            found, replace(_convolution(f"{name}.depthwise", wide, 3, stride), depthwise=True)
        )
        narrow = max(1, int(inputs * stage.gate))
        gates = layers.convolution(layers.average(found), _convolution(f"{name}.reduce", narrow))
        found = layers.gate(found, layers.convolution(gates, Convolution(f"{name}.gate", wide)))
    answers = Answers((0.0,) * stage.outputs, (_BLOCK_DEVIATION,) * stage.outputs)
    return layers.convolution(found, Convolution(f"{name}.project", stage.outputs, answers=answers))


def _convolution(name: str, outputs: int, side: int = 1, stride: int = 1) -> Convolution:
    """At a stride of 2 TensorFlow has its margin below and to the right only."""
    pads = (0, 1) if stride == 2 else None
    return Convolution(name, outputs, side, stride, pads, activation="silu")
