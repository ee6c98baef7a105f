"""CLIP's two towers, written for inference. The last block is computed only for the token that is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sightline.export.vision_transformer import Attention, Patches, Pick, every, first
from sightline.models.clip import CONTEXT_TOKENS, SQUARE

# Added to a score that must not count. Its exp() is 0 in every float type, and float16 can hold it.
_HIDDEN = -1e4


class Block(nn.Module):  # type: ignore[misc]
    """One transformer block; only the picked tokens come out."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        attention = original.self_attn
        self.attention = Attention(
            attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj, attention.num_heads
        )
        self.before_attention = original.layer_norm1
        self.before_mlp = original.layer_norm2
        self.up = original.mlp.fc1
        self.down = original.mlp.fc2

    def forward(self, tokens: Tensor, pick: Pick = every, mask: Tensor | None = None) -> Tensor:
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
        self.patches = Patches(
            SQUARE,
            kernel=vision.embeddings.patch_embedding.weight.data,
            bias=None,
            class_token=vision.embeddings.class_embedding.data,
            positions=vision.embeddings.position_embedding.weight.data,
        )
        self.before = vision.pre_layrnorm
        self.blocks = nn.ModuleList(Block(layer) for layer in vision.encoder.layers)
        self.after = vision.post_layernorm
        self.projection = original.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.before(self.patches(pixels))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        result: Tensor = self.projection(self.after(self.blocks[-1](tokens, first).flatten(1)))
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
