"""Layers of transformers for inference: the same numbers as the original modules in fewer, larger steps.

Query, key and value are one product whose weights include the attention scale. The normalisation of pixels
is part of the patch weights. Attention is MatMul, Softmax, MatMul: the form that graph compilers fuse.
Factors are folded into weights elementwise, never by a matrix product, so that every machine writes the same
file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.networks.builder import GraphBuilder, Weight, int64
from sightline.networks.drawing import Spread, fan_in_std
from sightline.weights.tensors import Checkpoint, Shape

Floats = NDArray[np.float32]

# Added to a score that must not count. Its exp() is 0 in every float type, and float16 can hold it.
HIDDEN = np.float32(-1e4)

_ROOT_2 = np.float32(math.sqrt(2))


@dataclass(frozen=True, slots=True)
class Pixels:
    """The input of a picture network: uint8 ``[N, size, size, 3]``.

    The network reads ``(pixels / 255 - mean) / std`` in patches of ``patch`` × ``patch``.
    """

    size: int
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def grid(self) -> int:
        """Number of patches along a side."""
        return self.size // self.patch

    @property
    def tokens(self) -> int:
        """Number of patches and the class token before them."""
        return 1 + self.grid**2


@dataclass(frozen=True, slots=True)
class Attention:
    """Names of an attention's layers: ``joint`` are query, key and value, or one layer of all three."""

    joint: tuple[str, ...]
    out: str
    heads: int
    out_scale: Floats | None = None


class Layers:
    """Adds layers to a graph. Layers are named by the common beginning of their tensors' names."""

    def __init__(self, graph: GraphBuilder, tensors: Checkpoint) -> None:
        self._graph = graph
        self._tensors = tensors

    def norm(self, value: str, name: str, epsilon: float, output: str | None = None) -> str:
        """Normalise the last dimension."""
        weight, bias = (Weight.of(self._tensors[f"{name}.{kind}"]) for kind in ("weight", "bias"))
        return self._graph.add(
            "LayerNormalization", value, weight, bias, axis=-1, epsilon=epsilon, output=output
        )

    def linear(self, value: str, *names: str, scale: Floats | None = None) -> str:
        """Multiply with one layer, or with several side by side; ``scale`` [outputs] is multiplied in."""
        bias = np.concatenate([self._tensors[f"{name}.bias"].numpy() for name in names])
        product = self.product(value, *names, scale=scale)
        return self._graph.add("Add", product, bias if scale is None else bias * scale)

    def product(self, value: str, *names: str, scale: Floats | None = None, output: str | None = None) -> str:
        """``linear`` without a bias."""
        parts = [self._tensors[f"{name}.weight"] for name in names]
        inputs, outputs = parts[0].shape[1], sum(part.shape[0] for part in parts)

        def make() -> Floats:
            joint = np.empty((inputs, outputs), np.float32)
            start = 0
            for part in parts:
                joint[:, start : start + part.shape[0]] = part.numpy().T
                start += part.shape[0]
            if scale is not None:
                joint *= scale
            return joint

        return self._graph.add("MatMul", value, Weight((inputs, outputs), make), output=output)

    def query_key_value(self, tokens: str, names: tuple[str, ...], heads: int) -> tuple[str, ...]:
        """Return the three ``[N, L, width]``, the query with the attention scale."""
        width = sum(self._tensors[f"{name}.bias"].shape[0] for name in names) // 3
        scale = np.ones(3 * width, np.float32)
        scale[:width] = attention_scale(width, heads)
        return self._graph.split(self.linear(tokens, *names, scale=scale), 3, axis=2)

    def attention(
        self, tokens: str, layers: Attention, pick: Callable[[str], str], mask: str | None = None
    ) -> str:
        """Attend from the picked tokens to all tokens; ``mask`` is added to the scores."""
        query, key, value = self.query_key_value(tokens, layers.joint, layers.heads)
        scores = self._graph.add(
            "MatMul",
            self.split_heads(pick(query), layers.heads),
            self.split_heads(key, layers.heads, turned=True),
        )
        if mask is not None:
            scores = self._graph.add("Add", scores, mask)
        shares = self._graph.add("Softmax", scores, axis=-1)
        mixed = self._graph.add("MatMul", shares, self.split_heads(value, layers.heads))
        return self.linear(self.join_heads(mixed), layers.out, scale=layers.out_scale)

    def split_heads(self, tokens: str, heads: int, *, turned: bool = False) -> str:
        """``[N, L, width]`` to ``[N, heads, L, width / heads]``, or with the last two exchanged."""
        cut = self._graph.add("Reshape", tokens, int64(0, 0, heads, -1))
        return self._graph.add("Transpose", cut, perm=[0, 2, 3, 1] if turned else [0, 2, 1, 3])

    def join_heads(self, mixed: str) -> str:
        """``[N, heads, L, width / heads]`` to ``[N, L, width]``"""
        rows = self._graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
        return self._graph.add("Reshape", rows, int64(0, 0, -1))

    def gelu(self, value: str) -> str:
        """x · (1 + erf(x / √2)) / 2, as torch computes it by default."""
        add = self._graph.add
        inner = add("Add", add("Erf", add("Div", value, _ROOT_2)), np.float32(1))
        return add("Mul", value, add("Mul", inner, np.float32(0.5)))

    def quick_gelu(self, value: str) -> str:
        """x · sigmoid(1.702 x), CLIP's."""
        add = self._graph.add
        return add("Mul", value, add("Sigmoid", add("Mul", value, np.float32(1.702))))

    def first(self, tokens: str) -> str:
        """Pick the class token, ``[N, 1, width]``."""
        return self._graph.add("Slice", tokens, int64(0), int64(1), int64(1))

    def patches(
        self, pixels: Pixels, convolution: str, class_token: Floats, positions: Floats, batch: str = "batch"
    ) -> str:
        """Declare the input ``pixels`` and return the first tokens, ``[N, 1 + patches, width]``.

        Args:
            pixels: what the input is.
            convolution: the layer whose stride is its kernel; its bias may be missing.
            class_token: [width].
            positions: added to the class token and to each patch, [1 + patches, width].
            batch: name of the free dimension.
        """
        add, grid, side = self._graph.add, pixels.grid, pixels.patch
        shown = self._graph.input("pixels", np.uint8, [batch, pixels.size, pixels.size, 3])
        kernel = self._tensors[f"{convolution}.weight"].numpy().astype(np.float64)
        bias = self._tensors.get(f"{convolution}.bias")
        weight, constant = _folded(kernel, pixels, None if bias is None else bias.numpy())
        width = len(kernel)
        # A convolution whose stride is its kernel is a product over patches cut out beforehand.
        cut = add("Reshape", shown, int64(-1, grid, side, grid, side, 3))
        cut = add("Transpose", cut, perm=[0, 1, 3, 2, 4, 5])
        cut = add("Cast", add("Reshape", cut, int64(-1, grid**2, side**2 * 3)), to=_FLOAT)
        cut = add("Add", add("MatMul", cut, weight), (positions[None, 1:] + constant).astype(np.float32))
        shape = add("Concat", add("Shape", shown, start=0, end=1), int64(1), int64(width), axis=0)
        first = add("Expand", (class_token + positions[0])[None, None], shape)
        return add("Concat", first, cut, axis=1)


