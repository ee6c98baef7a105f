"""Weights files of torch, read without torch: the zip format, and the one before torch 1.6.

Both hold a pickle that describes tensors, and their numbers beside it. A pickle can call anything it names,
so only the three names that a tensor needs are allowed, and none of them runs torch's code.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ExportFailed

Weights = Mapping[str, NDArray[np.float32]]

# What torch's legacy serialisation writes first.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_MOST_NUMBERS = 1 << 28
_MOST_PICKLE_BYTES = 1 << 24

_Storages = Callable[[str], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where a tensor lies in its storage; sizes and strides in numbers."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _FloatStorage:
    """Stands for torch's class of that name inside the pickle."""


def _tensor(
    storage: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Knows tensors of 32-bit floats in dictionaries, and nothing else."""

    _allowed = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch", "FloatStorage"): _FloatStorage,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise ExportFailed(
                f"refused: the weights file asks for {module}.{name}, which no weights need"
            ) from None

    def persistent_load(self, pid: Any) -> str:
        kind, storage, key, *_ = pid
        if kind != "storage" or storage is not _FloatStorage:
            raise ExportFailed("the weights file holds numbers that are not 32-bit floats")
        return str(key)


def read_weights(path: Path) -> Weights:
    """Tensors of a saved state dictionary by name, f32. A file of one tensor gives it under the name "".

    Raises:
        ExportFailed: the file is something else, is damaged, or asks for code to be run.
    """
    with path.open("rb") as file:
        try:
            return _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        except ExportFailed:
            raise
        except Exception as error:  # a damaged pickle raises nearly anything
            raise ExportFailed(
                f"{path.name} is not a weights file of torch: {type(error).__name__}"
            ) from error


def _read_zip(file: IO[bytes]) -> Weights:
    """One folder with ``data.pkl`` and, for each storage, ``data/KEY``; the zip's checksums are verified."""
    with zipfile.ZipFile(file) as archive:
        (described,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = described.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ExportFailed("the weights file holds numbers with their bytes in another order")
        if archive.getinfo(described).file_size > _MOST_PICKLE_BYTES:
            raise ExportFailed("the weights file describes far too much")
        with archive.open(described) as description:
            state = _Unpickler(description).load()

        def storage(key: str) -> NDArray[np.float32]:
            member = archive.getinfo(f"{folder}data/{key}")
            if member.file_size > 4 * _MOST_NUMBERS:
                raise ExportFailed("the weights file holds far too many numbers")
            return np.frombuffer(archive.read(member), dtype="<f4")

        return _tensors(state, storage)


def _read_legacy(file: IO[bytes]) -> Weights:
    file.seek(0)
    magic, protocol, _ = (_Unpickler(file).load() for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise ExportFailed("not a weights file of torch")
    state, keys = _Unpickler(file).load(), _Unpickler(file).load()
    storages: dict[str, NDArray[np.float32]] = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(4 * count) if 0 <= count < _MOST_NUMBERS else b""
        if len(data) != 4 * count:
            raise ExportFailed("the weights file is cut short")
        storages[key] = np.frombuffer(data, dtype="<f4").astype(np.float32)
    return _tensors(state, storages.__getitem__)


def _tensors(state: Any, storage: _Storages) -> Weights:
    named = {"": state} if isinstance(state, _Tensor) else state
    if not all(isinstance(tensor, _Tensor) for tensor in named.values()):
        raise ExportFailed("the weights file holds something other than tensors")
    return {str(name): _materialised(tensor, storage(tensor.storage)) for name, tensor in named.items()}


def _materialised(tensor: _Tensor, storage: NDArray[np.float32]) -> NDArray[np.float32]:
    """A contiguous copy. Strides are checked first: numpy would read past the end without a word."""
    if (
        len(tensor.shape) != len(tensor.strides)
        or min((1, *tensor.shape)) < 1
        or min((0, *tensor.strides)) < 0
    ):
        raise ExportFailed("the weights file describes an impossible tensor")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or last >= storage.size or math.prod(tensor.shape) > storage.size:
        raise ExportFailed("the weights file describes a tensor larger than its numbers")
    strides = tuple(4 * step for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(
        storage[tensor.offset :], tensor.shape, strides, writeable=False
    ).copy()
