"""Files in the safetensors format: a header of JSON and, after it, the numbers of all tensors.

https://github.com/huggingface/safetensors: "Format". What the reference reader refuses is refused here too.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from pathlib import Path
from typing import Any, get_args

from sightline.errors import CheckpointInvalid
from sightline.weights.storages import Storage, mapped, num_bytes, require_plain
from sightline.weights.tensors import Checkpoint, DType, Shape, Tensor

# As the reference reader.
_MAX_HEADER_BYTES = 100_000_000


def read_safetensors(path: Path) -> Checkpoint:
    """Return the tensors of a safetensors file by name.

    Raises:
        CheckpointInvalid: the header is wrong, or does not describe every byte after it exactly once.
    """
    data = mapped(path)
    header, base = _header(data)
    header.pop("__metadata__", None)
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    end = base
    for name, (dtype, shape, begin, after) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if base + begin != end or after - begin != math.prod(shape) * num_bytes(dtype):
            raise CheckpointInvalid(f"the numbers of {name} overlap others, leave a gap or are too many")
        end = base + after
    if end != len(data):
        raise CheckpointInvalid(f"the file has {len(data)} bytes; expected {end}")
    return {
        name: _tensor(Storage(dtype, math.prod(shape), data, base + begin), shape)
        for name, (dtype, shape, begin, _) in entries.items()
    }


def _header(data: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The header, and where the numbers begin."""
    (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (0,)
    if not 2 <= length <= _MAX_HEADER_BYTES:
        raise CheckpointInvalid(f"the header has {length} bytes; expected up to {_MAX_HEADER_BYTES}")
    if 8 + length > len(data):
        raise CheckpointInvalid("the header is cut short")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointInvalid("the header is not JSON") from error
    if not isinstance(header, dict):
        raise CheckpointInvalid("the header is not an object of tensors")
    return header, 8 + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CheckpointInvalid("the header has a name twice")
    for name in found:
        require_plain(name)
    return found


def _entry(name: str, entry: Any) -> tuple[DType, Shape, int, int]:
    """Type, shape, first byte and end of a tensor."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointInvalid(f"the header describes {name} without a type, shape or place") from error
    if dtype not in get_args(DType):
        raise CheckpointInvalid(f"{name} has numbers of a type that is not supported: {str(dtype)[:20]}")
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in (*shape, begin, end)):
        raise CheckpointInvalid(f"the header describes {name} with an impossible shape or place")
    return dtype, shape, begin, end


def _tensor(storage: Storage, shape: Shape) -> Tensor:
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return storage.tensor(shape, strides, 0)
