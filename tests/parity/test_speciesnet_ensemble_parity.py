"""Our rules beside those of speciesnet 5.0.6, on random detections, scores, taxonomies and fences."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.capabilities.species import Sighting, SpeciesScores
from sightline.models.speciesnet_ensemble.geofence import Geofence
from sightline.models.speciesnet_ensemble.rules import Whereabouts, decide
from sightline.models.speciesnet_ensemble.taxonomy import Taxonomy
from sightline.operations.identify_species.evidence import crop_of, normalised
from sightline.taxa import ANIMAL, BLANK, HUMAN, UNKNOWN, VEHICLE, Taxon
from sightline.types import Box

pytestmark = pytest.mark.parity

LEVELS = ("genus", "family", "order", "class", "kingdom", "species")


@pytest.fixture(scope="module")
def reference() -> Iterator[dict[str, ModuleType]]:
    """Its modules, by name. Its package imports a detector's library that is not here, so a package without
    that import stands in for it."""
    found = importlib.util.find_spec("speciesnet")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("speciesnet is not installed")
    package = ModuleType("speciesnet")
    package.__path__ = list(found.submodule_search_locations)
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "speciesnet"}
    sys.modules["speciesnet"] = package
    wanted = ("constants", "ensemble", "ensemble_prediction_combiner", "geofence_utils", "taxonomy_utils")
    yield {name: importlib.import_module(f"speciesnet.{name}") for name in wanted}
    for name in [name for name in sys.modules if name.split(".")[0] == "speciesnet"]:
        del sys.modules[name]
    sys.modules.update(before)


def _label(number: int, *levels: str) -> str:
    return ";".join((f"id-{number}", *levels, *("" for _ in range(5 - len(levels))), f"name {number}"))


def _world() -> list[str]:
    """Two classes with two orders each, and so on down to species: 62 taxa, all with a label."""
    labels, above = [], [()]
    for letter in "cofgs":
        above = [(*levels, f"{letter}{n}") for levels in above for n in "ab"]
        labels += [_label(len(labels) + n, *levels) for n, levels in enumerate(above)]
    return labels


WORLD = _world()
SPECIAL = [BLANK, ANIMAL, HUMAN, VEHICLE]
KEYS = [Taxon.parse(label).key for label in (*WORLD, ANIMAL, HUMAN)]
COUNTRIES = ["KEN", "USA", "NOR"]
REGIONS = ["CA", "AK"]

# Scores at the thresholds and one step beside them, besides any.
EDGES = [
    value
    for threshold in (0.2, 0.4, 0.5, 0.65, 0.7, 0.8, 0.99)
    for value in (math.nextafter(threshold, 0), threshold, math.nextafter(threshold, 1))
]
score = st.floats(0, 1) | st.sampled_from(EDGES)
areas = st.dictionaries(
    st.sampled_from(COUNTRIES), st.lists(st.sampled_from(REGIONS), max_size=2), max_size=2
)
rule = st.fixed_dictionaries({}, optional={"allow": areas, "block": areas})
fences = st.dictionaries(st.sampled_from(KEYS), rule, max_size=12)
releases = st.sets(st.sampled_from([*WORLD, *SPECIAL, UNKNOWN]), min_size=5).map(sorted)


@st.composite
def related(draw: st.DrawFn) -> list[str]:
    """Labels that often share genus or family, as those of one animal do, and now and then a special one."""
    near = draw(st.integers(0, len(WORLD) - 1))
    close = [label for label in WORLD if label.split(";")[1:4] == WORLD[near].split(";")[1:4]]
    pool = st.sampled_from(close) | st.sampled_from(WORLD) | st.sampled_from(SPECIAL)
    return draw(st.lists(pool, min_size=1, max_size=5, unique=True))


@st.composite
def classified(draw: st.DrawFn) -> tuple[tuple[str, ...], tuple[float, ...]]:
    labels = draw(related())
    scores = draw(st.lists(score, min_size=len(labels), max_size=len(labels)))
    return tuple(labels), tuple(sorted(scores, reverse=True))


def its_taxonomy(reference: dict[str, ModuleType], labels: list[str], folder: Path) -> dict[str, str]:
    """Labels by key, as it reads them from a release's file."""
    path = folder / "taxonomy.txt"
    path.write_text("\n".join(labels))
    keyed: dict[str, str] = reference["ensemble"]._load_taxonomy_from_file(path)
    return keyed


