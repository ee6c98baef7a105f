from __future__ import annotations

import pytest

from sightline.errors import ConfigurationError
from sightline.weights.manifest import FileRecord
from sightline.weights.sources import Built

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "manifest.json", "a\n", "x" * 101])
def test_names_that_cannot_be_files_are_refused(wanted, name):
    with pytest.raises(ConfigurationError, match="cannot be the name of an artifact"):
        wanted(name)


@pytest.mark.parametrize("model", ["", "Demo", "a/b", "..", "x@random", "x" * 65])
def test_names_that_cannot_be_models_are_refused(wanted, model):
    with pytest.raises(ConfigurationError, match="cannot be a model's name"):
        wanted("a", model=model)


def test_two_artifacts_of_one_name_are_refused(wanted):
    with pytest.raises(ConfigurationError, match="same name"):
        wanted("a", "a")


def test_the_instructions_name_every_way_in(wanted):
    assert wanted("a").instructions == (
        "`sightline models pull demo` where a network exists, `sightline models pull demo --from PATH` or "
        "`sightline models import BUNDLE`"
    )


def test_which_files_still_fit_the_card(wanted, artifact):
    built = artifact("table.npy", Built(("raw.bin",), lambda *_: None))
    card = wanted(artifact("model.onnx", sha256=A), artifact("raw.bin", sha256=A, intermediate=True), built)
    fits = [
        ("model.onnx", FileRecord(A, 1, "hub", fetched=True)),
        ("model.onnx", FileRecord(B, 1, "elsewhere")),
        ("table.npy", FileRecord(B, 1, "built", inputs={"raw.bin": A})),
    ]
    unfit = [
        ("model.onnx", FileRecord(B, 1, "hub", fetched=True)),
        ("table.npy", FileRecord(B, 1, "built", inputs={"raw.bin": B})),
        ("table.npy", FileRecord(B, 1, "built", inputs={"gone.bin": A})),
        ("gone.onnx", FileRecord(A, 1, "hub", fetched=True)),
    ]
    assert all(card.accepts(name, record) for name, record in fits)
    assert not any(card.accepts(name, record) for name, record in unfit)
    assert [item.name for item in card.kept] == ["model.onnx", "table.npy"]
