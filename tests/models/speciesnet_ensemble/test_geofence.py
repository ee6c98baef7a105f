from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sightline.errors import ModelBroken
from sightline.models.speciesnet_ensemble.geofence import Geofence

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"
KEY = "mammalia;carnivora;felidae;panthera;leo"


@pytest.fixture
def fence(tmp_path: Path):
    def read(content: Any) -> Geofence:
        path = tmp_path / "geofence.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return Geofence.read(path)

    return read


# (rule, country, division, whether the taxon does not live there)
CASES = [
    # Without a rule or a country nothing is excluded.
    (None, "KEN", None, False),
    ({}, "KEN", None, False),
    ({"allow": {"KEN": []}}, None, None, False),
    ({"allow": {"KEN": []}}, "", None, False),
    ({"allow": {"KEN": []}}, None, "CA", False),
    ({"block": {"USA": []}}, None, "CA", False),
    # Allowed: only where listed.
    ({"allow": {"KEN": []}}, "KEN", None, False),
    ({"allow": {"KEN": []}}, "TZA", None, True),
    ({"allow": {"KEN": []}}, "ken", None, True),
    ({"allow": {}}, "TZA", None, False),
    ({"allow": None}, "TZA", None, False),
    ({"allow": {"USA": []}}, "USA", "CA", False),
    ({"allow": {"USA": ["CA", "NV"]}}, "USA", "CA", False),
    ({"allow": {"USA": ["CA", "NV"]}}, "USA", "AK", True),
    ({"allow": {"USA": ["CA", "NV"]}}, "USA", None, False),
    ({"allow": {"USA": ["CA", "NV"]}}, "USA", "", False),
    # Blocked: everywhere but where listed.
    ({"block": {"USA": []}}, "USA", None, True),
    ({"block": {"USA": []}}, "USA", "CA", True),
    ({"block": {"USA": []}}, "KEN", None, False),
    ({"block": {"USA": ["AK"]}}, "USA", "AK", True),
    ({"block": {"USA": ["AK"]}}, "USA", "CA", False),
    ({"block": {"USA": ["AK"]}}, "USA", None, False),
    ({"block": {"USA": ["AK"]}}, "USA", "", False),
    ({"block": {}}, "USA", None, False),
    ({"block": None}, "USA", None, False),
    # Both: either one excludes.
    ({"allow": {"USA": []}, "block": {"USA": ["AK"]}}, "USA", "AK", True),
    ({"allow": {"USA": []}, "block": {"USA": ["AK"]}}, "USA", "CA", False),
    ({"allow": {"USA": []}, "block": {"USA": []}}, "USA", "CA", True),
    ({"allow": {"USA": ["CA"]}, "block": {"USA": ["AK"]}}, "USA", "NV", True),
    ({"allow": {"KEN": []}, "block": {"USA": []}}, "TZA", None, True),
]


@pytest.mark.parametrize(("rule", "country", "region", "excluded"), CASES)
def test_where_a_taxon_lives(fence, rule, country, region, excluded) -> None:
    rules = {KEY: rule} if rule is not None else {}
    assert fence(rules).excludes(LION, country, region) is excluded


def test_a_rule_is_for_one_taxon_and_none_of_those_above_or_below(fence) -> None:
    rules = fence({KEY: {"block": {"KEN": []}}})
    assert rules.excludes(LION, "KEN", None)
    assert not rules.excludes("2;mammalia;carnivora;felidae;panthera;;big cat", "KEN", None)
    assert not rules.excludes("3;mammalia;carnivora;felidae;panthera;pardus;leopard", "KEN", None)


def test_the_name_and_the_number_of_a_label_do_not_matter(fence) -> None:
    rules = fence({KEY: {"block": {"KEN": []}}})
    assert rules.excludes(f"another;{KEY};simba", "KEN", None)


def test_fields_that_later_releases_may_add_are_passed_over(fence) -> None:
    rules = fence({KEY: {"block": {"KEN": []}, "comment": "since 2027"}})
    assert rules.excludes(LION, "KEN", None)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "all of it"),
        (b"<html>", "all of it"),
        ([], "all of it"),
        ({KEY: []}, KEY),
        ({KEY: {"allow": ["KEN"]}}, f"{KEY} → allow"),
        ({KEY: {"block": {"USA": "AK"}}}, f"{KEY} → block → USA"),
        ({KEY: {"block": {"USA": [1]}}}, f"{KEY} → block → USA → 0"),
    ],
)
def test_another_file_is_refused_and_the_place_is_named(fence, content, complaint) -> None:
    with pytest.raises(ModelBroken, match=rf"geofence\.json is no geofence: {complaint}"):
        fence(content)


def test_a_missing_file_is_a_broken_model(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match=r"geofence\.json cannot be read"):
        Geofence.read(tmp_path / "geofence.json")
