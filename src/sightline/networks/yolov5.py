"""YOLOv5x6 for three classes: the network of MegaDetector v5.

Written after the published description of the architecture: G. Jocher et al., Ultralytics YOLOv5 v6.0, 2021
(stem of 6 × 6, C3 blocks, fast spatial pyramid pooling, four levels with strides of 8 to 64). Layers are
numbered as there, so that a checkpoint's names fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from sightline.networks.builder import GraphBuilder, int64
from sightline.networks.convolutions import Answers, Convolution, GraphLayers, Layers, V
from sightline.networks.drawing import replaced
from sightline.networks.moments import MomentLayers, Moments
from sightline.networks.network import Network
from sightline.weights.tensors import Checkpoint, Shape

CLASSES: Final = 3
STRIDES: Final = (8, 16, 32, 64)
# Of one candidate: centre, size, probability of anything, and of each class.
OUTPUTS: Final = 5 + CLASSES
_PER_CELL: Final = 3
_ANCHORS_NAME: Final = "model.33.anchors"
# Added to variances: YOLOv5's own.
_EPSILON: Final = 1e-3

# Widths and heights in pixels, three per level: what the architecture starts training with. A checkpoint
# brings those that it ended with, in units of the level's stride.
_ANCHORS: Final = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)

# What made-up weights answer, before the sigmoid: centres and sides stay near the anchor's, and a few of a
# hundred candidates are something.
_ANSWERS: Final = Answers(
    (0.0, 0.0, 0.0, 0.0, -10.0, 0.0, 0.0, 0.0) * _PER_CELL,
    (1.0, 1.0, 0.5, 0.5, 3.8, 3.0, 3.0, 3.0) * _PER_CELL,
)


@dataclass(frozen=True)
class YoloV5x6(Network):
    """``detector.onnx``: uint8 ``pixels`` [N, H, W, 3], sides multiples of 64 → f32 ``candidates``
    [N, candidates, 8] in pixels, finest level first, by anchor, row and column.

    ``stages`` and ``blocks`` are the channels and blocks of the five stages on the way down. The defaults are
    the largest of the family: 1.25 times the channels and 1.33 times the blocks of the reference size.
    """

    # Anchors in pixels, of older files, and counters of the training.
    ignored = ("model.33.anchor_grid", "*.num_batches_tracked")

    stem: int = 80
    stages: tuple[int, int, int, int, int] = (160, 320, 640, 960, 1280)
    blocks: tuple[int, int, int, int, int] = (4, 8, 12, 4, 4)

    @property
    def tensors(self) -> Mapping[str, Shape]:
        return {**self._moments.shapes, _ANCHORS_NAME: (len(STRIDES), _PER_CELL, 2)}

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {"detector.onnx": self._detector}

    def draw(self, seed: int) -> Checkpoint:
        anchors = np.array(_ANCHORS, np.float32) / np.array(STRIDES, np.float32)[:, None, None]
        return replaced(self._moments.checkpoint(seed), {_ANCHORS_NAME: anchors})

    def tiny(self) -> Self:
        return replace(self, stem=8, stages=(8, 8, 16, 16, 16), blocks=(1, 1, 1, 1, 1))

    def published_name(self, name: str) -> str:
        """A file of whole pickled modules has the network under the name "model"."""
        return name.removeprefix("model.") if name.startswith("model.model.") else name

    @cached_property
    def _moments(self) -> MomentLayers:
        layers = MomentLayers()
        self._answers(layers, Moments.of_pictures())
        return layers

    def _answers(self, layers: Layers[V], image: V) -> list[V]:
        """Return the last layer of each level: down to a 64th, up to an 8th again, and down once more."""
        w3, w4, w5, w6 = self.stages[1:]
        short = self.blocks[0]
        maps = layers.convolution(image, _block("model.0", self.stem, 6, 2, (2, 2)))
        down: list[V] = []
        for stage, (width, blocks) in enumerate(zip(self.stages, self.blocks, strict=True)):
            maps = layers.convolution(maps, _block(f"model.{2 * stage + 1}", width, 3, 2))
            maps = _c3(layers, maps, f"model.{2 * stage + 2}", width, blocks, adds=True)
            down.append(maps)
        maps = _pyramid(layers, maps, "model.11", w6)
        ups: list[V] = []
        for number, width, beside in ((12, w5, down[3]), (16, w4, down[2]), (20, w3, down[1])):
            ups.append(layers.convolution(maps, _block(f"model.{number}", width)))
            joined = layers.concatenate([layers.double(ups[-1]), beside])
            maps = _c3(layers, joined, f"model.{number + 3}", width, short, adds=False)
        levels = [maps]
        widths = ((24, w3, w4), (27, w4, w5), (30, w5, w6))
        for (number, width, outputs), beside in zip(widths, reversed(ups), strict=True):
            maps = layers.convolution(maps, _block(f"model.{number}", width, 3, 2))
            joined = layers.concatenate([maps, beside])
            maps = _c3(layers, joined, f"model.{number + 2}", outputs, short, adds=False)
            levels.append(maps)
        return [
            layers.convolution(
                each, Convolution(f"model.33.m.{level}", _PER_CELL * OUTPUTS, answers=_ANSWERS)
            )
            for level, each in enumerate(levels)
        ]

    def _detector(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("detector")
        pixels = graph.input("pixels", np.uint8, ["batch", "height", "width", 3])
        planes = graph.add("Transpose", pixels, perm=[0, 3, 1, 2])
        scaled = graph.add("Mul", graph.add("Cast", planes, to=_FLOAT), np.float32(1 / 255))
        anchors = tensors[_ANCHORS_NAME].numpy()
        levels = zip(
            self._answers(GraphLayers(graph, tensors, _EPSILON), scaled), STRIDES, anchors, strict=True
        )
        found = [_candidates(graph, answer, stride, sides * stride) for answer, stride, sides in levels]
        graph.add("Concat", *found, axis=1, output="candidates")
        graph.output("candidates", ["batch", "candidates", OUTPUTS])
        return graph


# TensorProto.FLOAT of onnx, which takes a moment to import.
_FLOAT: Final = 1


def _block(
    name: str, outputs: int, side: int = 1, stride: int = 1, pads: tuple[int, int] | None = None
) -> Convolution:
    return Convolution(f"{name}.conv", outputs, side, stride, pads, f"{name}.bn", "silu")


def _c3(layers: Layers[V], maps: V, name: str, outputs: int, blocks: int, *, adds: bool) -> V:
    """Two narrow ways, one of them through blocks, joined again. On the way down blocks add what came in."""
    half = outputs // 2
    found = layers.convolution(maps, _block(f"{name}.cv1", half))
    for number in range(blocks):
        inner = layers.convolution(found, _block(f"{name}.m.{number}.cv1", half))
        inner = layers.convolution(inner, _block(f"{name}.m.{number}.cv2", half, 3))
        found = layers.add(found, inner) if adds else inner
    beside = layers.convolution(maps, _block(f"{name}.cv2", half))
    return layers.convolution(layers.concatenate([found, beside]), _block(f"{name}.cv3", outputs))


def _pyramid(layers: Layers[V], maps: V, name: str, outputs: int) -> V:
    """Neighbourhoods of 5, 9 and 13, as one pooling repeated."""
    levels = [layers.convolution(maps, _block(f"{name}.cv1", outputs // 2))]
    for _ in range(3):
        levels.append(layers.pool(levels[-1], 5, 1))
    return layers.convolution(layers.concatenate(levels), _block(f"{name}.cv2", outputs))


def _candidates(graph: GraphBuilder, answer: str, stride: int, anchors: NDArray[np.float32]) -> str:
    """Decode one level's answer [N, 24, rows, columns] to [N, candidates, 8]."""
    sides = graph.add("Shape", answer, start=2, end=4)
    cells = graph.add("Concat", int64(-1, _PER_CELL, OUTPUTS), sides, axis=0)
    apart = graph.add("Transpose", graph.add("Reshape", answer, cells), perm=[0, 1, 3, 4, 2])
    shares = graph.add("Sigmoid", apart)
    x, y, size, rest = (
        graph.add("Slice", shares, int64(begin), int64(end), int64(4))
        for begin, end in ((0, 1), (1, 2), (2, 4), (4, OUTPUTS))
    )
    # A side is at most four times the anchor's.
    twice = graph.add("Mul", size, np.float32(2))
    shape = anchors.reshape(1, _PER_CELL, 1, 1, 2).astype(np.float32)
    size = graph.add("Mul", graph.add("Mul", twice, twice), shape)
    x = _centre(graph, x, stride, graph.add("Gather", sides, np.int64(1), axis=0), (1, 1, 1, -1, 1))
    y = _centre(graph, y, stride, graph.add("Gather", sides, np.int64(0), axis=0), (1, 1, -1, 1, 1))
    return graph.add("Reshape", graph.add("Concat", x, y, size, rest, axis=-1), int64(0, -1, OUTPUTS))


def _centre(graph: GraphBuilder, share: str, stride: int, count: str, axis: tuple[int, ...]) -> str:
    """A centre may be up to half a cell outside its own."""
    steps = graph.add("Cast", graph.add("Range", np.int64(0), count, np.int64(1)), to=_FLOAT)
    corners = graph.add("Sub", graph.add("Reshape", steps, int64(*axis)), np.float32(0.5))
    return graph.add(
        "Mul", graph.add("Add", graph.add("Mul", share, np.float32(2)), corners), np.float32(stride)
    )
