"""Shared parts of models that return one vector: square pixels, graph signatures, rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.embedding import Embedding
from sightline.errors import ModelBroken
from sightline.imaging import View, middle_square, resize
from sightline.models import Graph, TensorSpec

Pixels = NDArray[np.uint8]
Channels = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Square:
    """The input of a network: bicubic to ``short_side``, the middle square, normalised.

    ``mean`` and ``std`` are of red, green and blue between 0 and 1. ``halves`` says where the crop goes when
    a margin is odd: to the even number as in torchvision, or down as in transformers. ``squeezed``: all of
    the picture instead of its middle, its proportions lost.
    """

    short_side: int
    size: int
    mean: Channels
    std: Channels
    halves: Literal["even", "down"] = "even"
    squeezed: bool = False

    def cut(self, view: View) -> Pixels:
        """uint8 [size, size, 3]. Its own memory: a queued item must not hold the picture it was cut from."""
        raster = view.raster(self.short_side)
        if self.squeezed:
            return resize(raster, self.size, self.size, "bicubic").copy()
        return middle_square(raster, self.short_side, self.size, "bicubic", self.halves)

    def normalise(self, pixels: Pixels) -> NDArray[np.float32]:
        """uint8 [N, H, W, 3] to float32 [N, 3, H, W]: ``(pixels / 255 - mean) / std``."""
        scale = 1.0 / (255.0 * np.array(self.std))
        offset = -np.array(self.mean) / np.array(self.std)
        scaled = pixels * scale.astype(np.float32) + offset.astype(np.float32)
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


class ImageTower:
    """Pictures to float32 ``[dimensions]``.

    Two signatures of graph are accepted: ours, uint8 ``[N, size, size, 3]`` that normalises inside, and the
    usual one, normalised float32 ``[N, 3, size, size]``.
    """

    def __init__(self, graph: Graph, square: Square) -> None:
        self._graph = graph
        self._square = square
        self._input = only_input(graph, "pixels")
        self._output = output_index(graph, "image_embeds")
        if not _reads_squares(self._input, square.size):
            side = square.size
            raise ModelBroken(
                f"This image graph must read uint8 [N, {side}, {side}, 3] or float32 [N, 3, {side}, {side}]"
            )

    def prepare(self, subject: View) -> Pixels:
        """uint8 [size, size, 3]"""
        return self._square.cut(subject)

    def infer(self, items: Sequence[Pixels]) -> list[Embedding]:
        batch: NDArray[Any] = np.stack(items)
        if self._input.dtype == "float32":
            batch = self._square.normalise(batch)
        return rows(self._graph.run({self._input.name: batch})[self._output])


def _reads_squares(spec: TensorSpec, side: int) -> bool:
    wanted = {"uint8": (side, side, 3), "float32": (3, side, side)}.get(spec.dtype)
    shape = spec.shape[1:]
    if wanted is None or len(shape) != len(wanted):
        return False
    return all(size in (None, want) for size, want in zip(shape, wanted, strict=True))


def only_input(graph: Graph, usual_name: str, *optional: str) -> TensorSpec:
    """The graph's one input, whatever its name, besides the ``optional`` ones.

    Raises:
        ModelBroken: there are none, or several.
    """
    specs = [spec for spec in graph.inputs if spec.name not in optional]
    if len(specs) != 1:
        raise ModelBroken(f"This graph must have one input, {usual_name}; it has {len(specs)}")
    return specs[0]


def output_index(graph: Graph, name: str) -> int:
    """Where the output ``name`` is, or the only output, whatever its name.

    Raises:
        ModelBroken: several outputs and none of that name.
    """
    names = [spec.name for spec in graph.outputs]
    if name in names:
        return names.index(name)
    if len(names) != 1:
        raise ModelBroken(f"This graph must have an output {name}; it has {', '.join(names)}")
    return 0


def rows(output: NDArray[Any]) -> list[Embedding]:
    """Each vector in memory of its own: one that is kept must not keep the batch."""
    return [np.array(row, np.float32) for row in output]
