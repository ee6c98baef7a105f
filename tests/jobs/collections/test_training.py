from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sightline.collections import Collection, Space
from sightline.errors import CollectionBusy, ConfigurationError
from sightline.jobs.collections.examples import Examples, examples
from sightline.jobs.collections.training import KEPT_VERSIONS, split, train

Made = Callable[..., Examples]


def test_a_training_stores_measures_and_serves(collection: Collection, made: Made) -> None:
    steps: list[str] = []
    done = train(collection, made(), origin="trained on photos", report=steps.append)
    record = done.trained.record
    assert collection.serving().record == record == done.serving.record
    assert (record.examples, record.positives) == (192, 64)
    assert record.origin == "trained on photos"
    assert record.trained_at is not None
    assert datetime.fromisoformat(record.trained_at).tzinfo is not None
    assert record.held_out is not None
    assert (record.held_out.examples, record.held_out.positives) == (48, 16)
    assert record.held_out.macro_precision > 0.95
    assert [ranked.version for ranked in done.ranking] == [record.version]
    assert done.ranking[0].held_out == record.held_out
    assert collection.index().ranking == done.ranking
    assert steps == [
        "fitting 192 examples",
        "measuring on 48 held-out examples",
        "comparing with earlier versions",
    ]


def test_it_is_scikit_learns_classifier(collection: Collection, made: Made) -> None:
    """The constants of the service it replaces, written out, and the served form's probabilities."""
    found = made(2.0)
    learnt, _, labels, _ = train_test_split(
        found.vectors, found.labels, test_size=0.2, random_state=42, stratify=found.labels
    )
    reference = LogisticRegression(class_weight="balanced", C=0.1, solver="liblinear", random_state=42)
    reference.fit(learnt, labels)
    train(collection, found)
    served = collection.serving()
    strangers = np.random.default_rng(5).normal(0, 4, (500, 32)).astype(np.float32)
    expected = reference.predict_proba(strangers)[:, 1]
    np.testing.assert_allclose(served.probabilities(strangers), expected, atol=1e-6, rtol=0)
    judged = [served.judge([vector], ["0123456789abcdef"]) for vector in strangers]
    np.testing.assert_allclose([each.probability for each in judged], expected, atol=1e-6, rtol=0)
    assert [each.score > 0 for each in judged] == reference.predict(strangers).tolist()


def test_the_split_is_stratified_and_always_the_same(made: Made) -> None:
    found = made(count=100)
    (learnt, held_out), again = split(found), split(found)
    assert (len(learnt), len(held_out)) == (80, 20)
    assert (learnt.positives, held_out.positives) == (27, 7)
    assert np.array_equal(held_out.vectors, again[1].vectors)


def test_the_fewest_examples_that_are_taken_can_be_split_and_learnt(collection: Collection) -> None:
    generator = np.random.default_rng(0)
    for inside, outside in ((5, 5), (5, 100), (100, 5)):
        labels = np.arange(inside + outside) < inside
        vectors = generator.normal(size=(len(labels), 4)) + labels[:, None] * 3
        done = train(collection, examples(vectors, labels, [Space("clip-vit-b-32")]))
        assert done.trained.record.held_out is not None
        assert 1 <= done.trained.record.held_out.positives < done.trained.record.held_out.examples


# -- versions against each other ---------------------------------------------------------------------------


def test_a_worse_version_is_kept_and_does_not_serve(collection: Collection, made: Made) -> None:
    good = train(collection, made(6.0, count=600)).trained
    # Few and noisy examples of the same collection: a worse classifier, by the newest measure too.
    worse = train(collection, made(1.0, count=30, seed=3))
    merit = {ranked.version: ranked.held_out.macro_precision for ranked in worse.ranking}
    assert set(merit) == {good.record.version, worse.trained.record.version}
    best = max(merit, key=lambda version: merit[version])
    assert worse.serving.record.version == best == worse.ranking[0].version
    assert collection.index().serving == best


