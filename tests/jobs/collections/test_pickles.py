from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from sightline.collections import Collections, Space
from sightline.errors import InvalidRequest, UnknownCollection
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.pickles import OldEntry, import_pickle, old_entries
from sightline.jobs.collections.training import train
from sightline.types import Target

Made = Callable[..., Examples]
NAME = "collection_12_classifier_20250630_183059.pkl"


@pytest.fixture
def old(made: Made) -> LogisticRegression:
    """As the old service trains them."""
    found = made()
    model = LogisticRegression(class_weight="balanced", C=0.1, solver="liblinear", random_state=42)
    return model.fit(found.vectors, found.labels)


@pytest.fixture
def folder(tmp_path: Path, old: LogisticRegression) -> Path:
    """The old service's folder of classifiers, without an index."""
    folder = tmp_path / "trained_classifiers"
    folder.mkdir()
    joblib.dump(old, folder / NAME)
    return folder


def index(folder: Path, entries: Any) -> Path:
    path = folder / "best_models.json"
    path.write_text(json.dumps(entries))
    return path


def entry(**fields: Any) -> dict[str, Any]:
    usual = {"derivative_type": "whole_image", "embedding_type": "embed_clip_vit_b_32", "dimensionality": 32}
    return {"model_file": NAME, **usual, **fields}


def test_the_same_probabilities_from_plain_numbers(
    folder: Path, collections: Collections, old: LogisticRegression
) -> None:
    imported = import_pickle(folder / NAME, collections, trusted=True)
    served = collections.collection(12).serving()
    assert served.record == imported.record
    strangers = np.random.default_rng(1).normal(0, 4, (200, 32)).astype(np.float32)
    np.testing.assert_allclose(
        served.probabilities(strangers), old.predict_proba(strangers)[:, 1], atol=1e-6, rtol=0
    )
    record = served.record
    assert record.origin == f"imported from {NAME}"
    assert record.trained_at == "2025-06-30T18:30:59"
    assert record.recipe.spaces == (Space("clip-vit-b-32"),)
    assert (record.threshold, record.held_out, record.examples) == (0.5, None, None)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_pickles_of_any_protocol(
    folder: Path, collections: Collections, old: LogisticRegression, protocol: int
) -> None:
    (folder / NAME).write_bytes(pickle.dumps(old, protocol=protocol))
    imported = import_pickle(folder / NAME, collections, trusted=True)
    np.testing.assert_array_equal(imported.weights, old.coef_[0])


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was opened",))


def test_nothing_is_unpickled_unless_somebody_vouches_for_it(folder: Path, collections: Collections) -> None:
    (folder / NAME).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InvalidRequest, match=r"runs the code in it: say that you trust"):
        import_pickle(folder / NAME, collections, trusted=False)
    assert collections.names() == []


# -- what it was trained on --------------------------------------------------------------------------------


def test_the_index_says_what_it_was_trained_on(folder: Path, collections: Collections) -> None:
    index(folder, {"12": entry(derivative_type="prominent_face")})
    record = import_pickle(folder / NAME, collections, trusted=True).record
    assert record.collection == "12"
    assert record.recipe.target is Target.PROMINENT_FACE


def test_several_embeddings_in_their_order(folder: Path, collections: Collections) -> None:
    index(folder, {"12": entry(embedding_type="embed_dino_v2+embed_clip_vit_b_32")})
    record = import_pickle(folder / NAME, collections, trusted=True).record
    # That service embeds with DINOv2 at 518 pixels.
    assert [space.name for space in record.recipe.spaces] == ["dinov2-base-518", "clip-vit-b-32"]


def test_the_first_form_of_the_index_is_a_file_name(folder: Path, collections: Collections) -> None:
    index(folder, {"12": f"trained_classifiers/{NAME}"})
    record = import_pickle(folder / NAME, collections, trusted=True).record
    assert record.recipe.spaces == (Space("clip-vit-b-32"),)
    assert record.recipe.target is Target.WHOLE_IMAGE


def test_other_versions_of_a_collection_are_taken_to_be_like_its_best(
    folder: Path, collections: Collections
) -> None:
    index(folder, {"12": entry(model_file="another.pkl", derivative_type="prominent_person")})
    record = import_pickle(folder / NAME, collections, trusted=True).record
    assert record.recipe.target is Target.PROMINENT_PERSON


def test_the_name_alone_says_which_collection(folder: Path, collections: Collections) -> None:
    shutil.copy(folder / NAME, folder / "collection_9_compatible_classifier.pkl")
    record = import_pickle(
        folder / "collection_9_compatible_classifier.pkl", collections, trusted=True
    ).record
    assert (record.collection, record.trained_at) == ("9", None)


def test_a_file_of_any_name_needs_an_index_or_a_word(folder: Path, collections: Collections) -> None:
    path = folder / "OLD.pkl"
    shutil.copy(folder / NAME, path)
    with pytest.raises(InvalidRequest, match=r"OLD\.pkl is of is not known.*best_models\.json"):
        import_pickle(path, collections, trusted=True)
    said = OldEntry("cats", path.name, Target.PROMINENT_PERSON)
    assert import_pickle(path, collections, trusted=True, entry=said).record.collection == "cats"
    index(folder, {"77": entry(model_file="OLD.pkl")})
    assert import_pickle(path, collections, trusted=True).record.collection == "77"


