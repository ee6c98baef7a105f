from __future__ import annotations

import pytest

from sightline.taxa import ANIMAL, BLANK, HUMAN, UNKNOWN, VEHICLE, Taxon

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"


def test_a_species_is_taken_apart() -> None:
    lion = Taxon.parse(LION)
    assert (lion.uuid, lion.common_name) == ("1", "lion")
    assert lion.levels == ("mammalia", "carnivora", "felidae", "panthera", "leo")
    assert lion.key == "mammalia;carnivora;felidae;panthera;leo"
    assert lion.level == "species"
    assert lion.scientific_name == "Panthera leo"


@pytest.mark.parametrize(
    ("label", "level", "name"),
    [
        ("1;mammalia;carnivora;felidae;panthera;;big cat", "genus", "Panthera"),
        ("1;mammalia;carnivora;felidae;;;cat family", "family", "Felidae"),
        ("1;mammalia;carnivora;;;;carnivorous mammal", "order", "Carnivora"),
        ("1;mammalia;;;;;mammal", "class", "Mammalia"),
        # Some species of the releases stand in no family.
        ("1;reptilia;squamata;;;;lizards and snakes", "order", "Squamata"),
        ("1;aves;;;struthio;camelus;ostrich", "species", "Struthio camelus"),
    ],
)
def test_the_finest_level_names_it(label: str, level: str, name: str) -> None:
    taxon = Taxon.parse(label)
    assert (taxon.level, taxon.scientific_name) == (level, name)


@pytest.mark.parametrize("label", [BLANK, ANIMAL, VEHICLE, UNKNOWN])
def test_what_is_no_taxon_has_no_level_and_no_scientific_name(label: str) -> None:
    taxon = Taxon.parse(label)
    assert taxon.level is None
    assert taxon.scientific_name is None
    assert taxon.common_name


def test_a_human_is_a_species() -> None:
    assert Taxon.parse(HUMAN).scientific_name == "Homo sapiens"


@pytest.mark.parametrize("label", ["", "lion", "1;2;3;4;5;6", LION + ";"])
def test_other_than_seven_parts_is_no_label(label: str) -> None:
    with pytest.raises(ValueError, match=f"seven parts; .* has {label.count(';') + 1}$"):
        Taxon.parse(label)
