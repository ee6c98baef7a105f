"""Made-up weights for convolutional networks that tell pictures apart.

Weights as libraries draw them make deep networks that answer nearly the same to any picture. Trained ones
normalise each layer's answers by the statistics of pictures. Here these statistics are stated: a description
of an architecture is followed with the mean and variance of each feature map instead of its numbers, so that
no network has to be run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.networks.convolutions import Answers, Convolution
from sightline.networks.drawing import drawn, fan_in_std
from sightline.weights.tensors import Shape, Tensor

Doubles = NDArray[np.float64]

# By activation: mean and deviation of normalised answers, then mean and variance behind the activation. So
# far up, activations are nearly straight lines: a hundred bent ones in a row would drown everything in
# rounding errors.
_ANSWERS = {"silu": (2.0, 0.7), "relu": (1.0, 0.7), "": (0.0, 1.0)}
_ACTIVATED = {"silu": (1.779, 0.542), "relu": (1.025, 0.427)}
# How much of the variance of a feature map is common to neighbouring pixels.
_SMOOTH = 0.8
# How much of it is common to a whole picture.
_BROAD = 0.3
# How much the largest of several neighbouring pixels exceeds the mean, in standard deviations.
_MAXIMUM = 0.6


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of feature maps by channel.

    ``alike`` is the part of the variance that all channels have in common.
    """

    mean: Doubles
    variance: Doubles
    alike: float = 0.0

    @classmethod
    def of_channels(cls, count: int, mean: float, variance: float, alike: float = 0.0) -> Moments:
        return cls(np.full(count, mean), np.full(count, variance), alike)

    @classmethod
    def of_pictures(cls) -> Moments:
        """Photographs from 0 to 1: mostly grey, and brighter or darker."""
        return cls.of_channels(3, 0.45, 0.07, alike=0.9)


