"""CLIP's two towers (Radford et al. 2021) from a checkpoint that holds both.

Names and order of computation are those of ``modeling_clip.py`` of the transformers library. The last block
computes only the token that is read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from sightline.networks.builder import GraphBuilder, Weight, int64
from sightline.networks.drawing import Spread, drawn
from sightline.networks.network import Network
from sightline.networks.transformer import (
    HIDDEN,
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

VOCABULARY_SIZE = 49408
CONTEXT_TOKENS = 77

# Of every published config.json: layer_norm_eps, and hidden_act "quick_gelu".
_EPSILON = 1e-5
# The width of an MLP in parts of the tokens'.
_MLP = 4


@dataclass(frozen=True, kw_only=True)
class _Tower(Network):
    """The common parts of both towers: equal blocks and a projection without a bias.

    Attributes:
        width: numbers of a token.
        dimensions: numbers of the vector.
    """

    width: int
    layers: int
    heads: int
    dimensions: int

    @property
    @abstractmethod
    def _prefix(self) -> str: ...

    def tiny(self) -> Self:
        return replace(self, width=64, layers=3, heads=2)

    def draw(self, seed: int) -> Checkpoint:
        return drawn(self.tensors, seed, self._spread)

    @property
    def _block_tensors(self) -> dict[str, Shape]:
        width = self.width
        block = {
            **norm_shapes("layer_norm1", width),
            **norm_shapes("layer_norm2", width),
            **linear_shapes("mlp.fc1", width, _MLP * width),
            **linear_shapes("mlp.fc2", _MLP * width, width),
        }
        for part in ("q", "k", "v", "out"):
            block |= linear_shapes(f"self_attn.{part}_proj", width, width)
        return block_shapes(f"{self._prefix}.encoder.layers", self.layers, block)

    def _spread(self, name: str, shape: Shape) -> Spread:
        if name.endswith(("embedding.weight", "class_embedding")) and len(shape) < 3:
            return 0.0, 0.1
        mean, std = usual_spread(name, shape)
        # Queries and keys: attention that prefers some tokens tells inputs apart.
        return mean, std * (2 if name.endswith(("q_proj.weight", "k_proj.weight")) else 1)

    def _block(
        self,
        graph: GraphBuilder,
        layers: Layers,
        tokens: str,
        number: int,
        pick: Callable[[str], str],
        mask: str | None,
    ) -> str:
        name = f"{self._prefix}.encoder.layers.{number}"
        query, key, value = (f"{name}.self_attn.{part}_proj" for part in "qkv")
        attention = Attention((query, key, value), f"{name}.self_attn.out_proj", self.heads)
        seen = layers.attention(layers.norm(tokens, f"{name}.layer_norm1", _EPSILON), attention, pick, mask)
        tokens = graph.add("Add", pick(tokens), seen)
        inner = layers.linear(layers.norm(tokens, f"{name}.layer_norm2", _EPSILON), f"{name}.mlp.fc1")
        return graph.add("Add", tokens, layers.linear(layers.quick_gelu(inner), f"{name}.mlp.fc2"))


@dataclass(frozen=True, kw_only=True)
class ClipImage(_Tower):
    """``image.onnx``: uint8 ``pixels`` [N, size, size, 3] to ``image_embeds`` [N, dimensions]."""

    ignored = ("text_model.*", "text_projection.weight", "logit_scale", "*.position_ids")

    pixels: Pixels

    @property
    def _prefix(self) -> str:
        return "vision_model"

    @property
    def tensors(self) -> Mapping[str, Shape]:
        width, patch = self.width, self.pixels.patch
        return {
            "vision_model.embeddings.class_embedding": (width,),
            "vision_model.embeddings.patch_embedding.weight": (width, 3, patch, patch),
            "vision_model.embeddings.position_embedding.weight": (self.pixels.tokens, width),
            **norm_shapes("vision_model.pre_layrnorm", width),  # spelt so
            **self._block_tensors,
            **norm_shapes("vision_model.post_layernorm", width),
            "visual_projection.weight": (self.dimensions, width),
        }

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {"image.onnx": self._image}

    def _image(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("clip-image")
        layers = Layers(graph, tensors)
        embeddings = "vision_model.embeddings"
        tokens = layers.patches(
            self.pixels,
            f"{embeddings}.patch_embedding",
            tensors[f"{embeddings}.class_embedding"].numpy(),
            tensors[f"{embeddings}.position_embedding.weight"].numpy(),
        )
        tokens = layers.norm(tokens, "vision_model.pre_layrnorm", _EPSILON)
        for number in range(self.layers):
            pick = layers.first if number == self.layers - 1 else every
            tokens = self._block(graph, layers, tokens, number, pick, None)
        vector = layers.norm(graph.add("Flatten", tokens), "vision_model.post_layernorm", _EPSILON)
        layers.product(vector, "visual_projection", output="image_embeds")
        graph.output("image_embeds", ["batch", self.dimensions])
        return graph


@dataclass(frozen=True, kw_only=True)
class ClipText(_Tower):
    """``text.onnx``: int64 ``input_ids`` [N, L ≤ 77] to ``text_embeds`` [N, dimensions].

    The vector is read at the largest id, which is the end token.
    """

    ignored = ("vision_model.*", "visual_projection.weight", "logit_scale", "*.position_ids")

    @property
    def _prefix(self) -> str:
        return "text_model"

    @property
    def tensors(self) -> Mapping[str, Shape]:
        width = self.width
        return {
            "text_model.embeddings.token_embedding.weight": (VOCABULARY_SIZE, width),
            "text_model.embeddings.position_embedding.weight": (CONTEXT_TOKENS, width),
            **self._block_tensors,
            **norm_shapes("text_model.final_layer_norm", width),
            "text_projection.weight": (self.dimensions, width),
        }

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {"text.onnx": self._text}

    def _text(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("clip-text")
        add, layers = graph.add, Layers(graph, tensors)
        ids = graph.input("input_ids", np.int64, ["batch", "length"])
        length = add("Shape", ids, start=1, end=2)
        words = Weight.of(tensors["text_model.embeddings.token_embedding.weight"])
        positions = Weight.of(tensors["text_model.embeddings.position_embedding.weight"])
        tokens = add(
            "Add", add("Gather", words, ids, axis=0), add("Slice", positions, int64(0), length, int64(0))
        )
        # Attention is causal: a token does not see what comes after it.
        hidden = np.triu(np.full((CONTEXT_TOKENS, CONTEXT_TOKENS), HIDDEN), 1)
        mask = add("Slice", hidden, int64(0, 0), add("Concat", length, length, axis=0), int64(0, 1))
        end = add("ArgMax", ids, axis=1, keepdims=1)
        spread_end = add("Expand", add("Unsqueeze", end, int64(2)), int64(1, 1, self.width))

        def at_end(value: str) -> str:
            return add("GatherElements", value, spread_end, axis=1)

        for number in range(self.layers - 1):
            tokens = self._block(graph, layers, tokens, number, every, mask)
        end_mask = add("Unsqueeze", add("Gather", mask, end, axis=0), int64(1))
        tokens = self._block(graph, layers, tokens, self.layers - 1, at_end, end_mask)
        vector = layers.norm(add("Flatten", tokens), "text_model.final_layer_norm", _EPSILON)
        layers.product(vector, "text_projection", output="text_embeds")
        graph.output("text_embeds", ["batch", self.dimensions])
        return graph
