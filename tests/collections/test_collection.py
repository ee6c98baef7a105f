from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline.collections import Classifier, Collection, Collections, Ranked, Recipe, Scores
from sightline.errors import CollectionBusy, CollectionDamaged, CollectionError, UnknownCollection
from sightline.settings import Settings

Add = Callable[..., Classifier]
SCORES = Scores(0.9, 0.8, 0.85, 0.95, 20, 10)


def files(collection: Collection) -> set[str]:
    folder = collection.root / collection.name
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# -- where -------------------------------------------------------------------------------------------------


def test_collections_lie_in_the_models_folder_unless_told_otherwise(tmp_path: Path) -> None:
    assert Collections.from_settings(Settings(models_dir=tmp_path)).root == tmp_path / "collections"
    elsewhere = Settings(models_dir=tmp_path, collections_dir=tmp_path / "mine")
    assert Collections.from_settings(elsewhere).root == tmp_path / "mine"


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "../7", "a\\b", ".locks", "7\n", "x" * 65, "-1", "café", "a\0"]
)
def test_what_cannot_be_a_collection_is_unknown(collections: Collections, name: str) -> None:
    with pytest.raises(UnknownCollection):
        collections.collection(name)


def test_a_number_and_its_digits_are_one_collection(collections: Collections) -> None:
    assert collections.collection(7) == collections.collection("7")


def test_stored_collections_are_listed_numbers_first(collections: Collections, add: Add) -> None:
    assert collections.names() == []
    for name in ("zebra", "10", "9", "apple"):
        add(collections.collection(name))
    assert collections.names() == ["9", "10", "apple", "zebra"]


def test_nothing_is_known_before_the_first_version(collection: Collection) -> None:
    assert collection.versions() == []
    assert collection.signature() is None
    for ask in (collection.index, collection.serving):
        with pytest.raises(UnknownCollection, match="'7'"):
            ask()
    with pytest.raises(CollectionError, match="there are none"):
        collection.read("20261121T000000Z")


# -- versions ----------------------------------------------------------------------------------------------


def test_a_version_is_read_as_it_was_stored(collection: Collection, add: Add, recipe: Recipe) -> None:
    stored = add(collection, 0.1, examples=100, positives=40, held_out=SCORES, threshold=0.3)
    read = collection.serving()
    assert read.record == stored.record
    assert read.fingerprint == stored.fingerprint
    assert read.weights.tobytes() == np.full(8, 0.1).tobytes()
    assert read.intercept == 0.25
    assert (read.record.held_out, read.record.threshold) == (SCORES, 0.3)
    assert read.recipe == recipe
    assert files(collection) == {
        "index.json",
        f"versions/{read.record.version}.json",
        f"versions/{read.record.version}.npz",
    }


def test_versions_of_one_second_have_names_of_their_own(collection: Collection, add: Add) -> None:
    names = [add(collection).record.version for _ in range(12)]
    assert len(set(names)) == 12
    assert collection.versions() == names


def test_a_version_serves_only_once_it_is_promoted(collection: Collection, add: Add) -> None:
    first = add(collection)
    second = add(collection, promote=False)
    assert collection.serving().record == first.record
    before = collection.signature()
    with collection.changing() as change:
        assert change.promote(second.record.version).record == second.record
    assert collection.serving().record == second.record
    assert collection.signature() != before


def test_the_ranking_is_recorded_and_the_best_serves(collection: Collection, add: Add) -> None:
    first, second = add(collection), add(collection)
    ranking = [Ranked(first.record.version, SCORES), Ranked(second.record.version, SCORES)]
    with collection.changing() as change:
        change.publish(ranking)
    index = collection.index()
    assert index.serving == first.record.version
    assert list(index.ranking) == ranking
    with collection.changing() as change:
        change.promote(second.record.version)
    assert list(collection.index().ranking) == ranking, "what was measured stays measured"


def test_going_back_as_often_as_there_were_versions(collection: Collection, add: Add) -> None:
    versions = [add(collection).record.version for _ in range(3)]
    for earlier in (versions[1], versions[0]):
        with collection.changing() as change:
            assert change.roll_back().record.version == earlier
        assert collection.serving().record.version == earlier
    with collection.changing() as change, pytest.raises(CollectionError, match="no earlier version"):
        change.roll_back()
    assert collection.serving().record.version == versions[0]


def test_going_back_passes_over_what_was_deleted(collection: Collection, add: Add) -> None:
    first, second, _ = (add(collection).record.version for _ in range(3))
    with collection.changing() as change:
        change.discard([second])
        assert change.roll_back().record.version == first


def test_going_back_to_a_damaged_version_is_refused(collection: Collection, add: Add) -> None:
    first, second = (add(collection).record.version for _ in range(2))
    (collection.root / "7/versions" / f"{first}.npz").write_bytes(b"")
    with collection.changing() as change, pytest.raises(CollectionDamaged):
        change.roll_back()
    assert collection.serving().record.version == second


def test_the_version_that_serves_is_never_deleted(collection: Collection, add: Add) -> None:
    first, second = (add(collection).record.version for _ in range(2))
    with collection.changing() as change:
        change.discard([first, second])
    assert collection.versions() == [second]
    assert collection.serving().record.version == second


