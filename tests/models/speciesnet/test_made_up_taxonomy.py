from __future__ import annotations

import json
import uuid
from pathlib import Path

from sightline.models.speciesnet import made_up_taxonomy
from sightline.models.speciesnet_ensemble.geofence import Geofence
from sightline.models.speciesnet_ensemble.taxonomy import Taxonomy
from sightline.taxa import ANIMAL, BLANK, HUMAN, LEVELS, UNKNOWN, VEHICLE, Taxon


def test_it_has_the_size_of_the_real_one() -> None:
    labels = made_up_taxonomy.labels()
    assert len(labels) == len(set(labels)) == 2498
    assert {BLANK, ANIMAL, HUMAN, VEHICLE} < set(labels)
    assert UNKNOWN not in labels
    levels = [Taxon.parse(label).level for label in labels]
    assert {levels.count(level) > 1 for level in LEVELS} == {True}
    assert levels.count("species") > 1500


def test_labels_are_well_formed_and_unlike() -> None:
    labels = made_up_taxonomy.taxonomy()
    taxa = [Taxon.parse(label) for label in labels]
    assert len({taxon.uuid for taxon in taxa}) == len(taxa)
    for taxon in taxa:
        uuid.UUID(taxon.uuid)
        assert taxon.common_name
        known = [bool(name) for name in taxon.levels]
        assert known == sorted(known, reverse=True), "no level without those above it"
        assert taxon.key == taxon.key.lower()
    keys = [taxon.key for taxon in taxa if any(taxon.levels)]
    assert len(set(keys)) == len(keys)


def test_every_label_has_its_ancestors(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.txt"
    path.write_text("\n".join(made_up_taxonomy.taxonomy()))
    taxonomy = Taxonomy.read(path)
    for label in made_up_taxonomy.labels():
        levels = Taxon.parse(label).levels
        for level, name in zip(LEVELS, levels, strict=True):
            ancestor = taxonomy.ancestor(label, level)
            assert (ancestor is not None) == bool(name)
            if ancestor is not None:
                depth = LEVELS.index(level) + 1
                assert Taxon.parse(ancestor).levels[:depth] == levels[:depth]
        if label not in (BLANK, VEHICLE):
            assert taxonomy.ancestor(label, "kingdom") == ANIMAL


def test_siblings_share_what_is_above_them() -> None:
    """A roll-up has something to reach: most genera have several species."""
    species = [Taxon.parse(label).levels for label in made_up_taxonomy.labels()]
    genera = [levels[:4] for levels in species if all(levels)]
    assert len(genera) / len(set(genera)) > 1.5


def test_rules_allow_and_block(tmp_path: Path) -> None:
    text = made_up_taxonomy.geofence()
    (tmp_path / "geofence.json").write_text(text)
    geofence = Geofence.read(tmp_path / "geofence.json")
    rules = json.loads(text)
    keys = {Taxon.parse(label).key for label in made_up_taxonomy.taxonomy()}
    assert set(rules) < keys
    allowing = [rule["allow"] for rule in rules.values() if "allow" in rule]
    blocking = [rule["block"] for rule in rules.values() if "block" in rule]
    assert min(len(allowing), len(blocking)) > 100
    for kind in (allowing, blocking):
        assert any(rule.get("USA") for rule in kind), "some US states"
        assert any(rule.get("USA") == [] for rule in kind), "all of the USA"
    key = next(key for key, rule in rules.items() if "KEN" not in rule.get("allow", {"KEN": []}))
    label = next(label for label in made_up_taxonomy.taxonomy() if Taxon.parse(label).key == key)
    assert geofence.excludes(label, "KEN", None)


def test_nothing_is_said_of_humans() -> None:
    assert Taxon.parse(HUMAN).key not in json.loads(made_up_taxonomy.geofence())


def test_it_is_always_the_same() -> None:
    first = made_up_taxonomy.labels(), made_up_taxonomy.taxonomy(), made_up_taxonomy.geofence()
    made_up_taxonomy._drawn.cache_clear()
    assert first == (made_up_taxonomy.labels(), made_up_taxonomy.taxonomy(), made_up_taxonomy.geofence())
