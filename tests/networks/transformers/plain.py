"""Transformers by the book, in float64: one layer after the other, nothing folded and nothing left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from sightline.networks import GraphBuilder
from sightline.weights.tensors import Checkpoint

Tensors = Mapping[str, np.ndarray]


def read(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in checkpoint.items()}


def norm(x: np.ndarray, tensors: Tensors, name: str, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def linear(x: np.ndarray, tensors: Tensors, name: str) -> np.ndarray:
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def quick_gelu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-1.702 * x))


def softmax(x: np.ndarray) -> np.ndarray:
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def attention(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int, mask: np.ndarray | float = 0.0
) -> np.ndarray:
    """[N, L, width], [N, M, width] twice → [N, L, width]"""
    width = query.shape[-1] // heads
    parts = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = query[..., own] @ key[..., own].swapaxes(-1, -2) / math.sqrt(width)
        parts.append(softmax(scores + mask) @ value[..., own])
    return np.concatenate(parts, -1)


def causal(length: int) -> np.ndarray:
    return np.triu(np.full((length, length), -np.inf), 1)


def patch_convolution(
    pixels: np.ndarray, tensors: Tensors, name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> np.ndarray:
    """uint8 [N, H, W, 3] → [N, patches, width], row by row."""
    kernel = tensors[f"{name}.weight"]
    side = kernel.shape[-1]
    planes = (pixels / 255 - np.array(mean)) / np.array(std)
    count, grid = len(pixels), pixels.shape[1] // side
    cut = planes.reshape(count, grid, side, grid, side, 3).transpose(0, 1, 3, 5, 2, 4)
    flat = cut.reshape(count, grid**2, -1) @ kernel.reshape(len(kernel), -1).T
    return flat + tensors.get(f"{name}.bias", 0.0)


def run(
    build: Callable[[Checkpoint], GraphBuilder],
    checkpoint: Checkpoint,
    path: Path,
    inputs: Mapping[str, np.ndarray],
) -> list[np.ndarray]:
    """What the graph answers, computed by ONNX Runtime."""
    build(checkpoint).save(path, {})
    return session(path).run(None, dict(inputs))


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def require_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def pictures(count: int, size: int) -> np.ndarray:
    """Coarse noise and fine noise, uint8 [count, size, size, 3]."""
    generator = np.random.default_rng(9)
    coarse = generator.integers(0, 192, (count, 7, 7, 3))
    each = -(-size // 7)
    large = coarse.repeat(each, 1).repeat(each, 2)[:, :size, :size]
    return (large + generator.integers(0, 64, (count, size, size, 3))).astype(np.uint8)