# TensorProto.FLOAT in onnx.proto.
_FLOAT = 1


def every(tokens: str) -> str:
    """Pick all tokens."""
    return tokens


def attention_scale(width: int, heads: int) -> np.float32:
    """The factor of scores: one over the root of a head's width."""
    return np.float32((width // heads) ** -0.5)


def linear_shapes(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    """The tensors of a layer with a bias."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm_shapes(name: str, width: int) -> dict[str, Shape]:
    """The tensors of a normalisation."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def block_shapes(prefix: str, layers: int, block: Mapping[str, Shape]) -> dict[str, Shape]:
    """The tensors of ``layers`` equal blocks, which are numbered."""
    return {f"{prefix}.{number}.{name}": shape for number in range(layers) for name, shape in block.items()}


def usual_spread(name: str, shape: Shape) -> Spread:
    """How made-up tensors are distributed unless a network says otherwise.

    Layers keep the variance of what they read. Vectors are near 0 or, where they are factors, near 1, but
    differ from it: a mistake with them would not show otherwise.
    """
    if len(shape) == 1:
        return (1.0 if name.endswith(_FACTORS) else 0.0), 0.02
    return 0.0, fan_in_std(shape)


_FACTORS = ("norm.weight", "norm1.weight", "norm2.weight", "Norm.weight", "layrnorm.weight", "lambda1")


def _folded(
    kernel: NDArray[np.float64], pixels: Pixels, bias: Floats | None
) -> tuple[Floats, NDArray[np.float64]]:
    """The kernel as a matrix for uint8 pixels, and what is added to its answers.

    kernel · (x / 255 - mean) / std = (kernel / (255 std)) · x - kernel · (mean / std)
    """
    mean, std = (np.array(values, np.float64)[:, None, None] for values in (pixels.mean, pixels.std))
    weight = (kernel / (255 * std)).transpose(2, 3, 1, 0).reshape(-1, len(kernel)).astype(np.float32)
    # fsum rounds once, whatever the order, which numpy's sums do not promise.
    shift = [math.fsum(row) for row in (kernel * (mean / std)).reshape(len(kernel), -1).tolist()]
    return weight, (0.0 if bias is None else bias.astype(np.float64)) - np.array(shift)
