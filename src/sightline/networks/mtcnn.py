"""The three networks of MTCNN, as facenet-pytorch's wheel holds them.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao: Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks, 2016.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sightline.networks.builder import GraphBuilder
from sightline.networks.drawing import drawn, fan_in_std
from sightline.networks.network import Network
from sightline.weights.tensors import Checkpoint, Shape

# Sides of a canvas of the proposal network, of its answer, and of the crops of the two others; how many crops
# go through these at once.
CANVAS: Final = 202
GRID: Final = (CANVAS - 10) // 2
REFINE_SIZE, OUTPUT_SIZE = 24, 48
REFINE_BATCH, OUTPUT_BATCH = 32, 8
# The fourth channel of a canvas is 1 for pixels past the edge of a picture. It is added to a convolution's
# answer under each such pixel: far below anything the network computes.
_PAST_EDGE: Final = -1e6
CANVAS_CHANNELS: Final = 4


class Layer(NamedTuple):
    """A convolution with an activation, numbered as in the checkpoint; ``pool`` is the side of a pooling
    behind it, or 0."""

    outputs: int
    side: int
    pool: int = 0


class Head(NamedTuple):
    name: str
    outputs: int


@dataclass(frozen=True)
class FaceNetwork(Network):
    """One of the networks: convolutions, perhaps a dense layer, and heads, of which the first tells faces.

    A softmax over two classes is the logistic function of their difference, which is the first answer.
    """

    layers: tuple[Layer, ...]
    heads: tuple[Head, ...]
    dense: int = 0

    # Name of the graph, without its suffix.
    name = ""

    @property
    def tensors(self) -> Mapping[str, Shape]:
        shapes: dict[str, Shape] = {}
        inputs = 3
        for number, layer in enumerate(self.layers, 1):
            shapes |= _shapes(number, "conv", (layer.outputs, inputs, layer.side, layer.side))
            inputs = layer.outputs
        if self.dense:
            # Behind a map of 3 × 3.
            shapes |= _shapes(len(self.layers) + 1, "dense", (self.dense, 9 * inputs))
            inputs = self.dense
        for head in self.heads:
            kernel: Shape = (head.outputs, inputs) if self.dense else (head.outputs, inputs, 1, 1)
            shapes |= {f"{head.name}.weight": kernel, f"{head.name}.bias": kernel[:1]}
        return shapes

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {f"{self.name}.onnx": self._graph}

    def draw(self, seed: int) -> Checkpoint:
        return drawn(self.tensors, seed, _spread)

    def tiny(self) -> Self:
        layers = tuple(layer._replace(outputs=8) for layer in self.layers)
        return replace(self, layers=layers, dense=16 if self.dense else 0)

    @abstractmethod
    def _graph(self, tensors: Checkpoint) -> GraphBuilder: ...


@dataclass(frozen=True)
class ProposalNetwork(FaceNetwork):
    """``pnet.onnx``: f32 ``pixels`` [1, 4, CANVAS, CANVAS] → ``answers`` [1, 5, GRID, GRID]: the logit of a
    face, then the four offsets of its box."""

    layers: tuple[Layer, ...] = (Layer(10, 3, 2), Layer(16, 3), Layer(32, 3))
    heads: tuple[Head, ...] = (Head("conv4_1", 2), Head("conv4_2", 4))

    name = "pnet"

    def _graph(self, tensors: Checkpoint) -> GraphBuilder:
        """The pool is moved before the activation, and pixels past the edge lose in it.

        A slope below zero makes an activation V-shaped, ``max(x, slope·x)``, so both arms go through the
        pool: ``max(u, v) = prelu(u - v; 0) + prelu(v; 1)``. The other activations grow with x, and their
        maximum is that of the maximum. Sixteen channels leave the first layer, a multiple of what processors
        like.
        """
        weights = {name: tensor.numpy() for name, tensor in tensors.items()}
        slopes, weight, bias = (weights[name] for name in ("prelu1.weight", "conv1.weight", "conv1.bias"))
        rising, bent = np.flatnonzero(slopes >= 0), np.flatnonzero(slopes < 0)
        many, few, arm = len(rising), len(bent), slopes[bent]
        arms = np.concatenate([weight[rising], weight[bent], weight[bent] * arm[:, None, None, None]])
        channels = len(arms)
        past_edge = np.full((channels, CANVAS_CHANNELS - 3, 3, 3), _PAST_EDGE, np.float32)
        combine = np.eye(channels, dtype=np.float32)
        combine[np.arange(many, many + few), np.arange(many + few, channels)] = -1
        second = weights["conv2.weight"]

        chain = _Chain("pnet", (1, CANVAS_CHANNELS, CANVAS, CANVAS))
        arm_bias = np.concatenate([bias[rising], bias[bent], bias[bent] * arm])
        chain.convolve(np.concatenate([arms, past_edge], axis=1), arm_bias)
        chain.pool(2)
        chain.convolve(combine[:, :, None, None], np.zeros(channels, np.float32))
        chain.activate(np.concatenate([slopes[rising], np.zeros(few, np.float32), np.ones(few, np.float32)]))
        chain.convolve(
            np.concatenate([second[:, rising], second[:, bent], second[:, bent]], axis=1),
            weights["conv2.bias"],
        )
        chain.activate(weights["prelu2.weight"])
        chain.convolve(weights["conv3.weight"], weights["conv3.bias"])
        chain.activate(weights["prelu3.weight"])
        chain.answer(weights, self.heads, output="answers")
        return chain.finished((1, 5, GRID, GRID))


@dataclass(frozen=True)
class CropNetwork(FaceNetwork):
    """``pixels`` f32 [batch, 3, size, size] → ``answers`` f32 [batch, n]: logit, offsets, and landmarks."""

    batch: int = 0
    size: int = 0

    def _graph(self, tensors: Checkpoint) -> GraphBuilder:
        weights = {name: tensor.numpy() for name, tensor in tensors.items()}
        chain = _Chain(self.name, (self.batch, 3, self.size, self.size))
        for number, layer in enumerate(self.layers, 1):
            chain.convolve(weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
            chain.activate(weights[f"prelu{number}.weight"])
            if layer.pool:
                chain.pool(layer.pool)
        number = len(self.layers) + 1
        dense = weights[f"dense{number}.weight"]
        # A dense layer over a map of 3 × 3 as a convolution. The networks flatten it as (x, y, channel).
        kernel = dense.reshape(len(dense), 3, 3, -1).transpose(0, 3, 2, 1)
        chain.convolve(kernel, weights[f"dense{number}.bias"])
        chain.activate(weights[f"prelu{number}.weight"])
        chain.answer(weights, self.heads)
        chain.flatten(output="answers")
        return chain.finished((self.batch, sum(head.outputs for head in self.heads) - 1))


@dataclass(frozen=True)
class RefinementNetwork(CropNetwork):
    """``rnet.onnx``."""

    layers: tuple[Layer, ...] = (Layer(28, 3, 3), Layer(48, 3, 3), Layer(64, 2))
    heads: tuple[Head, ...] = (Head("dense5_1", 2), Head("dense5_2", 4))
    dense: int = 128
    batch: int = REFINE_BATCH
    size: int = REFINE_SIZE

    name = "rnet"


@dataclass(frozen=True)
class OutputNetwork(CropNetwork):
    """``onet.onnx``: landmarks are five x, then five y."""

    layers: tuple[Layer, ...] = (Layer(32, 3, 3), Layer(64, 3, 3), Layer(64, 3, 2), Layer(128, 2))
    heads: tuple[Head, ...] = (Head("dense6_1", 2), Head("dense6_2", 4), Head("dense6_3", 10))
    dense: int = 256
    batch: int = OUTPUT_BATCH
    size: int = OUTPUT_SIZE

    name = "onet"


class _Chain:
    """A graph of layers that feed each other."""

    def __init__(self, name: str, shape: Sequence[int]) -> None:
        self._graph = GraphBuilder(name)
        self._last = self._graph.input("pixels", np.float32, shape)

    def convolve(self, weight: NDArray[Any], bias: NDArray[Any], output: str | None = None) -> None:
        self._last = self._graph.add("Conv", self._last, weight, bias, output=output)

    def activate(self, slopes: NDArray[Any]) -> None:
        self._last = self._graph.add("PRelu", self._last, slopes[:, None, None])

    def pool(self, side: int) -> None:
        self._last = self._graph.add(
            "MaxPool", self._last, kernel_shape=[side, side], strides=[2, 2], ceil_mode=1
        )

    def flatten(self, output: str | None = None) -> None:
        self._last = self._graph.add("Flatten", self._last, output=output)

    def answer(
        self, weights: Mapping[str, NDArray[Any]], heads: Sequence[Head], output: str | None = None
    ) -> None:
        """All heads in one layer."""
        kernels = [weights[f"{head.name}.weight"] for head in heads]
        biases = [weights[f"{head.name}.bias"] for head in heads]
        kernels[0], biases[0] = kernels[0][1:] - kernels[0][:1], biases[0][1:] - biases[0][:1]
        kernel = np.concatenate(kernels)
        self.convolve(kernel.reshape(*kernel.shape[:2], 1, 1), np.concatenate(biases), output)

    def finished(self, shape: Sequence[int]) -> GraphBuilder:
        self._graph.output("answers", shape)
        return self._graph


def _shapes(number: int, kind: str, kernel: Shape) -> dict[str, Shape]:
    count = kernel[:1]
    return {
        f"{kind}{number}.weight": kernel,
        f"{kind}{number}.bias": count,
        f"prelu{number}.weight": count,
    }


def _spread(name: str, shape: Shape) -> tuple[float, float]:
    """A few of many places look like a face, and boxes stay near where they were looked for."""
    if name.startswith("prelu"):
        return 0.2, 0.1
    if name.endswith("_1.bias"):
        return 0.0, 0.5
    if name.endswith((".bias", "_2.weight", "_3.weight")):
        return 0.0, 0.1 if name.endswith(".bias") else fan_in_std(shape, 0.1)
    return 0.0, fan_in_std(shape, 2**0.5)
