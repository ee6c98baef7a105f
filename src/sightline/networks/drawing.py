"""Made-up tensors: numbers that depend on the seed and the tensor's name alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sightline.weights.tensors import Checkpoint, Shape, Tensor

# Mean and standard deviation of a tensor's numbers.
Spread = tuple[float, float]


def drawn(
    shapes: Mapping[str, Shape], seed: int, spread: Callable[[str, Shape], Spread]
) -> dict[str, Tensor]:
    """Return normally distributed tensors of these names and shapes.

    Each is drawn when it is read, from a generator of its own, so that neither the order of reading nor other
    tensors change it.
    """
    return {name: _tensor(name, shape, seed, *spread(name, shape)) for name, shape in shapes.items()}


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the generator of the tensor of that name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def fan_in_std(shape: Shape, gain: float = 1.0) -> float:
    """Return the deviation at which a product or convolution keeps the variance of its input, times ``gain``.

    ``shape`` begins with the outputs, as torch stores layers.
    """
    return gain / math.sqrt(math.prod(shape[1:]))


def replaced(checkpoint: Checkpoint, values: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """Return the checkpoint with other numbers for some of its tensors."""
    return {**checkpoint, **{name: Tensor.of(array) for name, array in values.items()}}


def _tensor(name: str, shape: Shape, seed: int, mean: float, std: float) -> Tensor:
    def load() -> NDArray[np.float32]:
        numbers = generator(seed, name).standard_normal(shape, np.float32)
        numbers *= np.float32(std)
        numbers += np.float32(mean)
        return numbers

    return Tensor("F32", shape, load)