class MomentLayers:
    """Implements ``Layers[Moments]``: notes the tensors of each layer, and how they are drawn.

    Answers of a layer with a normalisation or bias are drawn to have a mean and deviation that suit its
    activation, or those of ``Convolution.answers``.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}
        self._drawings: list[_Drawing] = []

    def convolution(self, maps: Moments, layer: Convolution) -> Moments:
        self._note(layer.name, layer.shape(len(maps.mean)), layer.normalisation, maps, _answers(layer))
        return _activated(layer)

    def dense(self, values: Moments, layer: Convolution) -> Moments:
        """As a convolution of one pixel, with a matrix for a kernel."""
        self._note(layer.name, (layer.outputs, len(values.mean)), None, values, _answers(layer))
        return _activated(layer)

    def add(self, one: Moments, other: Moments) -> Moments:
        return Moments(one.mean + other.mean, one.variance + other.variance)

    def relu(self, maps: Moments) -> Moments:
        """Sums of residual blocks are far enough up to stay as they are."""
        return maps

    def concatenate(self, maps: Sequence[Moments]) -> Moments:
        return Moments(
            np.concatenate([each.mean for each in maps]), np.concatenate([each.variance for each in maps])
        )

    def pool(self, maps: Moments, side: int, stride: int) -> Moments:
        del stride
        further = _MAXIMUM if side > 1 else 0.0
        return Moments(maps.mean + further * np.sqrt(maps.variance), maps.variance)

    def double(self, maps: Moments) -> Moments:
        return maps

    def average(self, maps: Moments) -> Moments:
        return Moments(maps.mean, _BROAD * maps.variance)

    def gate(self, maps: Moments, gates: Moments) -> Moments:
        """Gates are near their middle, where the sigmoid is a half and rises by a quarter."""
        spread = gates.variance / 16
        variance = 0.25 * maps.variance + spread * (np.square(maps.mean) + maps.variance)
        return Moments(maps.mean / 2, variance)

    def checkpoint(self, seed: int) -> dict[str, Tensor]:
        """Return the tensors that were noted, drawn when they are read."""
        tensors: dict[str, Tensor] = {}
        for drawing in self._drawings:
            tensors |= drawing.tensors(seed)
        return {name: tensors[name] for name in self.shapes}

    def _note(
        self, name: str, kernel: Shape, normalisation: str | None, inputs: Moments, answers: Answers
    ) -> None:
        self._drawings.append(_Drawing(name, kernel, normalisation, inputs, answers))
        self.shapes[f"{name}.weight"] = kernel
        if normalisation is None:
            self.shapes[f"{name}.bias"] = kernel[:1]
        else:
            for part in ("weight", "bias", "running_mean", "running_var"):
                self.shapes[f"{normalisation}.{part}"] = kernel[:1]


def _settled(
    kernel: Tensor, inputs: Moments, answers: Answers
) -> tuple[Callable[[], NDArray[np.float32]], Callable[[], NDArray[np.float32]]]:
    """Return what makes the weight and the bias with which a drawn kernel gives such answers."""
    means, deviations = np.array(answers.means), np.array(answers.deviations)

    @cache
    def statistics() -> tuple[Doubles, Doubles]:
        mean, variance = _statistics(kernel.numpy(), inputs)
        gain = deviations / np.sqrt(variance)
        return gain, means - gain * mean

    def weight() -> NDArray[np.float32]:
        numbers = kernel.numpy()
        gain = statistics()[0].astype(np.float32)
        return numbers * gain.reshape(-1, *(1 for _ in numbers.shape[1:]))

    return weight, lambda: statistics()[1].astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Drawing:
    """One layer: a kernel, and what makes its answers as they are wanted."""

    name: str
    kernel: Shape
    normalisation: str | None
    inputs: Moments
    answers: Answers

    def tensors(self, seed: int) -> dict[str, Tensor]:
        key, count = f"{self.name}.weight", self.kernel[0]
        raw = drawn({key: self.kernel}, seed, lambda _, shape: (0.0, fan_in_std(shape)))[key]
        if self.normalisation is None:
            weight, bias = _settled(raw, self.inputs, self.answers)
            return {
                key: Tensor("F32", self.kernel, weight),
                f"{self.name}.bias": Tensor("F32", (count,), bias),
            }

        @cache
        def statistics() -> tuple[Doubles, Doubles]:
            return _statistics(raw.numpy(), self.inputs)

        known = self.normalisation
        shapes = {f"{known}.weight": (count,), f"{known}.bias": (count,)}
        mean, deviation = self.answers.means[0], self.answers.deviations[0]
        spreads = {f"{known}.weight": (deviation, 0.1 * deviation), f"{known}.bias": (mean, 0.1)}
        return {
            key: raw,
            **drawn(shapes, seed, lambda name, _: spreads[name]),
            f"{known}.running_mean": Tensor("F32", (count,), lambda: statistics()[0].astype(np.float32)),
            f"{known}.running_var": Tensor("F32", (count,), lambda: statistics()[1].astype(np.float32)),
        }


def _answers(layer: Convolution) -> Answers:
    if layer.answers is not None:
        return layer.answers
    mean, deviation = _ANSWERS[layer.activation]
    return Answers((mean,) * layer.outputs, (deviation,) * layer.outputs)


def _activated(layer: Convolution) -> Moments:
    if layer.activation:
        return Moments.of_channels(layer.outputs, *_ACTIVATED[layer.activation])
    answers = _answers(layer)
    return Moments(np.array(answers.means), np.square(answers.deviations))


def _statistics(kernel: NDArray[Any], inputs: Moments) -> tuple[Doubles, Doubles]:
    """Return mean and variance of a layer's answers before a bias. Sums are numpy's own, not a library's:
    equal numbers on every machine."""
    taps = kernel.astype(np.float64).reshape(*kernel.shape[:2], -1)
    sums, mean, variance = taps.sum(axis=2), inputs.mean, inputs.variance
    if kernel.shape[1] == 1 < len(mean):  # one channel each: a depthwise convolution
        mean, variance = mean[:, None], variance[:, None]
    smooth = _SMOOTH if taps.shape[2] > 1 else 1.0
    apart = variance * (smooth * sums**2 + (1 - smooth) * np.square(taps).sum(axis=2))
    found = apart.sum(axis=1)
    if inputs.alike:
        deviation = np.sqrt(variance)
        together = (taps * deviation[:, None]).sum(axis=1)
        common = smooth * together.sum(axis=1) ** 2 + (1 - smooth) * np.square(together).sum(axis=1)
        found = (1 - inputs.alike) * found + inputs.alike * common
    return (sums * mean).sum(axis=1), found
