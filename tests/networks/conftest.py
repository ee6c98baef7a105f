"""What tests of network definitions share: files as ``torch.save`` writes them, and graphs that run."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.settings import Settings
from sightline.weights.tensors import Checkpoint

_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


@dataclass(frozen=True)
class Named:
    """A class or function of some other package."""

    name: str


@dataclass(frozen=True)
class Called:
    """The answer of a function of some other package."""

    function: Named
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Made:
    """An object of some other package."""

    kind: Named
    state: Mapping[str, Any] = field(default_factory=dict)


class _Pickler(pickle._Pickler):  # type: ignore[misc, name-defined]
    """Writes names that no package here has."""

    def __init__(self, file: Any, storages: list[NDArray[Any]]) -> None:
        super().__init__(file, 2)
        self._storages = storages

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        match obj:
            case Named():
                module, _, name = obj.name.rpartition(".")
                self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
            case Called():
                self.save(obj.function)
                self.save(obj.args)
                self.write(pickle.REDUCE)
            case Made():
                self.save(obj.kind)
                self.save(())
                self.write(pickle.NEWOBJ)
                self.save(dict(obj.state))
                self.write(pickle.BUILD)
            case np.ndarray():
                self._save_array(np.ascontiguousarray(obj).reshape(obj.shape))
            case _:
                super().save(obj, save_persistent_id)

    def _save_array(self, array: NDArray[Any]) -> None:
        self.save(Named("torch._utils._rebuild_tensor_v2"))
        self.write(pickle.MARK)
        kind = Named(f"torch.{_STORAGES[array.dtype.name]}")
        self.save(("storage", kind, str(len(self._storages)), "cpu", array.size))
        self.write(pickle.BINPERSID)
        self._storages.append(array)
        strides = tuple(step // array.itemsize for step in array.strides)
        for part in (0, array.shape, strides, False, Called(Named("collections.OrderedDict"), ())):
            self.save(part)
        self.write(pickle.TUPLE + pickle.REDUCE)


def save(content: Any, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        storages: list[NDArray[Any]] = []
        with archive.open("archive/data.pkl", "w") as file:
            _Pickler(file, storages).dump(content)
        archive.writestr("archive/byteorder", "little")
        for number, array in enumerate(storages):
            archive.writestr(f"archive/data/{number}", array.tobytes())
    return path


def module(kind: str, state: Mapping[str, Any] | None = None, **parts: Any) -> Made:
    """A torch module: arrays are parameters, modules are children."""
    arrays = {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
    children = {name: part for name, part in parts.items() if isinstance(part, Made)}
    filled = {"_parameters": arrays, "_buffers": {}, "_modules": children, "training": False}
    return Made(Named(kind), {**filled, **(state or {})})


def nested(tensors: Mapping[str, NDArray[Any]], kind: str) -> Made:
    """A torch module whose parameters have these dotted names."""
    parts: dict[str, Any] = {}
    heads = dict.fromkeys(name.partition(".")[0] for name in tensors)
    for head in heads:
        inner = {name.partition(".")[2]: each for name, each in tensors.items() if name.split(".")[0] == head}
        parts[head] = inner[""] if "" in inner else nested(inner, kind)
    return module(kind, **parts)


@pytest.fixture(scope="session")
def torch_file() -> SimpleNamespace:
    """``torch_file.save(content, path)`` writes what torch would, without torch; with ``Named``, ``Called``,
    ``Made``, ``module`` and ``nested`` for what is not plain data."""
    return SimpleNamespace(save=save, Named=Named, Called=Called, Made=Made, module=module, nested=nested)


@pytest.fixture(scope="session")
def arrays_of() -> Callable[[Checkpoint], dict[str, NDArray[Any]]]:
    return lambda checkpoint: {name: tensor.numpy() for name, tensor in checkpoint.items()}


@pytest.fixture(scope="session")
def view_of() -> Callable[[NDArray[np.uint8]], View]:
    limits = ImageLimits.from_settings(Settings())
    return lambda pixels: View(open_picture(encode_png(pixels), limits))
