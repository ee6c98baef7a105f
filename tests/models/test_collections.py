from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline.collections import Classifier, Collection, Collections, Recipe, Space
from sightline.errors import CollectionDamaged, UnknownCollection
from sightline.models import Runs
from sightline.models import collections as module
from sightline.settings import Settings
from sightline.types import Provenance

RECIPE = Recipe((Space("clip-vit-b-32", "0123456789abcdef"),), 4)


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collections(tmp_path / "collections").collection(7)


@pytest.fixture
def ask(tmp_path: Path, clock: Clock) -> Callable[[str], Classifier]:
    """What serves for an id, a second after the last question."""
    connection = module.connect(Settings(models_dir=tmp_path))
    assert connection.provenance is Provenance.TRAINED

    def answer(name: str = "7") -> Classifier:
        clock.now += 1
        (classifier,) = connection.model.infer([connection.model.prepare(name)])  # type: ignore[union-attr]
        return classifier

    return answer


def store(collection: Collection, weight: float) -> str:
    with collection.changing() as change:
        added = change.add(RECIPE, np.full(4, weight), 0.0, origin="trained", trained_at=None)
        change.promote(added.record.version)
    return added.record.version


def test_it_answers_on_the_event_loop() -> None:
    (definition,) = module.MODELS
    assert definition.card.runs is Runs.IN_LOOP
    assert definition.load is None


def test_a_folder_that_is_not_there_has_no_collections(ask: Callable[..., Classifier]) -> None:
    for name in ("7", "8", "../7", "", "x" * 1000):
        with pytest.raises(UnknownCollection):
            ask(name)


def test_a_collection_is_known_as_soon_as_it_is_trained(
    ask: Callable[..., Classifier], collection: Collection
) -> None:
    with pytest.raises(UnknownCollection):
        ask()
    store(collection, 1.0)
    assert ask().weights[0] == 1.0


def test_the_version_promoted_last_serves_without_a_restart(
    ask: Callable[..., Classifier], collection: Collection
) -> None:
    first = store(collection, 1.0)
    kept = ask()
    assert ask() is kept, "what did not change is not read again"
    store(collection, 2.0)
    assert ask().weights[0] == 2.0
    with collection.changing() as change:
        change.promote(first)
    assert ask().weights[0] == 1.0


def test_it_does_not_look_at_the_disk_for_every_question(
    ask: Callable[..., Classifier], collection: Collection, clock: Clock
) -> None:
    store(collection, 1.0)
    ask()
    store(collection, 2.0)
    clock.now -= 1  # the next question comes in the same instant
    assert ask().weights[0] == 1.0
    assert ask().weights[0] == 2.0


def test_a_damaged_new_version_never_replaces_the_one_that_serves(
    ask: Callable[..., Classifier], collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    first = store(collection, 1.0)
    ask()
    second = store(collection, 2.0)
    (collection.root / f"7/versions/{second}.npz").write_bytes(b"damaged")
    for _ in range(3):
        assert ask().weights[0] == 1.0
    assert [record.levelname for record in caplog.records] == ["ERROR"], "said once"
    assert f"version {first} goes on serving" in caplog.text
    store(collection, 3.0)
    assert ask().weights[0] == 3.0


def test_a_damaged_index_does_not_end_what_serves(
    ask: Callable[..., Classifier], collection: Collection
) -> None:
    store(collection, 1.0)
    ask()
    (collection.root / "7/index.json").write_text("{}")
    assert ask().weights[0] == 1.0


def test_damage_is_said_where_nothing_served_yet(
    ask: Callable[..., Classifier], collection: Collection
) -> None:
    version = store(collection, 1.0)
    path = collection.root / f"7/versions/{version}.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    for _ in range(2):
        with pytest.raises(CollectionDamaged, match=version):
            ask()
    path.write_bytes(whole)
    assert ask().weights[0] == 1.0


def test_a_collection_that_vanished_is_unknown(
    ask: Callable[..., Classifier], collection: Collection
) -> None:
    store(collection, 1.0)
    ask()
    shutil.rmtree(collection.root / "7")
    with pytest.raises(UnknownCollection):
        ask()
    store(collection, 2.0)
    assert ask().weights[0] == 2.0


def test_collections_do_not_disturb_each_other(
    ask: Callable[..., Classifier], collection: Collection, tmp_path: Path
) -> None:
    store(collection, 1.0)
    store(Collections(collection.root).collection("cats"), 2.0)
    assert (ask("7").weights[0], ask("cats").weights[0]) == (1.0, 2.0)
    (collection.root / "cats/index.json").unlink()
    with pytest.raises(UnknownCollection):
        ask("cats")
    assert ask("7").weights[0] == 1.0
