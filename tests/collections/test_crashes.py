"""A process may be killed between any two steps, and a disk may change any byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.collections import Classifier, Collection, Collections, Ranked, Scores
from sightline.errors import CollectionDamaged, SightlineError

Add = Callable[..., Classifier]
OLD, NEW = 1.0, 2.0
STEPS = ("fsync", "replace", "unlink")
# Three for each of the npz, the json and the index, and three for deleting a version.
STEPS_OF_A_CHANGE = 12
VECTOR = np.ones(8, np.float32)


class Killed(BaseException):
    """Nothing catches it, and nothing of what comes after happens."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Kills when the disk is about to be told something for the n-th time, counted from 0."""

    def arrange(step: int) -> None:
        steps = iter(range(10**6))
        killed: list[bool] = []

        def guarded(function: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                if killed or next(steps) == step:
                    killed.append(True)
                    raise Killed
                return function(*args, **kwargs)

            return call

        for name in STEPS:
            monkeypatch.setattr(os, name, guarded(getattr(os, name)))

    return arrange


def change_everything(collection: Collection, add: Add) -> None:
    """Store a version, let it serve, delete the oldest: all that a training does to the disk."""
    with collection.changing() as change:
        recipe = collection.serving().recipe
        new = change.add(recipe, np.full(8, NEW), 0.25, origin="trained", trained_at=None)
        change.publish([Ranked(new.record.version, Scores(1, 1, 1, 1, 4, 2))])
        change.discard([collection.versions()[0]])


@pytest.mark.parametrize("step", range(STEPS_OF_A_CHANGE + 1))
def test_killed_at_any_step_one_whole_version_serves(
    collection: Collection,
    add: Add,
    step: int,
    killed_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        add(collection, OLD)
    with monkeypatch.context():
        killed_at(step)
        try:
            change_everything(collection, add)
        except Killed:
            finished = False
        else:
            finished = True
        monkeypatch.undo()
    assert finished == (step == STEPS_OF_A_CHANGE)
    found = collection.serving().weights[0]
    assert found == NEW if finished else found in (OLD, NEW)
    # Whoever comes next clears up and goes on.
    after = add(collection, 3.0)
    assert collection.serving().record == after.record
    for version in collection.versions():
        collection.read(version)
    left = {path.suffix for path in (collection.root / "7").rglob("*") if path.is_file()}
    assert left == {".json", ".npz"}
    assert len(list((collection.root / "7/versions").glob("*.npz"))) == len(collection.versions())


def test_killed_after_writing_and_before_promoting_the_old_version_serves(
    collection: Collection, add: Add
) -> None:
    add(collection, OLD)
    add(collection, NEW, promote=False)
    assert collection.serving().weights[0] == OLD
    assert len(collection.versions()) == 2, "the new one takes part in the next comparison"


# -- damage ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collections]:
    collections = Collections(tmp_path_factory.mktemp("whole"))
    from sightline.collections import Recipe, Space

    with collections.collection(7).changing() as change:
        recipe = Recipe((Space("clip-vit-b-32", "0123456789abcdef"),), 8)
        stored = change.add(
            recipe, np.linspace(-1, 1, 8), 0.25, origin="trained", trained_at=None, threshold=0.375
        )
        change.promote(stored.record.version)
    return collections


def damaged(data: bytes, how: str, place: int, byte: int) -> bytes:
    place %= len(data)
    if how == "changed":
        return data[:place] + bytes([byte]) + data[place + 1 :]
    if how == "inserted":
        return data[:place] + bytes([byte]) + data[place:]
    if how == "removed":
        return data[:place] + data[place + 1 :]
    if how == "zeroed":
        return data[:place] + bytes(min(16, len(data) - place)) + data[place + 16 :]
    return data[:place]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["index.json", "*.json", "*.npz"]),
    how=st.sampled_from(["changed", "inserted", "removed", "zeroed", "cut"]),
    place=st.integers(0, 10**6),
    byte=st.integers(0, 255),
)
def test_damage_is_noticed_or_changes_nothing(
    whole: Collections, tmp_path: Path, kind: str, how: str, place: int, byte: int
) -> None:
    right = whole.collection(7).serving()
    root = tmp_path / "damaged"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole.root, root)
    (path,) = (root / "7").glob(kind) if kind == "index.json" else (root / "7/versions").glob(kind)
    path.write_bytes(damaged(path.read_bytes(), how, place, byte))
    try:
        served = Collections(root).collection(7).serving()
    except CollectionDamaged:
        return
    assert served.record == right.record
    fingerprint = ["0123456789abcdef"]
    assert served.judge([VECTOR], fingerprint) == right.judge([VECTOR], fingerprint)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), kind=st.sampled_from(["index.json", "*.json", "*.npz"]))
def test_any_bytes_in_place_of_a_file_are_noticed(
    whole: Collections, tmp_path: Path, data: bytes, kind: str
) -> None:
    root = tmp_path / "replaced"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole.root, root)
    (path,) = (root / "7").glob(kind) if kind == "index.json" else (root / "7/versions").glob(kind)
    path.write_bytes(data)
    with pytest.raises(SightlineError):
        Collections(root).collection(7).serving()