def test_what_cannot_be_recorded_is_said_and_stores_nothing(collection: Collection, add: Add) -> None:
    with pytest.raises(CollectionError, match="origin"):
        add(collection, origin="two\nlines")
    assert collection.versions() == []


@pytest.mark.parametrize("version", ["20200101T000000Z", "nonsense", "../../8/versions/20200101T000000Z"])
def test_promoting_what_is_not_there_names_what_is(collection: Collection, add: Add, version: str) -> None:
    stored = add(collection).record.version
    with collection.changing() as change, pytest.raises(CollectionError, match=f"there are {stored}"):
        change.promote(version)
    assert collection.serving().record.version == stored


# -- damage ------------------------------------------------------------------------------------------------


def damage(collection: Collection, classifier: Classifier, kind: str) -> None:
    """Change one byte in the middle of a file of a version."""
    path = collection.root / collection.name / "versions" / f"{classifier.record.version}.{kind}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_a_damaged_version_is_not_promoted_and_the_old_one_serves(
    collection: Collection, add: Add, kind: str
) -> None:
    old = add(collection)
    new = add(collection, promote=False)
    damage(collection, new, kind)
    with collection.changing() as change, pytest.raises(CollectionDamaged, match=new.record.version):
        change.promote(new.record.version)
    assert collection.serving().record == old.record


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_a_damaged_version_is_not_served(collection: Collection, add: Add, kind: str) -> None:
    damage(collection, add(collection), kind)
    with pytest.raises(CollectionDamaged, match=r"collection 7 is damaged.*promote another version or train"):
        collection.serving()


def test_no_message_tells_where_files_lie(collection: Collection, add: Add) -> None:
    damage(collection, add(collection), "json")
    with pytest.raises(CollectionDamaged) as caught:
        collection.serving()
    assert str(collection.root) not in str(caught.value)


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_a_missing_file_is_damage(collection: Collection, add: Add, kind: str) -> None:
    version = add(collection).record.version
    (collection.root / "7/versions" / f"{version}.{kind}").unlink()
    with pytest.raises(CollectionDamaged, match=version):
        collection.serving()


def test_versions_and_indices_of_another_collection_are_damage(
    collections: Collections, collection: Collection, add: Add
) -> None:
    add(collection)
    shutil.copytree(collections.root / "7", collections.root / "8")
    other = collections.collection(8)
    with pytest.raises(CollectionDamaged, match="collection 8 has the index of collection 7"):
        other.index()
    with pytest.raises(CollectionDamaged, match="another collection"):
        other.read(other.versions()[0])


def test_promoting_is_the_way_out_of_a_damaged_index(collection: Collection, add: Add) -> None:
    version = add(collection).record.version
    (collection.root / "7/index.json").write_text("{}")
    with pytest.raises(CollectionDamaged, match="index"):
        collection.serving()
    with collection.changing() as change:
        change.promote(version)
    assert collection.serving().record.version == version


def test_an_index_that_is_a_folder_is_damage(collection: Collection) -> None:
    (collection.root / "7/index.json").mkdir(parents=True)
    with pytest.raises(CollectionDamaged, match="cannot be read"):
        collection.index()


# -- one at a time -----------------------------------------------------------------------------------------


def test_a_second_change_is_refused_and_the_first_goes_on(collection: Collection, recipe: Recipe) -> None:
    with collection.changing() as change:
        with pytest.raises(CollectionBusy, match="collection 7 is being trained"), collection.changing():
            pytest.fail("two held it")
        stored = change.add(recipe, np.ones(8), 0.0, origin="trained", trained_at=None)
        change.promote(stored.record.version)
    assert collection.serving().record == stored.record


HOLD = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_counts_too_and_other_collections_do_not(
    collections: Collections, collection: Collection, add: Add
) -> None:
    add(collection)
    command = [sys.executable, "-c", HOLD, str(collections.root / ".locks/7.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CollectionBusy):
            add(collection)
        add(collections.collection(8))
        assert collection.serving(), "reading needs no lock"
        other.communicate()
    add(collection)


def test_the_lock_is_let_go_when_a_change_fails(collection: Collection, add: Add) -> None:
    with pytest.raises(ZeroDivisionError), collection.changing():
        raise ZeroDivisionError
    add(collection)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    collection = Collections(tmp_path / "file").collection(7)
    with pytest.raises(CollectionError, match="SIGHTLINE_COLLECTIONS_DIR"), collection.changing():
        pytest.fail("it was not written")


# -- a version that goes while it is being read ------------------------------------------------------------


def test_a_reader_overtaken_by_a_training_reads_again(
    collection: Collection, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(collection).record.version
    read = Collection.read

    def overtaken(self: Collection, version: str) -> Classifier:
        if version == first and self.index().serving == first:
            monkeypatch.setattr(Collection, "read", read)
            newest = add(collection, 2.0)
            with collection.changing() as change:
                change.discard([first])
            assert newest.record.version != first
        return read(self, version)

    monkeypatch.setattr(Collection, "read", overtaken)
    assert collection.serving().weights[0] == 2.0