def test_whoever_knows_the_model_of_the_vectors_can_say_so(folder: Path, collections: Collections) -> None:
    known = {"clip-vit-b-32": "0123456789abcdef"}
    imported = import_pickle(folder / NAME, collections, trusted=True, fingerprints=known)
    assert imported.of_unknown_origin == ()
    assert imported.recipe.spaces == (Space("clip-vit-b-32", "0123456789abcdef"),)


def test_entries_of_both_forms(folder: Path) -> None:
    listed = {
        "1": "one.pkl",
        "2": entry(model_file="a\\two.pkl", derivative_type=None),
        "3": {"model_file": "3.pkl"},
    }
    assert old_entries(index(folder, listed)) == [
        OldEntry("1", "one.pkl"),
        OldEntry("2", "two.pkl", dimensions=32),
        OldEntry("3", "3.pkl"),
    ]


# -- serving -----------------------------------------------------------------------------------------------


def test_what_serves_goes_on_unless_told(folder: Path, collections: Collections, made: Made) -> None:
    collection = collections.collection(12)
    trained = train(collection, made()).trained.record
    imported = import_pickle(folder / NAME, collections, trusted=True).record
    assert collection.serving().record == trained
    assert imported.version in collection.versions()
    again = import_pickle(folder / NAME, collections, trusted=True, promote=True).record
    assert collection.serving().record == again


def test_an_imported_version_takes_part_in_the_next_comparison(
    folder: Path, collections: Collections, made: Made
) -> None:
    imported = import_pickle(folder / NAME, collections, trusted=True).record
    done = train(collections.collection(12), made(seed=2))
    assert {ranked.version for ranked in done.ranking} == {imported.version, done.trained.record.version}


def test_it_can_be_stored_without_serving(folder: Path, collections: Collections) -> None:
    import_pickle(folder / NAME, collections, trusted=True, promote=False)
    with pytest.raises(UnknownCollection):
        collections.collection(12).serving()


# -- what goes wrong ---------------------------------------------------------------------------------------


def several(classes: list[object]) -> LogisticRegression:
    vectors = np.eye(len(classes))
    return LogisticRegression().fit(vectors, np.array(classes))


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a dictionary": (lambda: {"weights": [1]}, "a dict cannot be imported"),
    "never fitted": (LogisticRegression, "a LogisticRegression cannot be imported: it is not a fitted"),
    "a regression": (lambda: LinearRegression().fit([[0.0], [1.0]], [0, 1]), "a LinearRegression cannot"),
    "no classes": (lambda: Ridge().fit([[0.0], [1.0]], [0, 1]), "a Ridge cannot"),
    "three classes": (lambda: several([0, 1, 2]), "tells 0, 1, 2 apart"),
    "other classes": (lambda: several(["cat", "dog"]), "tells cat, dog apart"),
    "distances": (lambda: LinearSVC().fit([[0.0], [1.0]], [0, 1]), "a LinearSVC cannot"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_models_are_refused(folder: Path, collections: Collections, name: str) -> None:
    make, message = WRONG[name]
    joblib.dump(make(), folder / NAME)
    with pytest.raises(InvalidRequest, match=message):
        import_pickle(folder / NAME, collections, trusted=True)
    assert collections.names() == []


def test_numbers_that_are_not_finite_are_refused(
    folder: Path, collections: Collections, old: LogisticRegression
) -> None:
    old.coef_[0, 3] = np.nan
    joblib.dump(old, folder / NAME)
    with pytest.raises(InvalidRequest, match="finite"):
        import_pickle(folder / NAME, collections, trusted=True)


@pytest.mark.parametrize("data", [b"", b"not a pickle", b"\x80\x05"])
def test_what_is_no_pickle(folder: Path, collections: Collections, data: bytes) -> None:
    (folder / NAME).write_bytes(data)
    with pytest.raises(InvalidRequest, match=f"{NAME} does not open as a pickle"):
        import_pickle(folder / NAME, collections, trusted=True)


def test_a_file_that_is_not_there(folder: Path, collections: Collections) -> None:
    with pytest.raises(InvalidRequest, match=r"no file collection_3_classifier\.pkl"):
        import_pickle(folder / "collection_3_classifier.pkl", collections, trusted=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dimensionality": 512}, "has 32 weights, and its index says 512"),
        ({"dimensionality": "32"}, "dimensionality, a number"),
        ({"derivative_type": "left_hand"}, "derivative_type 'left_hand'; known are whole_image"),
        ({"embedding_type": "embed_auraface"}, "'embed_auraface', which has no counterpart here"),
        ({"embedding_type": "embed_clip_vit_b_32+"}, "no counterpart"),
        ({"model_file": None}, "must be a file name, or an object"),
    ],
)
def test_an_index_that_does_not_fit(
    folder: Path, collections: Collections, fields: dict[str, Any], message: str
) -> None:
    index(folder, {"12": entry(**fields)})
    with pytest.raises(InvalidRequest, match=message):
        import_pickle(folder / NAME, collections, trusted=True)
    assert collections.names() == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"12": 5}', "[" * 100_000])
def test_an_index_that_cannot_be_read(folder: Path, text: str) -> None:
    path = folder / "best_models.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=r"best_models\.json"):
        old_entries(path)


def test_an_id_that_cannot_be_one(folder: Path, collections: Collections) -> None:
    index(folder, {"../12": entry()})
    with pytest.raises(UnknownCollection):
        import_pickle(folder / NAME, collections, trusted=True)
