"""Checkpoints of whole modules, with the code they were made with, without it, and with code that harms."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="exporters are tested in the parity environment")

from sightline.errors import ExportFailed  # noqa: E402
from sightline.export.pickled_modules import read_state  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def foreign() -> Iterator[Any]:
    """A class of a module that is gone once something was :func:`saved`."""
    module = ModuleType("somebodys.network")

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.norm = torch.nn.BatchNorm2d(4)
            self.register_buffer("steps", torch.arange(3))
            self.inner = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.SiLU(), torch.nn.Linear(4, 2))])

    Block.__module__, Block.__qualname__ = "somebodys.network", "Block"
    module.Block = Block  # type: ignore[attr-defined]
    sys.modules["somebodys"], sys.modules["somebodys.network"] = ModuleType("somebodys"), module
    yield Block
    sys.modules.pop("somebodys", None)
    sys.modules.pop("somebodys.network", None)


def saved(path: Path, content: Any, **options: Any) -> Path:
    """Written while the classes are there, and the classes gone."""
    torch.save(content, path, **options)
    sys.modules.pop("somebodys", None)
    sys.modules.pop("somebodys.network", None)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_numbers_are_found_without_the_code(foreign: Any, tmp_path: Path, zipped: bool) -> None:
    block = foreign()
    wanted = block.state_dict()
    path = saved(tmp_path / "b.pt", {"model": block, "epoch": 3}, _use_new_zipfile_serialization=zipped)
    found = read_state(path, "model")
    assert "somebodys.network" not in sys.modules
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert found["steps"].dtype == torch.int64


def test_half_precision_becomes_single(foreign: Any, tmp_path: Path) -> None:
    block = foreign()
    wanted = block.conv.weight.detach().half().float()
    found = read_state(saved(tmp_path / "b.pt", {"model": block.half()}), "model")
    assert found["conv.weight"].dtype == torch.float32
    assert torch.equal(found["conv.weight"], wanted)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "harm")


@pytest.mark.parametrize("place", ["beside", "inside", "as the module"])
def test_code_in_the_file_is_not_run(foreign: Any, tmp_path: Path, place: str) -> None:
    block, mark = foreign(), tmp_path / "mark"
    pickle.loads(pickle.dumps(Harmful(mark)))
    assert mark.exists(), "it would do harm"
    mark.unlink()
    content: dict[str, Any] = {"model": block}
    if place == "inside":
        block.extra = Harmful(mark)
    else:
        content["model" if place == "as the module" else "beside"] = Harmful(mark)
    path = saved(tmp_path / "b.pt", content)
    if place == "as the module":
        with pytest.raises(ExportFailed, match="holds no module"):
            read_state(path, "model")
    else:
        assert "conv.weight" in read_state(path, "model")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"model": 1})])
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.pt"
    path.write_bytes(content)
    with pytest.raises(ExportFailed, match=r"b\.pt is not a checkpoint"):
        read_state(path, "model")


@pytest.mark.parametrize("content", [{"ema": 1}, {"model": torch.zeros(1)}, [1], torch.zeros(2)])
def test_a_checkpoint_without_the_module_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "b.pt")
    with pytest.raises(ExportFailed, match="holds no module under the name 'model'"):
        read_state(tmp_path / "b.pt", "model")


def test_a_truncated_checkpoint_is_refused(foreign: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "b.pt", {"model": foreign()})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ExportFailed, match="is not a checkpoint"):
        read_state(path, "model")
