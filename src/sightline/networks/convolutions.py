"""Layers of convolutional networks, and their nodes for inference.

An architecture is described once, over :class:`Layers`. :class:`GraphLayers` turns the description into nodes
of a graph, :class:`~sightline.networks.moments.MomentLayers` into tensor shapes and made-up weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.networks.builder import GraphBuilder, Weight
from sightline.weights.tensors import Checkpoint, Shape

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Answers:
    """Mean and standard deviation of what a layer with made-up weights computes, by output channel."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Convolution:
    """A square convolution, with a batch normalisation or a bias, and an activation.

    ``name`` and ``normalisation`` are the names of the layers in the checkpoint. ``pads`` are the rows and
    columns of zeros before and after the maps: half the side, rounded down, where it is None. A ``depthwise``
    one has one kernel for each channel. ``answers`` is about made-up weights: see ``MomentLayers``.
    """

    name: str
    outputs: int
    side: int = 1
    stride: int = 1
    pads: tuple[int, int] | None = None
    normalisation: str | None = None
    activation: Literal["", "relu", "silu"] = ""
    depthwise: bool = False
    answers: Answers | None = None

    def shape(self, inputs: int) -> Shape:
        """Return the shape of the kernel."""
        return (self.outputs, 1 if self.depthwise else inputs, self.side, self.side)


class Layers(Protocol[V]):
    """Building blocks of architectures. A value ``V`` stands for feature maps."""

    def convolution(self, maps: V, layer: Convolution) -> V: ...

    def add(self, one: V, other: V) -> V: ...

    def relu(self, maps: V) -> V: ...

    def concatenate(self, maps: Sequence[V]) -> V:
        """Join along the channels."""
        ...

    def pool(self, maps: V, side: int, stride: int) -> V:
        """Take the maximum of squares, padded by half the side."""
        ...

    def double(self, maps: V) -> V:
        """Repeat each row and each column."""
        ...

    def average(self, maps: V) -> V:
        """Take the mean of each channel, as maps of one pixel."""
        ...

    def gate(self, maps: V, gates: V) -> V:
        """Multiply each channel by the sigmoid of a number."""
        ...


class GraphLayers:
    """Implements ``Layers[str]``: appends nodes to a graph; values are the names of node outputs.

    Each normalisation is folded into the convolution before it, with ``epsilon`` added to its variances.
    """

    def __init__(self, graph: GraphBuilder, tensors: Checkpoint, epsilon: float = 0.0) -> None:
        self._graph = graph
        self._tensors = tensors
        self._epsilon = epsilon

    def convolution(self, maps: str, layer: Convolution) -> str:
        weight, bias = self._weights(layer)
        before, after = layer.pads or (layer.side // 2,) * 2
        found = self._graph.add(
            "Conv",
            maps,
            weight,
            bias,
            kernel_shape=[layer.side] * 2,
            strides=[layer.stride] * 2,
            pads=[before, before, after, after],
            group=layer.outputs if layer.depthwise else 1,
        )
        if layer.activation == "relu":
            return self.relu(found)
        return silu(self._graph, found) if layer.activation == "silu" else found

    def add(self, one: str, other: str) -> str:
        return self._graph.add("Add", one, other)

    def relu(self, maps: str) -> str:
        return self._graph.add("Relu", maps)

    def concatenate(self, maps: Sequence[str]) -> str:
        return self._graph.add("Concat", *maps, axis=1)

    def pool(self, maps: str, side: int, stride: int) -> str:
        return self._graph.add(
            "MaxPool", maps, kernel_shape=[side] * 2, strides=[stride] * 2, pads=[side // 2] * 4
        )

    def double(self, maps: str) -> str:
        scales = np.array([1, 1, 2, 2], np.float32)
        return self._graph.add(
            "Resize",
            maps,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def average(self, maps: str) -> str:
        return self._graph.add("GlobalAveragePool", maps)

    def gate(self, maps: str, gates: str) -> str:
        return self._graph.add("Mul", maps, self._graph.add("Sigmoid", gates))

    def _weights(self, layer: Convolution) -> tuple[Weight, NDArray[np.float32]]:
        kernel = self._tensors[f"{layer.name}.weight"]
        if layer.normalisation is None:
            return Weight.of(kernel), self._tensors[f"{layer.name}.bias"].numpy()
        # In doubles: a variance near 0 would cost digits.
        scale, bias, mean, variance = (
            self._tensors[f"{layer.normalisation}.{part}"].numpy().astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / np.sqrt(variance + self._epsilon)

        def folded() -> NDArray[Any]:
            return (kernel.numpy() * gain[:, None, None, None]).astype(np.float32)

        return Weight(kernel.shape, folded), (bias - mean * gain).astype(np.float32)


def silu(graph: GraphBuilder, maps: str) -> str:
    """Append x · sigmoid(x), which runtimes fuse into the convolution before it."""
    return graph.add("Mul", maps, graph.add("Sigmoid", maps))
