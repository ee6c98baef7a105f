"""DINOv2 ViT-B/14 (Oquab et al. 2023) at one size of input.

Names are those of the published file, and the computation is that of ``modeling_dinov2.py`` of the
transformers library. Layer scales are part of the weights before them. The last block computes only the class
token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sightline.networks.builder import GraphBuilder
from sightline.networks.drawing import Spread, drawn
from sightline.networks.network import Network
from sightline.networks.transformer import (
    Attention,
    Layers,
    Pixels,
    block_shapes,
    every,
    linear_shapes,
    norm_shapes,
    usual_spread,
)
from sightline.weights.tensors import Checkpoint, Shape

# config.json of facebook/dinov2-base: layer_norm_eps, num_attention_heads, image_size / patch_size.
_EPSILON = 1e-6
_HEADS = 12
_TABLE_GRID = 37
# Both sizes are multiples of it.
_TINY_GRID = 14
# Of the cubic kernel that torch interpolates with.
_A = -0.75


@dataclass(frozen=True, kw_only=True)
class Dinov2(Network):
    """``image.onnx``: uint8 ``pixels`` [N, size, size, 3] to ``image_embeds`` [N, width].

    The vector is the class token after the last normalisation. Where the size is not the one of training, the
    table of positions is interpolated when the graph is made.
    """

    ignored = ("embeddings.mask_token",)

    pixels: Pixels
    width: int = 768
    layers: int = 12
    mlp_ratio: int = 4

    @property
    def tensors(self) -> Mapping[str, Shape]:
        width, patch = self.width, self.pixels.patch
        block = {
            **norm_shapes("norm1", width),
            **norm_shapes("norm2", width),
            "layer_scale1.lambda1": (width,),
            "layer_scale2.lambda1": (width,),
            **linear_shapes("attention.output.dense", width, width),
            **linear_shapes("mlp.fc1", width, self.mlp_ratio * width),
            **linear_shapes("mlp.fc2", self.mlp_ratio * width, width),
        }
        for part in ("query", "key", "value"):
            block |= linear_shapes(f"attention.attention.{part}", width, width)
        return {
            "embeddings.cls_token": (1, 1, width),
            "embeddings.position_embeddings": (1, 1 + _TABLE_GRID**2, width),
            "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
            "embeddings.patch_embeddings.projection.bias": (width,),
            **block_shapes("encoder.layer", self.layers, block),
            **norm_shapes("layernorm", width),
        }

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {"image.onnx": self._image}

    def draw(self, seed: int) -> Checkpoint:
        return drawn(self.tensors, seed, self._spread)

    def tiny(self) -> Self:
        """As wide as the full one, whose width is the length of the vector, and with larger patches."""
        pixels = replace(self.pixels, patch=self.pixels.size // _TINY_GRID)
        return replace(self, pixels=pixels, layers=2, mlp_ratio=1)

    def _spread(self, name: str, shape: Shape) -> Spread:
        if name in ("embeddings.cls_token", "embeddings.position_embeddings"):
            return 0.0, 0.1
        mean, std = usual_spread(name, shape)
        # Queries and keys: attention that prefers some patches tells pictures apart.
        return mean, std * (2 if name.endswith(("query.weight", "key.weight")) else 1)

    def _image(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("dinov2")
        layers = Layers(graph, tensors)
        tokens = layers.patches(
            self.pixels,
            "embeddings.patch_embeddings.projection",
            tensors["embeddings.cls_token"].numpy()[0, 0],
            _positions(tensors["embeddings.position_embeddings"].numpy()[0], self.pixels.grid),
        )
        for number in range(self.layers):
            name, pick = f"encoder.layer.{number}", layers.first if number == self.layers - 1 else every
            query, key, value = (f"{name}.attention.attention.{part}" for part in ("query", "key", "value"))
            scale1, scale2 = (tensors[f"{name}.layer_scale{which}.lambda1"].numpy() for which in (1, 2))
            attention = Attention((query, key, value), f"{name}.attention.output.dense", _HEADS, scale1)
            seen = layers.attention(layers.norm(tokens, f"{name}.norm1", _EPSILON), attention, pick)
            tokens = graph.add("Add", pick(tokens), seen)
            inner = layers.linear(layers.norm(tokens, f"{name}.norm2", _EPSILON), f"{name}.mlp.fc1")
            inner = layers.linear(layers.gelu(inner), f"{name}.mlp.fc2", scale=scale2)
            tokens = graph.add("Add", tokens, inner)
        layers.norm(graph.add("Flatten", tokens), "layernorm", _EPSILON, output="image_embeds")
        graph.output("image_embeds", ["batch", self.width])
        return graph


def _positions(table: NDArray[np.float32], grid: int) -> NDArray[np.float32]:
    """Interpolate the table [1 + 37², width] to [1 + grid², width]; the class token keeps its own.

    As ``interpolate_pos_encoding`` of transformers does: bicubic, without antialiasing.
    """
    if grid == _TABLE_GRID:
        return table
    places = table[1:].reshape(_TABLE_GRID, _TABLE_GRID, -1).astype(np.float64)
    places = _resampled(_resampled(places, grid).swapaxes(0, 1), grid).swapaxes(0, 1)
    return np.concatenate([table[:1], places.reshape(grid**2, -1).astype(np.float32)])


def _resampled(values: NDArray[np.float64], wanted: int) -> NDArray[np.float64]:
    """Resample the first axis with four taps, pixels counted from their centres, edges repeated."""
    size = len(values)
    centres = (np.arange(wanted) + 0.5) * (size / wanted) - 0.5
    below = np.floor(centres)
    result = np.zeros((wanted, *values.shape[1:]))
    for shift in (-1, 0, 1, 2):
        taps = np.array([_cubic(abs(distance)) for distance in centres - below - shift])
        rows = np.clip(below + shift, 0, size - 1).astype(np.int64)
        result += taps[:, None, None] * values[rows]
    return result


def _cubic(distance: float) -> float:
    """Keys' kernel at a distance of at most two pixels."""
    if distance <= 1:
        return ((_A + 2) * distance - (_A + 3)) * distance * distance + 1
    return ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
