from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sightline.collections import Collection, Collections, Space
from sightline.errors import UnknownCollection
from sightline.jobs.collections.embedding import Embedded, Skipped
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.reports import collection_report, collections_report, training_report
from sightline.jobs.collections.training import train

Made = Callable[..., Examples]


def test_a_training_in_plain_data(collection: Collection, made: Made) -> None:
    source = Embedded(made(), (Skipped("a.jpg", "broken"),), 3, warnings=("careful",))
    first = train(collection, made(1.0))
    report = training_report(train(collection, made()), source)
    assert json.loads(json.dumps(report)) == report
    assert report["skipped"] == [{"name": "a.jpg", "reason": "broken"}]
    assert (report["reused"], report["warnings"]) == (3, ["careful"])
    assert report["trained"]["examples"] == 192
    assert report["trained"]["recipe"]["spaces"] == [
        {"name": "clip-vit-b-32", "fingerprint": "0123456789abcdef"}
    ]
    assert {each["version"] for each in report["ranking"]} == set(collection.versions())
    assert first.trained.record.version in collection.versions()


def test_a_collection_has_its_versions_newest_first(collection: Collection, made: Made) -> None:
    for seed in range(3):
        train(collection, made(seed=seed))
    report = collection_report(collection)
    assert json.loads(json.dumps(report)) == report
    assert [each["version"] for each in report["versions"]] == collection.versions()[::-1]
    assert [each["version"] for each in report["versions"] if each["serving"]] == [report["serving"]]
    assert all(each["newest_held_out"]["examples"] == 48 for each in report["versions"])


def test_scores_of_other_recipes_are_their_own(collection: Collection, made: Made) -> None:
    train(collection, made(space=Space("clip-vit-b-32", "e" * 16)))
    train(collection, made())
    newest, oldest = collection_report(collection)["versions"]
    assert newest["newest_held_out"] is not None
    assert (oldest["newest_held_out"], oldest["held_out"]["examples"]) == (None, 48)


def test_damage_is_told_where_it_is(collections: Collections, made: Made) -> None:
    for name in ("7", "8", "10"):
        train(collections.collection(name), made())
    (collections.root / "8" / "index.json").write_text("{}")
    version = collections.collection(10).index().serving
    (collections.root / "10" / "versions" / f"{version}.npz").unlink()
    seven, eight, ten = collections_report(collections)
    assert (seven["collection"], seven["problem"]) == ("7", None)
    assert (eight["serving"], ten["serving"]) == (None, None)
    assert "the index of collection 8 is damaged" in eight["problem"]
    assert f"version {version} of collection 10 is damaged" in ten["problem"]
    shown = collection_report(collections.collection(8))
    assert (shown["serving"], shown["versions"][0]["problem"]) == (None, None)
    assert "damaged" in shown["problem"]
    assert "damaged" in collection_report(collections.collection(10))["versions"][0]["problem"]


def test_nothing_is_stored(collections: Collections) -> None:
    assert collections_report(collections) == []
    with pytest.raises(UnknownCollection):
        collection_report(collections.collection(7))
