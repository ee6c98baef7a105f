from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightline import models, operations, registry
from sightline.errors import ConfigurationError
from sightline.models import ModelDefinition

MODEL = """
from sightline.models import ModelCard, ModelDefinition
card = ModelCard(name={name!r}, capabilities=frozenset(), description="Nothing.", licence="MIT",
                 homepage="https://example.org", preprocessing="none", parameters=0, multiply_adds=0)
MODELS = (ModelDefinition(card, lambda files, graphs: None),)
"""

Plug = Callable[..., Path]


@pytest.fixture
def plug(tmp_path: Path) -> Plug:
    """Writes plug-in files; returns the plug-in folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            folder = tmp_path / "models"
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.py").write_text(text)
        return tmp_path

    return write


def test_what_is_built_in_comes_sorted_by_name() -> None:
    found = operations.catalogue()
    assert list(found) == sorted(found)
    assert {"detect_bounding_box", "embed_clip", "embed_text"} <= set(found)
    assert all(name == operation.name for name, operation in found.items())


def test_a_catalogue_is_read_only() -> None:
    with pytest.raises(TypeError):
        models.catalogue()["x"] = None  # type: ignore[index]


def test_a_plugged_in_model_is_found(plug: Plug) -> None:
    found = models.catalogue(plug(mine=MODEL.format(name="mine")))
    assert found["mine"].card.licence == "MIT"
    assert set(models.catalogue()) == set(found) - {"mine"}


def test_a_name_is_claimed_once_and_both_places_are_named(plug: Plug) -> None:
    folder = plug(one=MODEL.format(name="twin"), two=MODEL.format(name="twin"))
    with pytest.raises(ConfigurationError, match=r"'twin'.*models\.one.*models\.two"):
        models.catalogue(folder)


def test_a_plug_in_cannot_replace_what_is_built_in(plug: Plug) -> None:
    name = next(iter(models.catalogue()), None)
    if name is None:
        pytest.skip("no model is built in yet")
    with pytest.raises(
        ConfigurationError, match=rf"'{name}'.*sightline\.models\..* and .*plugins\.models\.mine"
    ):
        models.catalogue(plug(mine=MODEL.format(name=name)))


@pytest.mark.parametrize(
    "text",
    ["raise RuntimeError('no way')", "import no_such_module", "def broken(:", "import sys; sys.exit(1)"],
)
def test_a_plug_in_that_does_not_import_is_named(plug: Plug, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"plug-in 'mine\.py' does not import"):
        models.catalogue(plug(mine=text))
    assert "sightline_plugins.models.mine" not in sys.modules


@pytest.mark.parametrize("text", ["MODELS = 3", "MODELS = ['x']", "MODELS = ('x',)"])
def test_a_plug_in_with_something_else_than_a_tuple_of_models_is_refused(plug: Plug, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"models\.mine\.MODELS must be a tuple of ModelDefinition"):
        models.catalogue(plug(mine=text))


def test_a_module_without_entries_takes_no_part(plug: Plug) -> None:
    assert dict(models.catalogue(plug(helpers="X = 1"))) == dict(models.catalogue())


def test_a_plug_in_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_PLUGINS_DIR"):
        models.catalogue(tmp_path / "typo")


def test_a_plug_in_folder_need_not_have_both_kinds(tmp_path: Path) -> None:
    assert dict(operations.catalogue(tmp_path)) == dict(operations.catalogue())


class _EntryPoint:
    def __init__(self, name: str, load: Callable[[], ModuleType]) -> None:
        self.name = name
        self.load = load


def _installed(monkeypatch: pytest.MonkeyPatch, *points: _EntryPoint) -> None:
    def entry_points(*, group: str) -> tuple[Any, ...]:
        return points if group == "sightline.models" else ()

    monkeypatch.setattr(registry, "entry_points", entry_points)


def test_an_installed_distribution_can_bring_models(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("their.models")
    exec(MODEL.format(name="theirs"), module.__dict__)
    _installed(monkeypatch, _EntryPoint("theirs", lambda: module))
    assert isinstance(models.catalogue()["theirs"], ModelDefinition)


def test_an_installed_distribution_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> ModuleType:
        raise ImportError("gone")

    _installed(monkeypatch, _EntryPoint("theirs", load))
    with pytest.raises(ConfigurationError, match="'theirs' does not import: ImportError: gone"):
        models.catalogue()


def test_an_operation_without_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "mine.py").write_text(
        "from sightline.operations import Operation\n"
        "class Nameless(Operation):\n"
        "    async def run(self, scene, params, models): ...\n"
        "OPERATIONS = (Nameless(),)\n"
    )
    with pytest.raises(
        ConfigurationError, match=r"operations\.mine\.OPERATIONS holds an entry without a name"
    ):
        operations.catalogue(tmp_path)
