"""Named tensors of a checkpoint, whatever format they are stored in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
# As safetensors names them.
DType = Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. Its numbers are read when ``numpy`` is called, and not kept.

    ``load`` returns an array of ``shape``: float32 for every kind of float, otherwise the stored type.
    """

    dtype: DType
    shape: Shape
    load: Callable[[], NDArray[Any]]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def numpy(self) -> NDArray[Any]:
        """The numbers, an array of ``shape`` that must not be written to."""
        return self.load()

    @classmethod
    def of(cls, array: NDArray[np.float32]) -> Tensor:
        """Wrap a float32 array."""
        return cls("F32", array.shape, lambda: array)


Checkpoint = Mapping[str, Tensor]
