"""CLIP's two towers, written for inference: the same numbers as the originals in fewer, larger steps.

Against the plain modules: query, key and value are one product, the attention scale lies in its weights,
normalisation of pixels lies in the patch weights, and the last block is computed only for the one token that
is read. Attention stays matmul, softmax, matmul: the form that graph compilers recognise and fuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sightline.models.clip import CONTEXT_TOKENS, MEAN, STD

# Added to a score that must not count. Its exp() is 0 in every float type, and float16 can hold it.
_HIDDEN = -1e4

# [N, L, width] → the tokens that are wanted of it, [N, M, width].
Pick = Callable[[Tensor], Tensor]


def _all(tokens: Tensor) -> Tensor:
    return tokens


def _first(tokens: Tensor) -> Tensor:
    return tokens[:, :1]


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention of the picked tokens over all tokens."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.heads: int = original.num_heads
        self.width: int = original.embed_dim
        parts = (original.q_proj, original.k_proj, original.v_proj)
        self.query_key_value = nn.Linear(self.width, 3 * self.width)
        self.query_key_value.weight.data = torch.cat([part.weight.data for part in parts])
        self.query_key_value.bias.data = torch.cat([part.bias.data for part in parts])
        scale = (self.width // self.heads) ** -0.5
        self.query_key_value.weight.data[: self.width] *= scale
        self.query_key_value.bias.data[: self.width] *= scale
        self.out = original.out_proj

    def forward(self, tokens: Tensor, pick: Pick, mask: Tensor | None) -> Tensor:
        query, key, value = self.query_key_value(tokens).split(self.width, -1)
        scores = self._heads(pick(query)) @ self._heads(key).transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        mixed = torch.softmax(scores, -1) @ self._heads(value)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result

    def _heads(self, tokens: Tensor) -> Tensor:
        """[N, L, width] → [N, heads, L, width / heads]"""
        return tokens.unflatten(-1, (self.heads, self.width // self.heads)).transpose(1, 2)


class Block(nn.Module):  # type: ignore[misc]
    """One transformer block; only the picked tokens come out."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.attention = Attention(original.self_attn)
        self.before_attention = original.layer_norm1
        self.before_mlp = original.layer_norm2
        self.up = original.mlp.fc1
        self.down = original.mlp.fc2

    def forward(self, tokens: Tensor, pick: Pick = _all, mask: Tensor | None = None) -> Tensor:
        tokens = pick(tokens) + self.attention(self.before_attention(tokens), pick, mask)
        inner: Tensor = self.up(self.before_mlp(tokens))
        inner = inner * torch.sigmoid(1.702 * inner)  # QuickGELU
        result: Tensor = tokens + self.down(inner)
        return result


class ImageTower(nn.Module):  # type: ignore[misc]
    """uint8 [N, 224, 224, 3] → ``image_embeds`` [N, dimensions]."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        vision = original.vision_model
        kernel = vision.embeddings.patch_embedding.weight.data.double()  # [width, 3, patch, patch]
        mean, std = (torch.tensor(values, dtype=torch.double)[:, None, None] for values in (MEAN, STD))
        positions = vision.embeddings.position_embedding.weight.data
        self.patch: int = vision.embeddings.patch_size
        self.grid: int = vision.embeddings.image_size // self.patch
        # kernel · (x / 255 - mean) / std = (kernel / (255 std)) · x - kernel · (mean / std)
        self.weight = nn.Parameter((kernel / (255 * std)).permute(2, 3, 1, 0).flatten(0, 2).float())
        constant = -(kernel * (mean / std)).sum((1, 2, 3)).float()
        self.places = nn.Parameter(positions[None, 1:] + constant)
        self.class_token = nn.Parameter((vision.embeddings.class_embedding.data + positions[0])[None, None])
        self.before = vision.pre_layrnorm
        self.blocks = nn.ModuleList(Block(layer) for layer in vision.encoder.layers)
        self.after = vision.post_layernorm
        self.projection = original.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        # A convolution whose stride is its kernel is a product over patches cut out beforehand.
        patches = pixels.reshape(-1, self.grid, self.patch, self.grid, self.patch, 3)
        patches = patches.transpose(2, 3).reshape(-1, self.grid**2, self.patch**2 * 3).float()
        class_token = self.class_token.expand(pixels.shape[0], -1, -1)
        tokens = self.before(torch.cat((class_token, patches @ self.weight + self.places), 1))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        result: Tensor = self.projection(self.after(self.blocks[-1](tokens, _first).flatten(1)))
        return result


class TextTower(nn.Module):  # type: ignore[misc]
    """int64 ids [N, L ≤ 77] → ``text_embeds`` [N, dimensions], read at the largest id: the end token."""

    causal: Tensor

    def __init__(self, original: Any) -> None:
        super().__init__()
        text = original.text_model
        self.vocabulary = text.embeddings.token_embedding
        self.positions = nn.Parameter(text.embeddings.position_embedding.weight.data)
        hidden = torch.full((CONTEXT_TOKENS, CONTEXT_TOKENS), _HIDDEN).triu(1)
        self.register_buffer("causal", hidden)
        self.blocks = nn.ModuleList(Block(layer) for layer in text.encoder.layers)
        self.after = text.final_layer_norm
        self.projection = original.text_projection

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        tokens = self.vocabulary(ids) + self.positions[:length]
        mask = self.causal[:length, :length]
        for block in self.blocks[:-1]:
            tokens = block(tokens, mask=mask)
        end = ids.argmax(-1)

        def at_end(tokens: Tensor) -> Tensor:
            return tokens.gather(1, end[:, None, None].expand(-1, 1, tokens.shape[2]))

        last = self.blocks[-1](tokens, at_end, mask[end][:, None, None])
        result: Tensor = self.projection(self.after(last.flatten(1)))
        return result
