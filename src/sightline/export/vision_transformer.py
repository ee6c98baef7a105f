"""Parts of vision transformers, written for inference: the same numbers in fewer, larger steps.

Against the plain modules: query, key and value are one product, the attention scale lies in its weights, and
normalisation of pixels lies in the patch weights. Attention stays matmul, softmax, matmul: the form that
graph compilers recognise and fuse.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sightline.models.embedders import Square

# [N, L, width] → the tokens that are wanted of it, [N, M, width].
Pick = Callable[[Tensor], Tensor]


def every(tokens: Tensor) -> Tensor:
    return tokens


def first(tokens: Tensor) -> Tensor:
    return tokens[:, :1]


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention of the picked tokens over all tokens."""

    def __init__(
        self, query: nn.Linear, key: nn.Linear, value: nn.Linear, out: nn.Linear, heads: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.width: int = query.in_features
        parts = (query, key, value)
        self.query_key_value = nn.Linear(self.width, 3 * self.width)
        self.query_key_value.weight.data = torch.cat([part.weight.data for part in parts])
        self.query_key_value.bias.data = torch.cat([part.bias.data for part in parts])
        scale = (self.width // self.heads) ** -0.5
        self.query_key_value.weight.data[: self.width] *= scale
        self.query_key_value.bias.data[: self.width] *= scale
        self.out = out

    def forward(self, tokens: Tensor, pick: Pick, mask: Tensor | None = None) -> Tensor:
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


class Patches(nn.Module):  # type: ignore[misc]
    """uint8 [N, size, size, 3] → the first tokens [N, 1 + (size / patch)², width].

    Args:
        kernel: of the patch convolution, [width, 3, patch, patch]; its stride is its size.
        bias: of the convolution, [width], if it has one.
        class_token: [width].
        positions: what is added to the class token and to each patch, [1 + (size / patch)², width].
    """

    def __init__(
        self, square: Square, kernel: Tensor, bias: Tensor | None, class_token: Tensor, positions: Tensor
    ) -> None:
        super().__init__()
        kernel = kernel.double()
        mean, std = (
            torch.tensor(values, dtype=torch.double)[:, None, None] for values in (square.mean, square.std)
        )
        self.patch = kernel.shape[-1]
        self.grid = square.size // self.patch
        # kernel · (x / 255 - mean) / std = (kernel / (255 std)) · x - kernel · (mean / std)
        self.weight = nn.Parameter((kernel / (255 * std)).permute(2, 3, 1, 0).flatten(0, 2).float())
        constant = -(kernel * (mean / std)).sum((1, 2, 3)).float()
        if bias is not None:
            constant = constant + bias
        self.places = nn.Parameter(positions[None, 1:] + constant)
        self.class_token = nn.Parameter((class_token + positions[0])[None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        # A convolution whose stride is its kernel is a product over patches cut out beforehand.
        patches = pixels.reshape(-1, self.grid, self.patch, self.grid, self.patch, 3)
        patches = patches.transpose(2, 3).reshape(-1, self.grid**2, self.patch**2 * 3).float()
        class_token = self.class_token.expand(pixels.shape[0], -1, -1)
        return torch.cat((class_token, patches @ self.weight + self.places), 1)