def test_versions_are_measured_on_the_newest_held_out_examples(collection: Collection, made: Made) -> None:
    """What "in the collection" means was turned round: the old version is wrong about everything now."""
    old = train(collection, made(6.0)).trained.record
    done = train(collection, made(-6.0))
    by_version = {ranked.version: ranked.held_out for ranked in done.ranking}
    assert old.held_out is not None
    assert old.held_out.macro_precision > 0.95
    assert by_version[old.version].average_precision < 0.5
    assert done.serving.record == done.trained.record


def test_of_equals_the_newer_serves(collection: Collection, made: Made) -> None:
    first, second = (train(collection, made()).trained.record.version for _ in range(2))
    assert [ranked.version for ranked in collection.index().ranking] == [second, first]
    assert collection.serving().record.version == second
    assert collection.index().history == (first,)


def test_the_ten_best_are_kept(collection: Collection, made: Made) -> None:
    worst = train(collection, made(-6.0)).trained.record.version
    kept = [
        train(collection, made(), origin=f"number {n}").trained.record.version for n in range(KEPT_VERSIONS)
    ]
    assert sorted(collection.versions()) == sorted(kept)
    assert worst not in collection.versions()
    done = train(collection, made())
    assert done.discarded == (kept[0],)
    assert len(collection.versions()) == KEPT_VERSIONS


def test_versions_of_another_embedding_cannot_be_compared(collection: Collection, made: Made) -> None:
    other = train(collection, made(space=Space("dinov2-base", "f" * 16))).trained.record.version
    done = train(collection, made())
    assert done.serving.record == done.trained.record
    assert [ranked.version for ranked in done.ranking] == [done.trained.record.version]
    assert list(done.not_compared) == [other]
    assert "dinov2-base" in done.not_compared[other]
    assert other in collection.versions(), "one can go back to it"


def test_a_damaged_version_is_left_out_and_left_alone(collection: Collection, made: Made) -> None:
    damaged = train(collection, made()).trained.record.version
    path = collection.root / f"7/versions/{damaged}.npz"
    path.write_bytes(b"damaged")
    done = train(collection, made())
    assert "damaged" in done.not_compared[damaged]
    assert done.serving.record == done.trained.record
    assert path.read_bytes() == b"damaged"


def test_training_repairs_a_damaged_index(collection: Collection, made: Made) -> None:
    train(collection, made())
    (collection.root / "7/index.json").write_text("{}")
    done = train(collection, made())
    assert collection.serving().record == done.serving.record
    assert len(done.ranking) == 2


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_two_trainers_at_once(collection: Collection, made: Made) -> None:
    fitting, go_on = threading.Event(), threading.Event()

    def wait(step: str) -> None:
        fitting.set()
        assert go_on.wait(30)

    first = threading.Thread(target=train, args=(collection, made()), kwargs={"report": wait})
    first.start()
    try:
        assert fitting.wait(30)
        with pytest.raises(CollectionBusy, match="collection 7"):
            train(collection, made())
    finally:
        go_on.set()
        first.join(30)
    assert len(collection.versions()) == 1, "the first one finished, the second one never began"


class Broken(Exception):
    """Something nobody expected."""


@pytest.mark.parametrize("step", ["fitting", "measuring", "comparing"])
def test_a_training_that_breaks_leaves_what_serves(collection: Collection, made: Made, step: str) -> None:
    before = train(collection, made()).serving.record

    def breaking(at: str) -> None:
        if at.startswith(step):
            raise Broken

    with pytest.raises(Broken):
        train(collection, made(), report=breaking)
    assert collection.serving().record == before
    assert train(collection, made()).serving


WITHOUT = """
import sys
sys.modules["sklearn"] = None
import sightline.server.app, sightline.jobs.collections.training as training
from sightline.jobs.collections import pickles
from sightline.errors import ConfigurationError
from sightline.collections import Collections
from pathlib import Path
try:
    training.train(Collections(Path("nowhere")).collection(7), None)
except ConfigurationError as error:
    print(error)
"""


def test_without_scikit_learn_everything_imports_and_training_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "make extras" in done.stdout


def test_its_lack_is_a_configuration_error(
    collection: Collection, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ConfigurationError, match="scikit-learn"):
        train(collection, made())
    assert collection.versions() == []
