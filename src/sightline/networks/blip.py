"""BLIP's captioner (Li et al. 2022): a picture transformer and a text decoder that attends to it.

Names and computation are those of ``modeling_blip.py`` and ``modeling_blip_text.py`` of the transformers
library. ``vision.onnx`` ends in what the decoder needs of a picture: keys and values of every layer's
attention to it, computed once per picture. ``decoder.onnx`` is one step for all beams of several pictures.
Beams are in the place of an attention's queries, so that those of one picture share its keys and values
uncopied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sightline.networks.builder import GraphBuilder, Weight, int64
from sightline.networks.drawing import Spread, drawn
from sightline.networks.network import Network
from sightline.networks.transformer import (
    Attention,
    Layers,
    Pixels,
    attention_scale,
    block_shapes,
    every,
    linear_shapes,
    norm_shapes,
    usual_spread,
)
from sightline.weights.tensors import Checkpoint, Shape, Tensor

# BERT's words, [DEC] and [ENC]; the end of a caption is BERT's [SEP].
VOCABULARY_SIZE = 30524
_END_TOKEN = 102
_MOST_TOKENS = 512
_MLP = 4

# As transformers reads the published configurations: layer_norm_eps of BlipVisionConfig and BlipTextConfig.
_VISION_EPSILON = 1e-5
_TEXT_EPSILON = 1e-12

# Names in the file.
_VISION = "vision_model"
_WORDS = "text_decoder.bert.embeddings"
_LAYER = "text_decoder.bert.encoder.layer"
_HEAD = "text_decoder.cls.predictions"

# Made-up captioners: the deviation of words, as the library draws them; that of logits, at which the best
# word has a probability of about a third; and the logit of the end token, at which about half of the captions
# end within 30 tokens.
_WORD_STD = 0.02
_LOGIT_STD = 4.4
_END_LOGIT = 16.5
# Layers that change a token more than this let captions repeat one word.
_TEXT_GAIN = 0.6


@dataclass(frozen=True, kw_only=True)
class Blip(Network):
    """``vision.onnx`` and ``decoder.onnx``.

    ``picture``, ``past`` and ``states`` are [2 · text_layers, N, heads, tokens, head width], the keys of all
    layers before the values of all. That dimension is the outermost so that a layer reads its own uncopied.
    """

    ignored = ("*.position_ids",)

    pixels: Pixels
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int = 768
    text_layers: int = 12
    # The library's default of 8 fits no checkpoint (github.com/huggingface/transformers/issues/22625).
    text_heads: int = 12

    @property
    def copies(self) -> Mapping[str, str]:
        return {
            f"{_HEAD}.decoder.weight": f"{_WORDS}.word_embeddings.weight",
            f"{_HEAD}.decoder.bias": f"{_HEAD}.bias",
        }

    @property
    def tensors(self) -> Mapping[str, Shape]:
        return {**self._vision_tensors, **self._text_tensors}

    @property
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        return {"vision.onnx": self._vision, "decoder.onnx": self._decoder}

    def draw(self, seed: int) -> Checkpoint:
        """As drawn, all words would be about equally likely, and a caption would end once in 30,000 tokens.

        Larger logits make a few words likely, so that beams part and meet again. The end token's logit is the
        same after every word, so that no seed makes all captions end at once, or none.
        """
        tensors = drawn(self.tensors, seed, self._spread)
        bias = tensors[f"{_HEAD}.bias"].numpy()
        bias[_END_TOKEN] = _END_LOGIT
        # A logit is the product of a normalised vector and a word's.
        weight = tensors[f"{_HEAD}.transform.LayerNorm.weight"].numpy()
        weight *= np.float32(_LOGIT_STD / (_WORD_STD * self.text_width**0.5))
        words = tensors[f"{_WORDS}.word_embeddings.weight"]

        def without_end() -> NDArray[np.float32]:
            table = words.numpy()
            table[_END_TOKEN] = 0
            return table

        return {
            **tensors,
            f"{_HEAD}.bias": Tensor.of(bias),
            f"{_HEAD}.transform.LayerNorm.weight": Tensor.of(weight),
            f"{_WORDS}.word_embeddings.weight": replace(words, load=without_end),
        }

    def tiny(self) -> Self:
        """Pictures keep a width of their own where the full network has it."""
        own = self.vision_width != self.text_width
        return replace(
            self,
            vision_width=96 if own else 64,
            vision_layers=3,
            vision_heads=2,
            text_width=64,
            text_layers=3,
            text_heads=2,
        )

    @property
    def _vision_tensors(self) -> dict[str, Shape]:
        width, patch = self.vision_width, self.pixels.patch
        block = {
            **linear_shapes("self_attn.qkv", width, 3 * width),  # rows in this order
            **linear_shapes("self_attn.projection", width, width),
            **norm_shapes("layer_norm1", width),
            **norm_shapes("layer_norm2", width),
            **linear_shapes("mlp.fc1", width, _MLP * width),
            **linear_shapes("mlp.fc2", _MLP * width, width),
        }
        return {
            f"{_VISION}.embeddings.class_embedding": (1, 1, width),
            f"{_VISION}.embeddings.position_embedding": (1, self.pixels.tokens, width),
            f"{_VISION}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
            f"{_VISION}.embeddings.patch_embedding.bias": (width,),
            **block_shapes(f"{_VISION}.encoder.layers", self.vision_layers, block),
            **norm_shapes(f"{_VISION}.post_layernorm", width),
        }

    @property
    def _text_tensors(self) -> dict[str, Shape]:
        width = self.text_width
        block: dict[str, Shape] = {}
        for attention, seen in (("attention", width), ("crossattention", self.vision_width)):
            block |= linear_shapes(f"{attention}.self.query", width, width)
            block |= linear_shapes(f"{attention}.self.key", seen, width)
            block |= linear_shapes(f"{attention}.self.value", seen, width)
            block |= linear_shapes(f"{attention}.output.dense", width, width)
            block |= norm_shapes(f"{attention}.output.LayerNorm", width)
        block |= linear_shapes("intermediate.dense", width, _MLP * width)
        block |= linear_shapes("output.dense", _MLP * width, width)
        block |= norm_shapes("output.LayerNorm", width)
        return {
            f"{_WORDS}.word_embeddings.weight": (VOCABULARY_SIZE, width),
            f"{_WORDS}.position_embeddings.weight": (_MOST_TOKENS, width),
            **norm_shapes(f"{_WORDS}.LayerNorm", width),
            **block_shapes(_LAYER, self.text_layers, block),
            f"{_HEAD}.bias": (VOCABULARY_SIZE,),
            **linear_shapes(f"{_HEAD}.transform.dense", width, width),
            **norm_shapes(f"{_HEAD}.transform.LayerNorm", width),
        }

    def _spread(self, name: str, shape: Shape) -> Spread:
        if name.startswith(_WORDS):
            return (1.0 if name.endswith("LayerNorm.weight") else 0.0), _WORD_STD
        if len(shape) == 3:
            return 0.0, 0.1
        mean, std = usual_spread(name, shape)
        if len(shape) > 1 and name.startswith("text_decoder"):
            std *= _TEXT_GAIN
        # Queries and keys: attention that prefers some tokens tells pictures and lines apart.
        return mean, std * (2 if name.endswith(("qkv.weight", "query.weight", "key.weight")) else 1)

    def _vision(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("blip-vision")
        layers = Layers(graph, tensors)
        tokens = layers.patches(
            self.pixels,
            f"{_VISION}.embeddings.patch_embedding",
            tensors[f"{_VISION}.embeddings.class_embedding"].numpy()[0, 0],
            tensors[f"{_VISION}.embeddings.position_embedding"].numpy()[0],
            batch="pictures",
        )
        for number in range(self.vision_layers):
            name = f"{_VISION}.encoder.layers.{number}"
            attention = Attention(
                (f"{name}.self_attn.qkv",), f"{name}.self_attn.projection", self.vision_heads
            )
            seen = layers.attention(
                layers.norm(tokens, f"{name}.layer_norm1", _VISION_EPSILON), attention, every
            )
            tokens = graph.add("Add", tokens, seen)
            inner = layers.linear(
                layers.norm(tokens, f"{name}.layer_norm2", _VISION_EPSILON), f"{name}.mlp.fc1"
            )
            tokens = graph.add("Add", tokens, layers.linear(layers.gelu(inner), f"{name}.mlp.fc2"))
        tokens = layers.norm(tokens, f"{_VISION}.post_layernorm", _VISION_EPSILON)
        names = [
            f"{_LAYER}.{number}.crossattention.self.{part}"
            for part in ("key", "value")
            for number in range(self.text_layers)
        ]
        parts = graph.add(
            "Reshape", layers.linear(tokens, *names), int64(0, 0, 2 * self.text_layers, self.text_heads, -1)
        )
        graph.add("Transpose", parts, perm=[2, 0, 3, 1, 4], output="picture")
        graph.output("picture", self._states("pictures", self.pixels.tokens))
        return graph

    def _decoder(self, tensors: Checkpoint) -> GraphBuilder:
        graph = GraphBuilder("blip-decoder")
        _Decoder(self, graph, tensors).build()
        return graph

    def _states(self, pictures: str, tokens: int | str) -> list[int | str]:
        return [2 * self.text_layers, pictures, self.text_heads, tokens, self.text_width // self.text_heads]


class _Decoder:
    """``decoder.onnx`` under construction.

    Inputs: ``ids`` int64 [N, beams], the newest token of each beam; ``position`` int64 [1], the number of
    tokens before it; ``hidden`` [N, beams, slots], 0 for slots of the beam's own line and a large negative
    number for all others; ``past``, the states of earlier steps in any order of slots; ``picture``, the
    output of ``vision.onnx``.
    Outputs: ``logits`` [N, beams, vocabulary], and ``states`` of the newest tokens.
    """

    def __init__(self, network: Blip, graph: GraphBuilder, tensors: Checkpoint) -> None:
        self._network = network
        self._graph = graph
        self._tensors = tensors
        self._layers = Layers(graph, tensors)
        self._scale = np.full(
            network.text_width, attention_scale(network.text_width, network.text_heads), np.float32
        )

    def build(self) -> None:
        network, graph, layers = self._network, self._graph, self._layers
        ids = graph.input("ids", np.int64, ["pictures", "beams"])
        position = graph.input("position", np.int64, [1])
        hidden = graph.input("hidden", np.float32, ["pictures", "beams", "slots"])
        past = graph.input("past", np.float32, network._states("pictures", "slots"))
        picture = graph.input("picture", np.float32, network._states("pictures", network.pixels.tokens))
        words = graph.constant(Weight.of(self._tensors[f"{_WORDS}.word_embeddings.weight"]))
        places = Weight.of(self._tensors[f"{_WORDS}.position_embeddings.weight"])
        tokens = graph.add(
            "Add", graph.add("Gather", words, ids, axis=0), graph.add("Gather", places, position, axis=0)
        )
        tokens = layers.norm(tokens, f"{_WORDS}.LayerNorm", _TEXT_EPSILON)
        hidden = graph.add("Unsqueeze", hidden, int64(1))
        keys, values = [], []
        for number in range(network.text_layers):
            tokens, key, value = self._own(tokens, number, hidden, past)
            tokens = self._to_picture(tokens, number, picture)
            tokens = self._mlp(tokens, number)
            keys.append(graph.add("Unsqueeze", key, int64(0)))
            values.append(graph.add("Unsqueeze", value, int64(0)))
        tokens = layers.gelu(layers.linear(tokens, f"{_HEAD}.transform.dense"))
        tokens = layers.norm(tokens, f"{_HEAD}.transform.LayerNorm", _TEXT_EPSILON)
        # The output layer is the table of words, which the file need not hold twice.
        logits = graph.add("MatMul", tokens, graph.add("Transpose", words, perm=[1, 0]))
        graph.add("Add", logits, Weight.of(self._tensors[f"{_HEAD}.bias"]), output="logits")
        graph.add("Concat", *keys, *values, axis=0, output="states")
        graph.output("logits", ["pictures", "beams", VOCABULARY_SIZE])
        graph.output("states", network._states("pictures", "beams"))

    def _own(self, tokens: str, number: int, hidden: str, past: str) -> tuple[str, str, str]:
        """Attend to the earlier tokens of the line and to the newest; return its key and value too."""
        add, heads = self._graph.add, self._network.text_heads
        name = f"{_LAYER}.{number}.attention"
        joint = tuple(f"{name}.self.{part}" for part in ("query", "key", "value"))
        query, key, value = (
            self._layers.split_heads(part, heads)
            for part in self._layers.query_key_value(tokens, joint, heads)
        )
        past_key, past_value = self._key_value(past, number)
        # The newest token is not among the past ones: its score is the query's product with its own key.
        earlier = add("Add", add("MatMul", query, past_key), hidden)
        own = add("ReduceSum", add("Mul", query, key), int64(-1), keepdims=1)
        shares = add("Softmax", add("Concat", earlier, own, axis=-1), axis=-1)
        of_earlier = add("Slice", shares, int64(0), int64(-1), int64(3))
        of_own = add("Slice", shares, int64(-1), int64(np.iinfo(np.int64).max), int64(3))
        mixed = add("Add", add("MatMul", of_earlier, past_value), add("Mul", of_own, value))
        return self._after(tokens, mixed, name), key, value

    def _to_picture(self, tokens: str, number: int, picture: str) -> str:
        add, heads = self._graph.add, self._network.text_heads
        name = f"{_LAYER}.{number}.crossattention"
        asked = self._layers.linear(tokens, f"{name}.self.query", scale=self._scale)
        key, value = self._key_value(picture, number)
        scores = add("MatMul", self._layers.split_heads(asked, heads), key)
        return self._after(tokens, add("MatMul", add("Softmax", scores, axis=-1), value), name)

    def _mlp(self, tokens: str, number: int) -> str:
        name = f"{_LAYER}.{number}"
        inner = self._layers.gelu(self._layers.linear(tokens, f"{name}.intermediate.dense"))
        inner = self._layers.linear(inner, f"{name}.output.dense")
        summed = self._graph.add("Add", tokens, inner)
        return self._layers.norm(summed, f"{name}.output.LayerNorm", _TEXT_EPSILON)

    def _key_value(self, states: str, number: int) -> tuple[str, str]:
        """A layer's keys, turned for a product with queries, and its values."""
        add = self._graph.add
        key = add("Gather", states, np.int64(number), axis=0)
        value = add("Gather", states, np.int64(self._network.text_layers + number), axis=0)
        return add("Transpose", key, perm=[0, 1, 3, 2]), value

    def _after(self, tokens: str, mixed: str, name: str) -> str:
        answer = self._layers.linear(self._layers.join_heads(mixed), f"{name}.output.dense")
        summed = self._graph.add("Add", tokens, answer)
        return self._layers.norm(summed, f"{name}.output.LayerNorm", _TEXT_EPSILON)
