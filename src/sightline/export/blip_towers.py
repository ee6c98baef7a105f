"""BLIP's two halves, written for inference: the same numbers as the originals in fewer, larger steps.

The vision half ends in what the decoder wants of it: keys and values of every decoder layer's attention to
the picture, computed once per picture. The decoder half is one step for all beams of several pictures. Beams
stand where an attention has its queries, so that those of one picture share its keys and values uncopied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sightline.export.vision_transformer import Attention, Patches, every
from sightline.models.blip import SQUARE


class VisionBlock(nn.Module):  # type: ignore[misc]
    """One block of the picture transformer, [N, L, width] → the same."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        attention = original.self_attn
        query, key, value = _thirds(attention.qkv)
        self.attention = Attention(query, key, value, attention.projection, attention.num_heads)
        self.before_attention = original.layer_norm1
        self.before_mlp = original.layer_norm2
        self.up = original.mlp.fc1
        self.down = original.mlp.fc2

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens), every)
        result: Tensor = tokens + self.down(nn.functional.gelu(self.up(self.before_mlp(tokens))))
        return result


class VisionTower(nn.Module):  # type: ignore[misc]
    """uint8 [N, 384, 384, 3] → ``picture`` [2 · layers, N, heads, L, head width].

    Keys of all decoder layers first, then values of all of them. That dimension is the outermost so that each
    layer reads its own without a copy.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        vision = original.vision_model
        convolution = vision.embeddings.patch_embedding
        self.patches = Patches(
            SQUARE,
            convolution.weight.data,
            convolution.bias.data,
            vision.embeddings.class_embedding.data.flatten(),
            vision.embeddings.position_embedding.data[0],
        )
        self.blocks = nn.ModuleList(VisionBlock(layer) for layer in vision.encoder.layers)
        self.after = vision.post_layernorm
        cross = [layer.crossattention.self for layer in original.text_decoder.bert.encoder.layer]
        self.heads: int = cross[0].num_attention_heads
        self.parts = 2 * len(cross)
        self.keys_values = _joined([each.key for each in cross] + [each.value for each in cross])

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels)
        for block in self.blocks:
            tokens = block(tokens)
        parts = self.keys_values(self.after(tokens)).unflatten(-1, (self.parts, self.heads, -1))
        result: Tensor = parts.permute(2, 0, 3, 1, 4)
        return result


class DecoderLayer(nn.Module):  # type: ignore[misc]
    """One layer for the newest token of each beam, [N, beams, width] → the same, and its key and value."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        own, cross = original.attention, original.crossattention
        self.heads: int = own.self.num_attention_heads
        scale = own.self.attention_head_size**-0.5
        self.query_key_value = _joined([_scaled(own.self.query, scale), own.self.key, own.self.value])
        self.own_out, self.after_own = own.output.dense, own.output.LayerNorm
        self.picture_query = _scaled(cross.self.query, scale)
        self.picture_out, self.after_picture = cross.output.dense, cross.output.LayerNorm
        self.up, self.down = original.intermediate.dense, original.output.dense
        self.after_mlp = original.output.LayerNorm

    def forward(
        self, tokens: Tensor, hidden: Tensor, past: tuple[Tensor, Tensor], picture: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (self._heads(part) for part in self.query_key_value(tokens).chunk(3, -1))
        # The newest token is not among the past ones: its score is the query's product with its own key.
        scores = torch.cat((query @ past[0].transpose(-1, -2) + hidden, (query * key).sum(-1, True)), -1)
        shares = torch.softmax(scores, -1)
        mixed = shares[..., :-1] @ past[1] + shares[..., -1:] * value
        tokens = self.after_own(tokens + self.own_out(_rows(mixed)))
        query = self._heads(self.picture_query(tokens))
        mixed = torch.softmax(query @ picture[0].transpose(-1, -2), -1) @ picture[1]
        tokens = self.after_picture(tokens + self.picture_out(_rows(mixed)))
        tokens = self.after_mlp(tokens + self.down(nn.functional.gelu(self.up(tokens))))
        return tokens, key, value

    def _heads(self, tokens: Tensor) -> Tensor:
        """[N, beams, width] → [N, heads, beams, head width]"""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class DecoderStep(nn.Module):  # type: ignore[misc]
    """What comes after the newest token of each beam, and what later steps must know of that token."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        text, head = original.text_decoder.bert, original.text_decoder.cls.predictions
        self.words = text.embeddings.word_embeddings
        self.positions = nn.Parameter(text.embeddings.position_embeddings.weight.data)
        self.after_embedding = text.embeddings.LayerNorm
        self.blocks = nn.ModuleList(DecoderLayer(layer) for layer in text.encoder.layer)
        self.transform, self.after_transform = head.transform.dense, head.transform.LayerNorm
        self.out = head.decoder

    def forward(
        self, ids: Tensor, position: Tensor, hidden: Tensor, past: Tensor, picture: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The contract of ``decoder.onnx``.

        Args:
            ids: int64 [N, beams], the newest token of each beam.
            position: int64 [1], how many tokens came before it.
            hidden: [N, beams, slots], 0 for slots that are part of the beam's own line, a large negative
                number for all others.
            past: what earlier steps gave, [2 · layers, N, heads, slots, head width], in any order of slots.
            picture: what the vision half gave, [2 · layers, N, heads, L, head width].

        Returns:
            logits [N, beams, vocabulary], and the tokens' keys and values, keys of all layers first,
            [2 · layers, N, heads, beams, head width].
        """
        tokens = self.after_embedding(self.words(ids) + self.positions[position])
        past_keys, past_values = past.chunk(2)
        picture_keys, picture_values = picture.chunk(2)
        hidden = hidden[:, None]
        keys, values = [], []
        for number, block in enumerate(self.blocks):
            tokens, key, value = block(
                tokens,
                hidden,
                (past_keys[number], past_values[number]),
                (picture_keys[number], picture_values[number]),
            )
            keys.append(key)
            values.append(value)
        tokens = self.after_transform(nn.functional.gelu(self.transform(tokens)))
        return self.out(tokens), torch.stack(keys + values)


def _rows(mixed: Tensor) -> Tensor:
    """[N, heads, beams, head width] → [N, beams, width]"""
    return mixed.transpose(1, 2).flatten(2)


def _thirds(joint: Any) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """Query, key and value of a layer that computes them as one."""
    query, key, value = (
        _linear(weight, bias)
        for weight, bias in zip(joint.weight.data.chunk(3), joint.bias.data.chunk(3), strict=True)
    )
    return query, key, value


def _joined(parts: list[Any]) -> nn.Linear:
    """One product in place of several of the same tokens."""
    weight, bias = (torch.cat([getattr(part, name).data for part in parts]) for name in ("weight", "bias"))
    return _linear(weight, bias)


def _scaled(original: Any, factor: float) -> nn.Linear:
    return _linear(original.weight.data * factor, original.bias.data * factor)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer
