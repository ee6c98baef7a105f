"""The ensemble as a model: from a release's files to verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sightline.capabilities.species import Sighting, SightingsRequest, SpeciesScores, SpeciesVerdict
from sightline.errors import InvalidParameters, ModelBroken
from sightline.models import Runs
from sightline.models.speciesnet_ensemble import MODELS, load
from sightline.taxa import BLANK, HUMAN
from sightline.weights.sources import ArchiveMember, HubFile

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"
FELIDAE = "2;mammalia;carnivora;felidae;;;cat family"


def no_graphs(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("the ensemble has no graph")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "taxonomy.txt").write_text(f"{LION}\n{FELIDAE}\n")
    rules = {"mammalia;carnivora;felidae;panthera;leo": {"allow": {"KEN": []}}}
    (tmp_path / "geofence.json").write_text(json.dumps(rules))
    return {name: tmp_path / name for name in ("taxonomy.txt", "geofence.json")}


def sighting(label: str = "animal", score: float = 0.9, species: str = LION) -> Sighting:
    return Sighting(label, score, SpeciesScores((species,), (0.95,)))


def test_each_sighting_gets_a_verdict_in_its_place(files) -> None:
    ensemble = load(files, no_graphs)
    asked = SightingsRequest((sighting(), sighting("human"), sighting(species=BLANK, score=0.1)), "KEN")
    assert ensemble.infer([ensemble.prepare(asked)]) == [
        [
            SpeciesVerdict(LION, 0.95, "classifier"),
            SpeciesVerdict(HUMAN, 0.9, "detector"),
            SpeciesVerdict(BLANK, 0.95, "classifier"),
        ]
    ]


def test_requests_of_one_batch_keep_to_their_own_country(files) -> None:
    ensemble = load(files, no_graphs)
    asked = [SightingsRequest((sighting(),), country) for country in ("KEN", "NOR", None)]
    verdicts = [answer[0] for answer in ensemble.infer([ensemble.prepare(each) for each in asked])]
    assert [verdict.label for verdict in verdicts] == [LION, FELIDAE, LION]
    assert verdicts[1].source == "classifier+geofence+rollup_to_family"


@pytest.mark.parametrize(
    ("country", "region", "complaint"),
    [
        ("KE", None, "country is .* three letters, such as KEN"),
        ("Kenya", None, "country is .* three letters, such as KEN"),
        ("USA", "California", "admin1_region is .* two letters, such as CA"),
        (None, "C", "admin1_region is .* two letters, such as CA"),
    ],
)
def test_codes_that_cannot_be_any_are_refused(files, country, region, complaint) -> None:
    with pytest.raises(InvalidParameters, match=complaint):
        load(files, no_graphs).prepare(SightingsRequest((sighting(),), country, region))


def test_requests_are_equal_if_they_ask_the_same() -> None:
    assert SightingsRequest((sighting(),), "KEN") == SightingsRequest((sighting(),), "KEN")
    assert hash(SightingsRequest((sighting(),), "KEN")) == hash(SightingsRequest((sighting(),), "KEN"))
    assert SightingsRequest((sighting(),), "KEN") != SightingsRequest((sighting(),), "NOR")
    assert SightingsRequest((sighting(),)).held_bytes > 0


def test_a_broken_file_is_a_broken_model(files) -> None:
    files["geofence.json"].write_text("{")
    with pytest.raises(ModelBroken, match=r"geofence\.json"):
        load(files, no_graphs)


def test_there_is_one_for_each_release_and_it_takes_no_slot() -> None:
    cards = {definition.card.space: definition.card for definition in MODELS}
    assert list(cards) == ["v4.0.1a", "v4.0.2a", "v4.0.3a"]
    for version, card in cards.items():
        assert card.name == f"speciesnet-{version}-ensemble"
        assert card.runs is Runs.IN_LOOP
        assert [artifact.name for artifact in card.artifacts] == ["taxonomy.txt", "geofence.json"]
        assert all(isinstance(artifact.sources[-1], ArchiveMember) for artifact in card.artifacts)


def test_no_release_gets_the_files_of_another() -> None:
    hub = [
        source
        for definition in MODELS
        for artifact in definition.card.artifacts
        for source in artifact.sources
        if isinstance(source, HubFile)
    ]
    assert len(set(hub)) == len(hub) == 4
