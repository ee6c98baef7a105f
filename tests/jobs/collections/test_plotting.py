from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.collections import Collection, Space
from sightline.errors import ExtraMissing, UnknownCollection
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.plotting import precision_recall_png
from sightline.jobs.collections.reports import collection_report
from sightline.jobs.collections.training import train

Made = Callable[..., Examples]


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def report(collection: Collection, made: Made) -> dict[str, Any]:
    for seed in range(3):
        train(collection, made(1.0, seed=seed))
    return collection_report(collection)


def test_the_same_versions_give_the_same_picture(report: dict[str, Any]) -> None:
    first = precision_recall_png(report)
    assert pixels(first).shape == (600, 1080, 3)
    assert precision_recall_png(report) == first


@pytest.mark.parametrize("measure", ["precision", "recall", "macro_precision"])
def test_each_score_shows(report: dict[str, Any], measure: str) -> None:
    before = pixels(precision_recall_png(report))
    report["versions"][0]["newest_held_out"][measure] = 0.05
    assert (pixels(precision_recall_png(report)) != before).any()


def test_the_version_that_serves_is_marked(report: dict[str, Any]) -> None:
    before = pixels(precision_recall_png(report))
    for version in report["versions"]:
        version["serving"] = not version["serving"]
    assert (pixels(precision_recall_png(report)) != before).any()


def test_versions_of_other_recipes_are_drawn_apart(collection: Collection, made: Made) -> None:
    train(collection, made())
    train(collection, made(space=Space("clip-vit-b-32", "f" * 16)))
    report = collection_report(collection)
    assert [bool(version["newest_held_out"]) for version in report["versions"]] == [True, False]
    apart = pixels(precision_recall_png(report))
    report["versions"][1]["newest_held_out"] = report["versions"][1]["held_out"]
    assert (pixels(precision_recall_png(report)) != apart).any()


def test_damaged_versions_are_left_out(collection: Collection, report: dict[str, Any]) -> None:
    version = report["versions"][0]["version"]
    (collection.root / "7" / "versions" / f"{version}.json").write_text("{}")
    damaged = collection_report(collection)
    assert damaged["versions"][0]["problem"]
    precision_recall_png(damaged)


def test_nothing_to_draw(collection: Collection, made: Made) -> None:
    recipe = made().recipe
    with collection.changing() as change:
        change.add(recipe, np.ones(recipe.dimensions), 0.0, origin="imported", trained_at=None)
    with pytest.raises(UnknownCollection):
        precision_recall_png(collection_report(collection))


def test_without_matplotlib_it_says_what_to_install(report: dict[str, Any], monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ExtraMissing, match=r"needs matplotlib.*pip install 'matplotlib"):
        precision_recall_png(report)
