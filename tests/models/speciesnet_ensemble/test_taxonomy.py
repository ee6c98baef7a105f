from __future__ import annotations

from pathlib import Path

import pytest

from sightline.errors import ModelBroken
from sightline.models.speciesnet_ensemble.taxonomy import Taxonomy
from sightline.taxa import ANIMAL, BLANK, HUMAN, UNKNOWN, VEHICLE

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"
PANTHERA = "2;mammalia;carnivora;felidae;panthera;;panthera species"
FELIDAE = "3;mammalia;carnivora;felidae;;;cat family"
CARNIVORA = "4;mammalia;carnivora;;;;carnivorous mammal"
MAMMALIA = "5;mammalia;;;;;mammal"
ALL = [LION, PANTHERA, FELIDAE, CARNIVORA, MAMMALIA]
LEVELS = ("species", "genus", "family", "order", "class", "kingdom")


def ancestors(taxonomy: Taxonomy, label: str) -> list[str | None]:
    return [taxonomy.ancestor(label, level) for level in LEVELS]


def test_a_species_has_an_ancestor_at_every_level() -> None:
    assert ancestors(Taxonomy(ALL), LION) == [LION, PANTHERA, FELIDAE, CARNIVORA, MAMMALIA, ANIMAL]


def test_a_coarse_taxon_has_none_below_itself() -> None:
    assert ancestors(Taxonomy(ALL), FELIDAE) == [None, None, FELIDAE, CARNIVORA, MAMMALIA, ANIMAL]


def test_a_level_without_a_label_of_its_own_is_passed_over() -> None:
    assert ancestors(Taxonomy([LION, MAMMALIA]), LION) == [LION, None, None, None, MAMMALIA, ANIMAL]


def test_only_the_label_animal_is_an_animal_without_a_class() -> None:
    taxonomy = Taxonomy(ALL)
    assert ancestors(taxonomy, ANIMAL) == [None] * 5 + [ANIMAL]
    assert ancestors(taxonomy, BLANK) == [None] * 6
    assert ancestors(taxonomy, VEHICLE) == [None] * 6


def test_humans_and_animals_are_in_every_taxonomy_under_their_own_labels() -> None:
    taxonomy = Taxonomy(["x;mammalia;primates;hominidae;homo;sapiens;person", "y;;;;;;thing"])
    assert taxonomy.ancestor(HUMAN, "species") == HUMAN
    assert taxonomy.ancestor(LION, "kingdom") == ANIMAL


def test_nothing_rolls_up_to_blank_vehicle_or_unknown() -> None:
    taxonomy = Taxonomy([BLANK, VEHICLE, UNKNOWN, *ALL])
    reached = {taxonomy.ancestor(label, level) for label in (*ALL, UNKNOWN, BLANK) for level in LEVELS}
    assert not reached & {BLANK, VEHICLE, UNKNOWN}


def test_the_last_of_two_labels_for_one_taxon_counts() -> None:
    second = FELIDAE.replace("3;", "9;")
    assert Taxonomy([*ALL, second]).ancestor(LION, "family") == second


def test_a_file_has_one_label_per_line(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.txt"
    path.write_bytes("\r\n".join([*ALL, "", ""]).encode())
    assert ancestors(Taxonomy.read(path), LION) == [LION, PANTHERA, FELIDAE, CARNIVORA, MAMMALIA, ANIMAL]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"<!doctype html>", "seven parts"),
        (f"{LION}\nlion\n".encode(), "'lion' has 1"),
        (b"\xff\xfe\x00", "utf-8"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "taxonomy.txt"
    path.write_bytes(content)
    with pytest.raises(ModelBroken, match=rf"taxonomy\.txt is no taxonomy: .*{complaint}"):
        Taxonomy.read(path)


def test_a_missing_file_is_a_broken_model(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match=r"taxonomy\.txt"):
        Taxonomy.read(tmp_path / "taxonomy.txt")
