"""Checkpoints that hold whole pickled modules, read without running anything that is pickled in them.

Such a file names the classes of the code it was trained with. Here each name becomes an inert stand-in that
keeps what it is given and does nothing, so the code is neither needed nor run; the numbers are collected
from the stand-ins' parameters and buffers.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor

from sightline.errors import ExportFailed

# All that takes part in rebuilding tensors. None of it looks anything up or runs what it is given.
_ALLOWED: Final[Mapping[tuple[str, str], Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class StandIn:
    """An object of a class that is not here: takes everything, does nothing. ``state`` is what it held."""

    # torch asks classes of modules in files of the older kind whether to write down what changed in them.
    dump_patches = False

    def __init__(self, *_: object, **__: object) -> None:
        self.state: Mapping[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and state:
            state = state[0]  # beside it stand slots, which no module has
        self.state = state if isinstance(state, dict) else {}

    def __call__(self, *_: object, **__: object) -> StandIn:
        return StandIn()

    def __setitem__(self, key: object, value: object) -> None:
        """Items of pickled dictionaries and lists of foreign classes are not needed."""

    def append(self, item: object) -> None:
        """As ``__setitem__``."""

    def extend(self, items: object) -> None:
        """As ``__setitem__``."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        # A class of its own for each name: pickle compares classes by identity.
        return allowed if allowed is not None else type("StandIn", (StandIn,), {})


_PICKLE: Final = SimpleNamespace(
    __name__="pickle", Unpickler=_Unpickler, load=lambda file, **options: _Unpickler(file, **options).load()
)


def read_state(path: Path, entry: str) -> dict[str, Tensor]:
    """Parameters and buffers of the module under the name ``entry`` of a checkpoint, by dotted name, f32.

    Raises:
        ExportFailed: the file is no checkpoint, or has no such module.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_PICKLE)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ExportFailed(f"{path.name} is not a checkpoint of torch: {type(error).__name__}") from error
    module = checkpoint.get(entry) if isinstance(checkpoint, dict) else None
    if not isinstance(module, StandIn) or "_modules" not in module.state:
        raise ExportFailed(f"{path.name} holds no module under the name {entry!r}")
    return dict(_tensors(module, ""))


def _tensors(module: StandIn, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _items(module, kind):
            if isinstance(tensor, Tensor):
                yield prefix + name, tensor.detach().float() if tensor.is_floating_point() else tensor
    for name, child in _items(module, "_modules"):
        if isinstance(child, StandIn):
            yield from _tensors(child, f"{prefix}{name}.")


def _items(module: StandIn, kind: str) -> list[tuple[str, Any]]:
    found = module.state.get(kind)
    return [(str(name), value) for name, value in found.items()] if isinstance(found, dict) else []
