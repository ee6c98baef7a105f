"""Checkpoints as named tensors: safetensors files and files of torch, read without torch."""

from __future__ import annotations

import json
import math
import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid
from sightline.weights.tensors import Checkpoint, Tensor
from sightline.weights.torch_files import read_weights


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the tensors of a checkpoint by name.

    Raises:
        CheckpointInvalid: the file is damaged, unsafe or not a checkpoint.
    """
    with path.open("rb") as file:
        beginning = file.read(9)
    if beginning[8:] == b"{":
        return _read_safetensors(path)
    return {name: Tensor.of(array) for name, array in read_weights(path).items()}


def _read_safetensors(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (length,) = struct.unpack("<Q", data[:8])
    if 8 + length > len(data):
        raise CheckpointInvalid(f"{path.name} is cut short")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: _tensor(data, 8 + length, entry) for name, entry in header.items()}


def _tensor(data: mmap.mmap, base: int, entry: dict[str, Any]) -> Tensor:
    begin, shape = base + entry["data_offsets"][0], tuple(entry["shape"])
    kind = {"F32": "<f4", "I64": "<i8", "F16": "<f2"}[entry["dtype"]]

    def load() -> NDArray[Any]:
        flat = np.frombuffer(data, kind, math.prod(shape), begin)
        return (flat.astype(np.float32) if kind == "<f2" else flat).reshape(shape)

    return Tensor(entry["dtype"], shape, load)