def fence_of(rules: dict[str, Any], folder: Path) -> Geofence:
    path = folder / "geofence.json"
    path.write_text(json.dumps(rules))
    return Geofence.read(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("release")


@settings(max_examples=2000, deadline=None)
@given(
    detector=st.tuples(st.sampled_from(["animal", "human", "vehicle"]), score),
    classes=classified(),
    release=releases,
    rules=fences,
    country=st.sampled_from([None, *COUNTRIES, "TZA"]),
    region=st.sampled_from([None, *REGIONS, "TX"]),
)
def test_verdicts_are_the_same(reference, folder, detector, classes, release, rules, country, region) -> None:
    fences = reference["geofence_utils"]
    (its,) = reference["ensemble_prediction_combiner"].combine_predictions(
        classifications_list=[{"classes": list(classes[0]), "scores": list(classes[1])}],
        detections=[{"label": reference["constants"].Detection(detector[0]), "conf": detector[1]}],
        country=country,
        admin1_region=region,
        taxonomy_map=its_taxonomy(reference, release, folder),
        geofence_map=rules,
        enable_geofence=True,
        geofence_fn=fences.geofence_animal_classification,
        roll_up_fn=fences.roll_up_labels_to_first_matching_level,
    )
    here = Whereabouts(fence_of(rules, folder), country, region)
    ours = decide(Sighting(*detector, SpeciesScores(*classes)), Taxonomy(release), here)
    assert (ours.label, ours.score, ours.source) == (
        getattr(its["class"], "value", its["class"]),
        its["score"],
        its["source"],
    )


@settings(max_examples=1000, deadline=None)
@given(
    label=st.sampled_from([*WORLD, *SPECIAL, UNKNOWN]),
    rules=fences,
    country=st.sampled_from([None, "", *COUNTRIES, "TZA"]),
    region=st.sampled_from([None, "", *REGIONS, "TX"]),
)
def test_fences_are_the_same(reference, folder, label, rules, country, region) -> None:
    its = reference["geofence_utils"].should_geofence_animal_classification(
        label, country, region, rules, True
    )
    assert fence_of(rules, folder).excludes(label, country, region) is its


@settings(max_examples=500, deadline=None)
@given(label=st.sampled_from([*WORLD, *SPECIAL, UNKNOWN]), release=releases)
def test_ancestors_are_the_same(reference, folder, label, release) -> None:
    ancestor = reference["taxonomy_utils"].get_ancestor_at_level
    taxonomy, keyed = Taxonomy(release), its_taxonomy(reference, release, folder)
    assert [taxonomy.ancestor(label, level) for level in LEVELS] == [
        getattr(found := ancestor(label, level, keyed), "value", found) for level in LEVELS
    ]


def test_special_labels_are_the_same(reference) -> None:
    names = reference["constants"].Classification
    assert [names[name].value for name in ("BLANK", "ANIMAL", "HUMAN", "VEHICLE", "UNKNOWN")] == [
        BLANK,
        ANIMAL,
        HUMAN,
        VEHICLE,
        UNKNOWN,
    ]


def test_boxes_are_normalised_and_cut_the_same() -> None:
    """Its arithmetic is torch's: float32 to the middle and the size, and Python's from there on."""
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(8)
    smaller = 0
    for _ in range(100):
        width, height = (int(side) for side in generator.integers(20, 9000, 2))
        corners = np.sort(generator.integers(0, (width, height), (50, 2, 2)), axis=1).reshape(50, 4)
        corners[:, 2:] += 1
        x_min, y_min, x_max, y_max = torch.from_numpy(corners.astype(np.float32)).unbind(1)
        parts = (
            (x_min + x_max) / 2 / width,
            (y_min + y_max) / 2 / height,
            (x_max - x_min) / width,
            (y_max - y_min) / height,
        )
        normalised_by_torch = torch.stack(parts, dim=1).tolist()
        for box, (middle_x, middle_y, part_x, part_y) in zip(corners, normalised_by_torch, strict=True):
            ours = Box(*(float(corner) for corner in box))
            theirs = (middle_x - part_x / 2.0, middle_y - part_y / 2.0, part_x, part_y)
            assert normalised(ours, width, height) == theirs
            cut = [int(part * side) for part, side in zip(theirs, (width, height) * 2, strict=True)]
            crop = crop_of(normalised(ours, width, height), width, height)
            if cut[2] and cut[3]:
                assert [crop.x_min, crop.y_min, crop.width, crop.height] == cut
            smaller += cut[2] < ours.width
    assert smaller > 100  # the lost pixel that is reproduced here does occur
