"""The ensemble's rules: every branch, and every threshold just below, at and just above it.

Expectations are written out, not computed. ``tests/parity`` compares with the reference on random input.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.capabilities.species import Sighting, SpeciesScores, SpeciesVerdict
from sightline.models.speciesnet_ensemble.geofence import Geofence
from sightline.models.speciesnet_ensemble.rules import Whereabouts, decide
from sightline.models.speciesnet_ensemble.taxonomy import Taxonomy
from sightline.taxa import ANIMAL, BLANK, HUMAN, UNKNOWN, VEHICLE

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"
LEOPARD = "2;mammalia;carnivora;felidae;panthera;pardus;leopard"
CAT = "3;mammalia;carnivora;felidae;felis;catus;domestic cat"
HYENA = "4;mammalia;carnivora;hyaenidae;crocuta;crocuta;spotted hyaena"
ZEBRA = "5;mammalia;perissodactyla;equidae;equus;quagga;plains zebra"
OSTRICH = "6;aves;struthioniformes;struthionidae;struthio;camelus;common ostrich"
PANTHERA = "7;mammalia;carnivora;felidae;panthera;;panthera species"
FELIDAE = "8;mammalia;carnivora;felidae;;;cat family"
CARNIVORA = "9;mammalia;carnivora;;;;carnivorous mammal"
MAMMALIA = "10;mammalia;;;;;mammal"

# The genera of cat, hyena, zebra and ostrich have no label, nor have the orders of the last two.
TAXONOMY = Taxonomy([LION, LEOPARD, CAT, HYENA, ZEBRA, OSTRICH, PANTHERA, FELIDAE, CARNIVORA, MAMMALIA])

RULES = {
    "mammalia;carnivora;felidae;panthera;leo": {"allow": {"KEN": [], "NZL": [], "USA": ["TX"]}},
    "mammalia;carnivora;felidae;panthera;pardus": {"block": {"USA": ["AK"]}},
    "mammalia;carnivora;felidae;panthera;": {"allow": {"KEN": []}},
    "mammalia;carnivora;felidae;;": {"block": {"NOR": [], "ISL": [], "ATA": []}},
    "mammalia;carnivora;;;": {"block": {"ISL": [], "ATA": []}},
    "mammalia;;;;": {"block": {"ATA": []}},
    ";;;;": {"block": {"ATA": []}},
}


@pytest.fixture(scope="module")
def geofence(tmp_path_factory: pytest.TempPathFactory) -> Geofence:
    path: Path = tmp_path_factory.mktemp("release") / "geofence.json"
    path.write_text(json.dumps(RULES))
    return Geofence.read(path)


def below(threshold: float) -> float:
    return math.nextafter(threshold, 0)


def above(threshold: float) -> float:
    return math.nextafter(threshold, 1)


class Case(NamedTuple):
    """``animal 0.3`` beside ``{LION: 0.7}``, and what becomes of it."""

    detector: tuple[str, float]
    classifier: dict[str, float]
    label: str
    score: float
    source: str
    country: str | None = None
    region: str | None = None


FALLS_THROUGH = {BLANK: 0.3, LION: 0.2, ZEBRA: 0.1}

CASES = {
    # -- human, by the detector: more than 0.7
    "human below 0.7": Case(("human", below(0.7)), FALLS_THROUGH, UNKNOWN, 0.3, "classifier"),
    "human at 0.7": Case(("human", 0.7), FALLS_THROUGH, UNKNOWN, 0.3, "classifier"),
    "human above 0.7": Case(("human", above(0.7)), FALLS_THROUGH, HUMAN, above(0.7), "detector"),
    "a sure human is no lion": Case(("human", 0.71), {LION: 0.99}, HUMAN, 0.71, "detector"),
    "a sure human is not blank": Case(("human", 0.71), {BLANK: 1.0}, HUMAN, 0.71, "detector"),
    # -- human, by the classifier: detection over 0.2, score over 0.5
    "human 0.2 below": Case(("human", below(0.2)), {HUMAN: 0.9}, "see below", 0.9, "roll-up"),
    "human 0.2 at": Case(("human", 0.2), {HUMAN: 0.9}, "see below", 0.9, "roll-up"),
    "human 0.2 above": Case(("human", above(0.2)), {HUMAN: 0.9}, HUMAN, 0.9, "classifier"),
    "human at both": Case(("human", 0.7), {HUMAN: 0.9}, HUMAN, 0.9, "classifier"),
    "human score below 0.5": Case(("human", 0.5), {HUMAN: below(0.5)}, UNKNOWN, below(0.5), "classifier"),
    "human score at 0.5": Case(("human", 0.5), {HUMAN: 0.5}, UNKNOWN, 0.5, "classifier"),
    "human score above 0.5": Case(("human", 0.5), {HUMAN: above(0.5)}, HUMAN, above(0.5), "classifier"),
    "human by vehicle at 0.5": Case(("human", 0.5), {VEHICLE: 0.5}, UNKNOWN, 0.5, "classifier"),
    "human by vehicle": Case(("human", 0.5), {VEHICLE: above(0.5)}, HUMAN, above(0.5), "classifier"),
    "only the first choice counts": Case(("human", 0.5), {LION: 0.4, HUMAN: 0.39}, MAMMALIA, 0.79,
                                         "classifier+rollup_to_class"),
    # -- vehicle, by the detector
    "vehicle below 0.7": Case(("vehicle", below(0.7)), FALLS_THROUGH, UNKNOWN, 0.3, "classifier"),
    "vehicle at 0.7": Case(("vehicle", 0.7), FALLS_THROUGH, UNKNOWN, 0.3, "classifier"),
    "vehicle above 0.7": Case(("vehicle", above(0.7)), FALLS_THROUGH, VEHICLE, above(0.7), "detector"),
    "a sure vehicle is no lion": Case(("vehicle", 0.71), {LION: 0.99}, VEHICLE, 0.71, "detector"),
    # -- vehicle with a human on it: before the detector's own certainty
    "a human on a sure vehicle": Case(("vehicle", 0.99), {HUMAN: 0.51}, HUMAN, 0.51, "classifier"),
    "human on vehicle, score at 0.5": Case(("vehicle", 0.99), {HUMAN: 0.5}, VEHICLE, 0.99, "detector"),
    "human on vehicle, score above": Case(("vehicle", 0.99), {HUMAN: above(0.5)}, HUMAN, above(0.5),
                                          "classifier"),
    "human on vehicle 0.2 at": Case(("vehicle", 0.2), {HUMAN: 0.6}, UNKNOWN, 0.6, "classifier"),
    "human on vehicle 0.2 above": Case(("vehicle", above(0.2)), {HUMAN: 0.6}, HUMAN, 0.6, "classifier"),
    # -- vehicle, by the classifier: detection over 0.2, score over 0.4
    "vehicle 0.2 below": Case(("vehicle", below(0.2)), {VEHICLE: 0.9}, UNKNOWN, 0.9, "classifier"),
    "vehicle 0.2 at": Case(("vehicle", 0.2), {VEHICLE: 0.9}, UNKNOWN, 0.9, "classifier"),
    "vehicle 0.2 above": Case(("vehicle", above(0.2)), {VEHICLE: 0.9}, VEHICLE, 0.9, "classifier"),
    "vehicle 0.4 below": Case(("vehicle", 0.5), {VEHICLE: below(0.4)}, UNKNOWN, below(0.4), "classifier"),
    "vehicle 0.4 at": Case(("vehicle", 0.5), {VEHICLE: 0.4}, UNKNOWN, 0.4, "classifier"),
    "vehicle 0.4 above": Case(("vehicle", 0.5), {VEHICLE: above(0.4)}, VEHICLE, above(0.4), "classifier"),
    "a human's vehicle needs 0.5": Case(("human", 0.5), {VEHICLE: 0.45}, UNKNOWN, 0.45, "classifier"),
    # -- blank: as good as no detection and score over 0.5, or over 0.99
    "blank score below 0.5": Case(("animal", 0.1), {BLANK: below(0.5)}, UNKNOWN, below(0.5), "classifier"),
    "blank score at 0.5": Case(("animal", 0.1), {BLANK: 0.5}, UNKNOWN, 0.5, "classifier"),
    "blank score above 0.5": Case(("animal", 0.1), {BLANK: above(0.5)}, BLANK, above(0.5), "classifier"),
    "blank without a detection": Case(("animal", 0.0), {BLANK: 0.6}, BLANK, 0.6, "classifier"),
    "blank detection below 0.2": Case(("animal", below(0.2)), {BLANK: 0.6}, BLANK, 0.6, "classifier"),
    "blank detection at 0.2": Case(("animal", 0.2), {BLANK: 0.6}, UNKNOWN, 0.6, "classifier"),
    "blank detection above 0.2": Case(("animal", above(0.2)), {BLANK: 0.6}, UNKNOWN, 0.6, "classifier"),
    "blank 0.99 below": Case(("animal", 0.9), {BLANK: below(0.99)}, ANIMAL, 0.9, "detector"),
    "blank 0.99 at": Case(("animal", 0.9), {BLANK: 0.99}, ANIMAL, 0.9, "detector"),
    "blank 0.99 above": Case(("animal", 0.9), {BLANK: above(0.99)}, BLANK, above(0.99), "classifier"),
    "blank for an unsure human": Case(("human", 0.1), {BLANK: 0.6}, BLANK, 0.6, "classifier"),
    "blank for an unsure vehicle": Case(("vehicle", 0.1), {BLANK: 0.6}, BLANK, 0.6, "classifier"),
    # -- an animal by the classifier alone: over 0.8
    "animal score below 0.8": Case(("animal", 0.1), {OSTRICH: below(0.8)}, ANIMAL, below(0.8),
                                   "classifier+rollup_to_kingdom"),
    "animal score at 0.8": Case(("animal", 0.1), {OSTRICH: 0.8}, ANIMAL, 0.8, "classifier+rollup_to_kingdom"),
    "animal score above 0.8": Case(("animal", 0.1), {OSTRICH: above(0.8)}, OSTRICH, above(0.8), "classifier"),
    "a sure lion on a vehicle": Case(("vehicle", 0.5), {LION: 0.81}, LION, 0.81, "classifier"),
    "a sure lion for an unsure human": Case(("human", 0.5), {LION: 0.81}, LION, 0.81, "classifier"),
    "a higher taxon as first choice": Case(("animal", 0.9), {FELIDAE: 0.81}, FELIDAE, 0.81, "classifier"),
    # -- an animal with a detection's support: 0.65 and 0.2
    "supported 0.65 below": Case(("animal", 0.4), {OSTRICH: below(0.65)}, UNKNOWN, below(0.65), "classifier"),
    "supported 0.65 at": Case(("animal", 0.4), {OSTRICH: 0.65}, UNKNOWN, 0.65, "classifier"),
    "supported 0.65 above": Case(("animal", 0.4), {OSTRICH: above(0.65)}, OSTRICH, above(0.65), "classifier"),
    "support below": Case(("animal", below(0.2)), {LION: 0.7}, PANTHERA, 0.7, "classifier+rollup_to_genus"),
    "support at": Case(("animal", 0.2), {LION: 0.7}, PANTHERA, 0.7, "classifier+rollup_to_genus"),
    "support above": Case(("animal", above(0.2)), {LION: 0.7}, LION, 0.7, "classifier"),
    "a human does not support a lion": Case(("human", 0.6), {LION: 0.7}, PANTHERA, 0.7,
                                            "classifier+rollup_to_genus"),
    "a vehicle does not support a lion": Case(("vehicle", 0.6), {LION: 0.7}, PANTHERA, 0.7,
                                              "classifier+rollup_to_genus"),
    # -- roll-up, level by level, over 0.65 together
    "roll-up to genus": Case(("animal", 0.9), {LION: 0.5, LEOPARD: 0.25}, PANTHERA, 0.75,
                             "classifier+rollup_to_genus"),
    "roll-up to family": Case(("animal", 0.9), {LION: 0.5, CAT: 0.25}, FELIDAE, 0.75,
                              "classifier+rollup_to_family"),
    "roll-up to order": Case(("animal", 0.9), {LION: 0.5, HYENA: 0.25}, CARNIVORA, 0.75,
                             "classifier+rollup_to_order"),
    "roll-up to class": Case(("animal", 0.9), {LION: 0.5, ZEBRA: 0.25}, MAMMALIA, 0.75,
                             "classifier+rollup_to_class"),
    "roll-up to kingdom": Case(("animal", 0.9), {LION: 0.5, OSTRICH: 0.25}, ANIMAL, 0.75,
                               "classifier+rollup_to_kingdom"),
    "roll-up counts higher taxa": Case(("animal", 0.9), {LION: 0.375, FELIDAE: 0.375}, FELIDAE, 0.75,
                                       "classifier+rollup_to_family"),
    "roll-up counts the label animal": Case(("animal", 0.9), {LION: 0.375, ANIMAL: 0.375}, ANIMAL, 0.75,
                                            "classifier+rollup_to_kingdom"),
    "roll-up counts humans as mammals": Case(("animal", 0.9), {HUMAN: 0.5, LION: 0.25}, MAMMALIA, 0.75,
                                             "classifier+rollup_to_class"),
    "roll-up past blanks": Case(("animal", 0.9), {LION: 0.5, BLANK: 0.25, LEOPARD: 0.25}, PANTHERA, 0.75,
                                "classifier+rollup_to_genus"),
    "roll-up after a first choice of blank": Case(("animal", 0.9), {BLANK: 0.3, LION: 0.275, LEOPARD: 0.25,
                                                  CAT: 0.175}, FELIDAE, 0.7, "classifier+rollup_to_family"),
    "roll-up below": Case(("animal", 0.1), {LION: 0.4, LEOPARD: below(0.25)}, UNKNOWN, 0.4, "classifier"),
    "roll-up at": Case(("animal", 0.1), {LION: 0.4, LEOPARD: 0.25}, UNKNOWN, 0.4, "classifier"),
    "roll-up above": Case(("animal", 0.1), {LION: 0.4, LEOPARD: 0.2500001}, PANTHERA, 0.6500001,
                               "classifier+rollup_to_genus"),
    # -- nothing finer: an animal by the detector over 0.5, else unknown
    "animal detection below 0.5": Case(("animal", below(0.5)), {LION: 0.3}, UNKNOWN, 0.3, "classifier"),
    "animal detection at 0.5": Case(("animal", 0.5), {LION: 0.3}, UNKNOWN, 0.3, "classifier"),
    "animal detection above 0.5": Case(("animal", above(0.5)), {LION: 0.3}, ANIMAL, above(0.5), "detector"),
    "blanks and vehicles are no animals": Case(("animal", 0.4), {VEHICLE: 0.6, BLANK: 0.4}, UNKNOWN, 0.6,
                                               "classifier"),
    # -- the fence around a sure first choice
    "it lives there": Case(("animal", 0.9), {LION: 0.9}, LION, 0.9, "classifier", "KEN"),
    "no country, no fence": Case(("animal", 0.9), {LION: 0.9}, LION, 0.9, "classifier", None),
    "a region alone is no country": Case(("animal", 0.9), {LION: 0.9}, LION, 0.9, "classifier", None, "AK"),
    "fenced to family": Case(("animal", 0.9), {LION: 0.9}, FELIDAE, 0.9,
                             "classifier+geofence+rollup_to_family", "TZA"),
    "fenced, never to genus": Case(("animal", 0.9), {LION: 0.9, LEOPARD: 0.0625}, FELIDAE, 0.9625,
                                   "classifier+geofence+rollup_to_family", "TZA"),
    "fenced to order": Case(("animal", 0.9), {LION: 0.9}, CARNIVORA, 0.9,
                            "classifier+geofence+rollup_to_order", "NOR"),
    "fenced to class": Case(("animal", 0.9), {LION: 0.9, ZEBRA: 0.0625}, MAMMALIA, 0.9625,
                            "classifier+geofence+rollup_to_class", "ISL"),
    "fenced everywhere above": Case(("animal", 0.9), {LION: 0.9}, UNKNOWN, 0.9,
                                    "classifier+geofence+rollup_failed", "ATA"),
    "fenced by state": Case(("animal", 0.9), {LION: 0.9}, FELIDAE, 0.9,
                            "classifier+geofence+rollup_to_family", "USA", "CA"),
    "allowed in the state": Case(("animal", 0.9), {LION: 0.9}, LION, 0.9, "classifier", "USA", "TX"),
    "state not known": Case(("animal", 0.9), {LION: 0.9}, LION, 0.9, "classifier", "USA"),
    "blocked in the state": Case(("animal", 0.9), {LEOPARD: 0.9}, FELIDAE, 0.9,
                                 "classifier+geofence+rollup_to_family", "USA", "AK"),
    "fenced with a detection's support": Case(("animal", 0.21), {LION: 0.66}, FELIDAE, 0.66,
                                              "classifier+geofence+rollup_to_family", "TZA"),
    "a fenced roll-up may only match the top": Case(("animal", 0.9), {OSTRICH: 0.9, LION: 0.0625}, OSTRICH,
                                                    0.9, "classifier", "TZA"),
    # -- the fence within a roll-up: the fenced are passed over, their scores still count above
    "roll-up leaves a fenced genus out": Case(("animal", 0.1), {LION: 0.4, LEOPARD: 0.3}, FELIDAE, 0.7,
                                              "classifier+rollup_to_family", "TZA"),
    "roll-up keeps a living genus": Case(("animal", 0.1), {LION: 0.4, LEOPARD: 0.3}, PANTHERA, 0.7,
                                         "classifier+rollup_to_genus", "KEN"),
    "roll-up counts fenced species": Case(("animal", 0.1), {LION: 0.4, CAT: 0.3}, FELIDAE, 0.7,
                                          "classifier+rollup_to_family", "TZA"),
    "no roll-up where nothing lives": Case(("animal", 0.6), {LION: 0.4, CAT: 0.3}, ANIMAL, 0.6, "detector",
                                           "ATA"),
    "humans have no fence": Case(("human", 0.9), {LION: 0.9}, HUMAN, 0.9, "detector", "ATA"),
}  # fmt: skip
# A sure human in the classifier, without a detection's support, is a mammal: the genus Homo has no label.
for _name in ("human 0.2 below", "human 0.2 at"):
    CASES[_name] = CASES[_name]._replace(label=MAMMALIA, source="classifier+rollup_to_class")


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_verdicts(case: Case, geofence: Geofence) -> None:
    sighting = Sighting(
        *case.detector, SpeciesScores(tuple(case.classifier), tuple(case.classifier.values()))
    )
    verdict = decide(sighting, TAXONOMY, Whereabouts(geofence, case.country, case.region))
    assert (verdict.label, verdict.source) == (case.label, case.source)
    assert verdict.score == pytest.approx(case.score, abs=1e-15)


def test_every_source_there_is_occurs() -> None:
    levels = ("genus", "family", "order", "class", "kingdom")
    fenced = {f"classifier+geofence+rollup_to_{level}" for level in ("family", "order", "class")}
    expected = {"detector", "classifier", "classifier+geofence+rollup_failed", *fenced}
    expected |= {f"classifier+rollup_to_{level}" for level in levels}
    assert {case.source for case in CASES.values()} == expected


def test_a_fenced_class_rolls_up_to_the_kingdom(tmp_path: Path) -> None:
    path = tmp_path / "geofence.json"
    keys = [";".join(OSTRICH.split(";")[1:6]), "aves;;;;"]
    path.write_text(json.dumps({key: {"block": {"KEN": []}} for key in keys}))
    taxonomy = Taxonomy([OSTRICH, "11;aves;;;;;bird"])
    sighting = Sighting("animal", 0.9, SpeciesScores((OSTRICH,), (0.9,)))
    verdict = decide(sighting, taxonomy, Whereabouts(Geofence.read(path), "KEN"))
    assert verdict == SpeciesVerdict(ANIMAL, 0.9, "classifier+geofence+rollup_to_kingdom")


@pytest.mark.parametrize("order", [(LION, ZEBRA), (ZEBRA, LION)])
def test_the_first_of_two_equal_sums_is_taken(geofence: Geofence, order: tuple[str, str]) -> None:
    """Scores of a softmax cannot both be over the threshold; the rule holds for any numbers."""
    equidae = "12;mammalia;perissodactyla;equidae;;;horse family"
    scores = SpeciesScores(order, (0.7, 0.7))
    verdict = decide(Sighting("animal", 0.1, scores), Taxonomy([FELIDAE, equidae]), Whereabouts(geofence))
    assert verdict.label == (FELIDAE if order[0] == LION else equidae)


def test_a_sighting_without_scores_is_a_mistake(geofence: Geofence) -> None:
    with pytest.raises(ValueError, match="at least one classification"):
        decide(Sighting("human", 0.9, SpeciesScores((), ())), TAXONOMY, Whereabouts(geofence))


LABELS = [LION, LEOPARD, CAT, HYENA, ZEBRA, OSTRICH, PANTHERA, FELIDAE, ANIMAL, BLANK, HUMAN, VEHICLE]
EDGES = [edge(each) for each in (0.2, 0.4, 0.5, 0.65, 0.7, 0.8, 0.99) for edge in (below, float, above)]
SCORE = st.floats(0, 1) | st.sampled_from(EDGES)


@given(
    label=st.sampled_from(["animal", "human", "vehicle"]),
    score=SCORE,
    labels=st.lists(st.sampled_from(LABELS), min_size=1, max_size=5, unique=True),
    numbers=st.lists(SCORE, min_size=5, max_size=5),
    country=st.sampled_from([None, "KEN", "TZA", "USA", "NOR", "ISL", "ATA"]),
    region=st.sampled_from([None, "AK", "CA", "TX"]),
)
def test_whatever_is_seen_the_verdict_makes_sense(
    geofence: Geofence, label, score, labels, numbers, country, region
) -> None:
    scores = SpeciesScores(tuple(labels), tuple(sorted(numbers[: len(labels)], reverse=True)))
    here = Whereabouts(geofence, country, region)
    verdict = decide(Sighting(label, score, scores), TAXONOMY, here)
    assert 0 <= verdict.score <= sum(scores.scores) + score
    if verdict.source == "detector":
        assert verdict.score == score
    if verdict.source == "classifier":
        assert verdict.score == scores.scores[0]
    if verdict.source.startswith("classifier") and verdict.label not in (BLANK, HUMAN, VEHICLE, UNKNOWN):
        assert not here.exclude(verdict.label)
