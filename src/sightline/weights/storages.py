"""The numbers of a checkpoint: parts of a mapped file, and the tensors that are views of them."""

from __future__ import annotations

import math
import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid
from sightline.weights.tensors import DType, Shape, Tensor

# How each type is stored; bfloat16 is the upper half of a float32.
_STORED: Mapping[DType, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}
_MAX_DIMENSIONS = 32  # of an array of numpy
_MAX_NAME_LENGTH = 300


def require_plain(name: str) -> None:
    """Raises CheckpointInvalid for a name that cannot be shown on a line."""
    if len(name) > _MAX_NAME_LENGTH or not name.isprintable():
        raise CheckpointInvalid(f"the checkpoint has a name that no tensor has: {name[:50]!r}")


def num_bytes(dtype: DType) -> int:
    """Bytes of one element."""
    return _STORED[dtype].itemsize


def mapped(path: Path) -> mmap.mmap:
    """Return the file mapped into memory, where its pages are read when they are used.

    Raises:
        CheckpointInvalid: the file is empty.
    """
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise CheckpointInvalid("the file is empty") from error


@dataclass(slots=True)
class Storage:
    """``count`` elements that are stored one after another from byte ``begin`` on.

    ``crc32`` is verified when the first element is used, and is None afterwards or where none was stored.
    """

    dtype: DType
    count: int
    data: mmap.mmap
    begin: int
    crc32: int | None = None

    def tensor(self, shape: Shape, strides: Shape, offset: int) -> Tensor:
        """Return a view of the storage; offset and strides are in elements.

        Raises:
            CheckpointInvalid: the tensor is not wholly inside.
        """
        facts = (offset, *shape, *strides)
        if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
            raise CheckpointInvalid("the checkpoint describes an impossible tensor")
        if any(type(fact) is not int or fact < 0 for fact in facts):
            raise CheckpointInvalid("the checkpoint describes an impossible tensor")
        last = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
        size = math.prod(shape)
        # numpy would read past the end without a word, and steps of 0 make any size out of one number.
        if size > self.count or offset > self.count or (size and last >= self.count):
            raise CheckpointInvalid("the checkpoint describes a tensor larger than its storage")
        return Tensor(self.dtype, shape, lambda: self._numbers(shape, strides, offset))

    def _numbers(self, shape: Shape, strides: Shape, offset: int) -> NDArray[Any]:
        kind = _STORED[self.dtype]
        self._verify()
        flat = np.frombuffer(self.data, kind, self.count, self.begin)
        steps = tuple(kind.itemsize * step for step in strides)
        view = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
        array = _decoded(self.dtype, np.asarray(view, order="C"))
        array.flags.writeable = False
        return array

    def _verify(self) -> None:
        if self.crc32 is None:
            return
        with memoryview(self.data) as whole:
            end = self.begin + self.count * num_bytes(self.dtype)
            with whole[self.begin : end] as part:
                found = zlib.crc32(part)
        if found != self.crc32:
            raise CheckpointInvalid("numbers of the checkpoint changed after it was written")
        self.crc32 = None


def _decoded(dtype: DType, array: NDArray[Any]) -> NDArray[Any]:
    if dtype == "BF16":
        return (array.astype("<u4") << 16).view(np.float32)
    if dtype == "BOOL":
        return array.astype(np.bool_)
    if dtype in ("F64", "F16"):
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
