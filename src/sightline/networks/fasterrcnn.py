"""Faster R-CNN with a ResNet and a feature pyramid, as torchvision publishes it, in two graphs.

The choice of boxes between the graphs has shapes that depend on what is found, so it is not a part of either.

S. Ren, K. He, R. Girshick, J. Sun: Faster R-CNN, 2015. T.-Y. Lin et al.: Feature Pyramid Networks, 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from sightline.networks.builder import GraphBuilder, Weight, int64
from sightline.networks.convolutions import Answers, Convolution, GraphLayers, Layers, V
from sightline.networks.moments import MomentLayers, Moments
from sightline.networks.network import Network
from sightline.weights.tensors import Checkpoint, Shape

# Constants of torchvision's model: bins of a pooled crop along each side, anchors of a cell, and how many
# times wider a bottleneck's output is than its inner channels.
BINS: Final = 7
ANCHORS: Final = 3
_EXPANSION: Final = 4

_BODY, _PYRAMID, _PROPOSALS, _HEADS = "backbone.body", "backbone.fpn", "rpn.head", "roi_heads"

# What made-up weights answer. Background is ahead of all else, and persons, which are looked for most, of
# other classes, so that a few of a thousand boxes show something.
_BACKGROUND, _PERSON = (5.0, 3.0), (4.0, 3.0)
_CLASS = (0.0, 3.0)


@dataclass(frozen=True)
class FasterRcnn(Network):
    """Tensors are those of the file of 2019, whose normalisations have no epsilon.

    ``features.onnx``: f32 ``image`` [1, 3, H, W], normalised, sides multiples of 32 → maps ``p2`` to ``p5``
    [1, h, w, C], and ``cells`` [n, 15]: those of all five levels, finest first, row by row. A cell's numbers
    are the logits of its three anchors, then four offsets each.

    ``boxes.onnx``: f32 ``crops`` [N, 7 · 7 · C], channels last → ``logits`` [N, classes] and ``offsets``
    [N, 4 · classes].
    """

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    channels: int = 256
    hidden: int = 1024
    classes: int = 91

    @property
    def tensors(self) -> Mapping[str, Shape]:
        return self._moments.shapes

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {"features.onnx": self._features, "boxes.onnx": self._boxes}

    def draw(self, seed: int) -> Checkpoint:
        return self._moments.checkpoint(seed)

    def tiny(self) -> Self:
        return replace(self, depths=(1, 1, 1, 1), width=8, channels=16, hidden=64)

    def published_name(self, name: str) -> str:
        """Files of newer versions of torchvision have a container more around some convolutions."""
        parts = name.split(".")
        if name.startswith(f"{_PYRAMID}.") and len(parts) == 6:
            parts.pop(4)
        return ".".join(parts).replace(f"{_PROPOSALS}.conv.0.0.", f"{_PROPOSALS}.conv.")

    @cached_property
    def _moments(self) -> MomentLayers:
        layers = MomentLayers()
        # Pictures are normalised; their channels are those of the pyramid's maps afterwards.
        maps = self._maps(layers, Moments.of_channels(3, 0.0, 1.2, alike=0.9))
        shared = layers.convolution(maps[0], self._look)
        for layer in self._cell_layers:
            layers.convolution(shared, layer)
        crops = Moments.of_channels(self.channels * BINS**2, 0.0, 1.0)
        hidden = crops
        for name in ("fc6", "fc7"):
            fc = Convolution(f"{_HEADS}.box_head.{name}", self.hidden, activation="relu")
            hidden = layers.dense(hidden, fc)
        for layer in self._box_layers:
            layers.dense(hidden, layer)
        return layers

    def _maps(self, layers: Layers[V], image: V) -> list[V]:
        """p2 to p5."""
        stem = Convolution(f"{_BODY}.conv1", self.width, 7, 2, None, f"{_BODY}.bn1", "relu")
        maps = layers.pool(layers.convolution(image, stem), 3, 2)
        levels = []
        for stage, depth in enumerate(self.depths):
            inner = self.width * 2**stage
            for block in range(depth):
                name = f"{_BODY}.layer{stage + 1}.{block}"
                stride = 2 if stage and not block else 1
                maps = _bottleneck(layers, maps, name, inner, stride, projected=not block)
            levels.append(maps)
        tops = [
            layers.convolution(each, Convolution(f"{_PYRAMID}.inner_blocks.{level}", self.channels))
            for level, each in enumerate(levels)
        ]
        for level in (2, 1, 0):
            tops[level] = layers.add(tops[level], layers.double(tops[level + 1]))
        return [
            layers.convolution(each, Convolution(f"{_PYRAMID}.layer_blocks.{level}", self.channels, 3))
            for level, each in enumerate(tops)
        ]

    @property
    def _look(self) -> Convolution:
        return Convolution(f"{_PROPOSALS}.conv", self.channels, 3, activation="relu")

    @property
    def _cell_layers(self) -> tuple[Convolution, Convolution]:
        logits, offsets = Answers((0.0,) * ANCHORS, (3.0,) * ANCHORS), Answers((0.0,) * 12, (0.3,) * 12)
        return (
            Convolution(f"{_PROPOSALS}.cls_logits", ANCHORS, answers=logits),
            Convolution(f"{_PROPOSALS}.bbox_pred", 4 * ANCHORS, answers=offsets),
        )

    @property
    def _box_layers(self) -> tuple[Convolution, Convolution]:
        means, deviations = zip(_BACKGROUND, _PERSON, *(_CLASS,) * (self.classes - 2), strict=True)
        count = 4 * self.classes
        return (
            Convolution(
                f"{_HEADS}.box_predictor.cls_score", self.classes, answers=Answers(means, deviations)
            ),
            Convolution(
                f"{_HEADS}.box_predictor.bbox_pred", count, answers=Answers((0.0,) * count, (1.0,) * count)
            ),
        )

    def _features(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("features")
        maps = self._maps(GraphLayers(graph, tensors), graph.input("image", np.float32, _IMAGE))
        for level, each in enumerate(maps, 2):
            graph.add("Transpose", each, perm=[0, 2, 3, 1], output=f"p{level}")
            graph.output(f"p{level}", [1, f"height{level}", f"width{level}", self.channels])
        # The fifth level is the fourth, every second cell of it.
        maps.append(graph.add("MaxPool", maps[-1], kernel_shape=[1, 1], strides=[2, 2]))
        look = self._shared(graph, tensors, self._look)
        answer = self._shared(graph, tensors, *self._cell_layers)
        cells = []
        for each in maps:
            seen = graph.add("Relu", graph.add("Conv", each, *look, kernel_shape=[3, 3], pads=[1] * 4))
            told = graph.add("Conv", seen, *answer, kernel_shape=[1, 1])
            rows = graph.add("Transpose", told, perm=[0, 2, 3, 1])
            cells.append(graph.add("Reshape", rows, int64(-1, 5 * ANCHORS)))
        graph.add("Concat", *cells, axis=0, output="cells")
        graph.output("cells", ["cells", 5 * ANCHORS])
        return graph

    def _shared(self, graph: GraphBuilder, tensors: Checkpoint, *layers: Convolution) -> tuple[str, str]:
        """Names of the weight and bias that all levels share; several layers become one."""
        weight, bias = (
            np.concatenate([tensors[f"{layer.name}.{part}"].numpy() for layer in layers])
            for part in ("weight", "bias")
        )
        return graph.constant(weight), graph.constant(bias)

    def _boxes(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("boxes")
        head = f"{_HEADS}.box_head"
        first = tensors[f"{head}.fc6.weight"]
        outputs, inputs = first.shape

        def channels_last() -> NDArray[Any]:
            cells = first.numpy().reshape(outputs, self.channels, BINS, BINS)
            return cells.transpose(2, 3, 1, 0).reshape(inputs, outputs)

        crops = graph.input("crops", np.float32, ["count", inputs])
        seen = graph.add("MatMul", crops, Weight((inputs, outputs), channels_last))
        seen = graph.add("Relu", graph.add("Add", seen, tensors[f"{head}.fc6.bias"].numpy()))
        seen = graph.add("Relu", _product(graph, seen, tensors, f"{head}.fc7"))
        for layer, output in zip(self._box_layers, ("logits", "offsets"), strict=True):
            _product(graph, seen, tensors, layer.name, output)
            graph.output(output, ["count", layer.outputs])
        return graph


_IMAGE: Final = (1, 3, "height", "width")


def _bottleneck(layers: Layers[V], maps: V, name: str, inner: int, stride: int, *, projected: bool) -> V:
    """Narrow, look around, widen again, and add what came in."""
    found = layers.convolution(
        maps, Convolution(f"{name}.conv1", inner, normalisation=f"{name}.bn1", activation="relu")
    )
    found = layers.convolution(
        found, Convolution(f"{name}.conv2", inner, 3, stride, None, f"{name}.bn2", "relu")
    )
    outer = _EXPANSION * inner
    found = layers.convolution(
        found,
        Convolution(f"{name}.conv3", outer, normalisation=f"{name}.bn3", answers=_alike(outer, 0.0, 0.3)),
    )
    if projected:
        projection = Convolution(
            f"{name}.downsample.0",
            outer,
            1,
            stride,
            normalisation=f"{name}.downsample.1",
            answers=_alike(outer, 1.5, 0.7),
        )
        maps = layers.convolution(maps, projection)
    return layers.relu(layers.add(found, maps))


def _alike(count: int, mean: float, deviation: float) -> Answers:
    return Answers((mean,) * count, (deviation,) * count)


def _product(
    graph: GraphBuilder, values: str, tensors: Checkpoint, name: str, output: str | None = None
) -> str:
    kernel = tensors[f"{name}.weight"]
    weight = Weight((kernel.shape[1], kernel.shape[0]), lambda: kernel.numpy().T)
    return graph.add(
        "Add", graph.add("MatMul", values, weight), tensors[f"{name}.bias"].numpy(), output=output
    )
