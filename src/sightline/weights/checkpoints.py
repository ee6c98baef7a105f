"""Checkpoints as named tensors: safetensors files and files of torch, read without torch.

Numbers stay in the mapped file until a tensor is asked for them. Nothing in a file is ever executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid
from sightline.weights.pickles import Global, Inert
from sightline.weights.safetensors import read_safetensors
from sightline.weights.storages import require_plain
from sightline.weights.tensors import Checkpoint, Tensor
from sightline.weights.torch_objects import read_legacy, read_zip

__all__ = ["Arrays", "Global", "Inert", "read_arrays", "read_checkpoint", "read_pickle"]

Arrays = Mapping[str, NDArray[Any]]

# Networks have a thousand modules, ten deep.
_MAX_ENTRIES = 1 << 18
_MAX_DEPTH = 64
_HEAD_BYTES = 64


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the tensors of a checkpoint by name.

    Dictionaries and modules inside others give dotted names: a module under "model" whose child is "stem"
    gives "model.stem.weight". A file of one tensor gives it under the name "". Everything else is left out.

    Raises:
        CheckpointInvalid: the file is damaged, unsafe or not a checkpoint.
    """
    if _beginning(path)[8:9] == b"{":
        return read_safetensors(path)
    found: dict[str, Tensor] = {}
    for count, (name, tensor) in enumerate(_tensors(read_pickle(path), "", 0)):
        require_plain(name)
        if name in found or count > _MAX_ENTRIES:
            raise CheckpointInvalid(f"the checkpoint has too many tensors, or two of the name {name}")
        if tensor is not None:
            found[name] = tensor
    if not found:
        raise CheckpointInvalid("the checkpoint has no tensors")
    return found


def read_arrays(path: Path) -> Arrays:
    """Return all tensors of a small checkpoint as arrays by name.

    Raises:
        CheckpointInvalid: as ``read_checkpoint``.
    """
    return {name: tensor.numpy() for name, tensor in read_checkpoint(path).items()}


def read_pickle(path: Path) -> object:
    """Return the object that was given to ``torch.save``.

    It is made of dictionaries (also for OrderedDict), lists, tuples, sets, texts, numbers and ``Tensor``. A
    class, function or dtype is a ``Global``, and any other object or call is an ``Inert``.

    Raises:
        CheckpointInvalid: the file is damaged, unsafe or not one that ``torch.save`` wrote.
    """
    beginning = _beginning(path)
    if beginning.startswith(b"PK\x03\x04"):
        return read_zip(path)
    if beginning.startswith(b"\x80"):
        return read_legacy(path)
    raise CheckpointInvalid(f"the file is {_other_kind(beginning)}; expected safetensors or a file of torch")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _other_kind(beginning: bytes) -> str:
    if not beginning:
        return "empty"
    if beginning.lstrip().startswith(b"<"):
        return "a web page"
    if beginning.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return "of another kind"


def _tensors(value: object, name: str, depth: int) -> Iterator[tuple[str, Tensor | None]]:
    """Yield every tensor below ``value``, and None for what contains others, so that visits are counted."""
    if isinstance(value, Tensor):
        yield name, value
        return
    if depth > _MAX_DEPTH:
        raise CheckpointInvalid("modules are nested too deeply")
    yield f"{name}.", None
    for key, child in _entries(value):
        inner = f"{name}.{key}" if name else str(key)
        yield from _tensors(child, inner, depth + 1)


def _entries(value: object) -> Iterator[tuple[Any, object]]:
    if isinstance(value, dict):
        yield from _containers(value)
    elif isinstance(value, Inert):
        for kind in ("_parameters", "_buffers", "_modules"):
            held = value.state.get(kind)
            if isinstance(held, dict):
                yield from _containers(held)


def _containers(held: dict[Any, object]) -> Iterator[tuple[Any, object]]:
    for key, value in held.items():
        if isinstance(key, str | int) and isinstance(value, dict | Inert | Tensor):
            yield key, value
