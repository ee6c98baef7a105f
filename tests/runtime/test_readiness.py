"""Which operations can answer now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sightline import models, operations
from sightline.models import ModelDefinition
from sightline.operations import Operation
from sightline.runtime.directory import Directory
from sightline.runtime.readiness import Readiness, download_bytes, download_words, readiness, summary
from sightline.settings import Settings
from sightline.weights.sources import Artifact, HubFile
from sightline.weights.store import Store


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    return Settings(models_dir=tmp_path / "models")


def _entries(settings: Settings) -> dict[str, Readiness]:
    entries = readiness(
        operations.catalogue().values(), models.catalogue(), Store.from_settings(settings), settings
    )
    return {entry.operation: entry for entry in entries}


@pytest.mark.parametrize("operation", operations.catalogue().values(), ids=lambda each: each.name)
def test_every_default_space_is_one_that_a_model_has(operation: Operation[Any, Any]) -> None:
    directory = Directory(models.catalogue(), Settings())
    for capability, space in operation.default_spaces.items():
        assert capability in operation.needs
        assert directory.find(capability, space)


def test_nothing_is_ready_on_an_empty_disk_but_what_needs_no_file(empty: Settings) -> None:
    entries = _entries(empty)
    assert set(entries) == set(operations.catalogue())
    assert not entries["geolocate"].ready
    assert entries["geolocate"].missing == ("geoclip", "places")


def test_installed_models_make_an_operation_ready(models_dir: Path) -> None:
    entry = _entries(Settings(models_dir=models_dir, allow_random_weights=True))["embed_clip"]
    assert entry.ready
    assert entry.download_bytes == 0


def test_questions_need_a_download_and_no_setting(empty: Settings) -> None:
    asked = _entries(empty)["ask"]
    assert (asked.ready, asked.lacking, asked.models) == (False, None, asked.missing)
    assert asked.download == "size unknown"


def _twice(name: str, definition: ModelDefinition, digest: str) -> ModelDefinition:
    shared = Artifact("weights.bin", (HubFile("org/repo", "weights.bin"),), sha256=digest, size_bytes=1000)
    return ModelDefinition(replace(definition.card, name=name, artifacts=(shared,)), definition.load)


def test_a_file_that_two_models_share_is_counted_once() -> None:
    known = models.catalogue()["clip-vit-b-32"]
    pair: Mapping[str, ModelDefinition] = {name: _twice(name, known, "0" * 64) for name in ("left", "right")}
    assert download_bytes(pair, pair) == 1000
    apart = {"left": pair["left"], "right": _twice("right", known, "1" * 64)}
    assert download_bytes(apart, apart) == 2000
    assert download_words(apart, apart) == "0 MB"


def test_a_size_that_is_unknown_is_said_as_a_lower_bound() -> None:
    known = models.catalogue()
    assert download_bytes(known, ["speciesnet-v4.0.3a"]) is None
    assert download_words(known, ["speciesnet-v4.0.3a", "geoclip"]).startswith("over 1.7")


def test_the_summary_has_a_line_for_each_state() -> None:
    entries = [
        Readiness("now", ("a",), (), 0, None),
        Readiness("later", ("b",), ("b",), 2_000_000, None, "2 MB"),
        Readiness("unknown", ("c",), ("c",), None, None, "over 1 MB"),
        Readiness("never", (), (), 0, "set KEY"),
    ]
    now, later, setting = summary(entries)
    assert "now" in now
    assert "later (2 MB)" in later
    assert "unknown (over 1 MB)" in later
    assert "never (set KEY)" in setting
    assert summary([]) == []


@pytest.mark.parametrize("operation", operations.catalogue().values(), ids=lambda each: each.name)
def test_optional_needs_are_needs_and_leave_some(operation: Operation[Any, Any]) -> None:
    assert set(operation.optional_needs) <= set(operation.needs)
    assert operation.default_needs


def test_faces_do_not_wait_for_the_detector_of_people(empty: Settings) -> None:
    entries = _entries(empty)
    assert entries["detect_faces"].missing == ("mtcnn",)
    assert entries["detect_bounding_box"].models == ("fasterrcnn-resnet50-fpn",)


def test_the_docs_list_every_word_that_models_are_pulled_by() -> None:
    page = (Path(__file__).parents[2] / "docs/own-weights.md").read_text("utf-8")
    words = {word for operation in operations.catalogue().values() for word in operation.purposes}
    assert {word for word in words if f"`{word}`" not in page} == set()
