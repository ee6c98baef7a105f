"""How a detection and its classification become one verdict: the rules of SpeciesNet's ensemble.

Thresholds, order and words for sources are those of ``speciesnet`` 5.0.0 to 5.0.6 (Apache-2.0), which all
have the same ones. All comparisons are strict: a score that equals a threshold has not passed it. First the
rules for humans, vehicles and blank pictures, then that for animals; what none of them takes is rolled up to
the finest taxon that is sure enough, and failing that is an animal or unknown.

No models, no files: all is decided from what is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sightline.capabilities.species import Sighting, SpeciesScores, SpeciesVerdict
from sightline.models.speciesnet_ensemble.geofence import Geofence
from sightline.models.speciesnet_ensemble.taxonomy import KINGDOM, Taxonomy
from sightline.taxa import ANIMAL, BLANK, HUMAN, UNKNOWN, VEHICLE

# A detection below this is as good as none; above it, it may support the classifier.
DETECTION_SUPPORTS = 0.2
# A detection above this decides on human or vehicle by itself …
DETECTION_DECIDES = 0.7
# … and above this on "animal", when nothing finer could be said.
DETECTION_SUFFICES_FOR_ANIMAL = 0.5

HUMAN_SCORE = 0.5
VEHICLE_SCORE = 0.4
BLANK_SCORE = 0.5
BLANK_SCORE_DECIDES = 0.99
ANIMAL_SCORE = 0.65
ANIMAL_SCORE_DECIDES = 0.8

ROLL_UP_SCORE = 0.65
ROLL_UP_LEVELS = ("genus", "family", "order", "class", KINGDOM)
# A fenced species takes its genus with it: the fence is drawn around species, and most genera are narrow.
FENCED_ROLL_UP_LEVELS = ROLL_UP_LEVELS[1:]
# What a fenced roll-up may lack to the top score: its sum can be that very score.
FENCED_ROLL_UP_SLACK = 1e-10


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A release's rules on where taxa live, at one place."""

    geofence: Geofence
    country: str | None = None
    admin1_region: str | None = None

    def exclude(self, label: str) -> bool:
        return self.geofence.excludes(label, self.country, self.admin1_region)


def decide(sighting: Sighting, taxonomy: Taxonomy, here: Whereabouts) -> SpeciesVerdict:
    """One verdict on one sighting.

    Raises:
        ValueError: the sighting has no scores, or a label of them has not seven parts.
    """
    if not sighting.scores.labels:
        raise ValueError("a sighting needs at least one classification")
    return (
        _human(sighting)
        or _vehicle(sighting)
        or _blank(sighting)
        or _species(sighting, taxonomy, here)
        or _rolled_up(sighting.scores, taxonomy, here)
        or _undecided(sighting)
    )


def _human(sighting: Sighting) -> SpeciesVerdict | None:
    if sighting.label != "human":
        return None
    top, score = _top(sighting)
    if sighting.score > DETECTION_DECIDES:
        return SpeciesVerdict(HUMAN, sighting.score, "detector")
    if sighting.score > DETECTION_SUPPORTS and top in (HUMAN, VEHICLE) and score > HUMAN_SCORE:
        return SpeciesVerdict(HUMAN, score, "classifier")
    return None


def _vehicle(sighting: Sighting) -> SpeciesVerdict | None:
    """A person on a vehicle is a human, however sure the detector is of the vehicle."""
    if sighting.label != "vehicle":
        return None
    top, score = _top(sighting)
    supported = sighting.score > DETECTION_SUPPORTS
    if supported and top == HUMAN and score > HUMAN_SCORE:
        return SpeciesVerdict(HUMAN, score, "classifier")
    if sighting.score > DETECTION_DECIDES:
        return SpeciesVerdict(VEHICLE, sighting.score, "detector")
    if supported and top == VEHICLE and score > VEHICLE_SCORE:
        return SpeciesVerdict(VEHICLE, score, "classifier")
    return None


def _blank(sighting: Sighting) -> SpeciesVerdict | None:
    top, score = _top(sighting)
    unsupported = sighting.score < DETECTION_SUPPORTS
    if top == BLANK and (score > BLANK_SCORE_DECIDES or (unsupported and score > BLANK_SCORE)):
        return SpeciesVerdict(BLANK, score, "classifier")
    return None


def _species(sighting: Sighting, taxonomy: Taxonomy, here: Whereabouts) -> SpeciesVerdict | None:
    """The classifier's first choice where the classifier is sure enough and the taxon lives."""
    top, score = _top(sighting)
    if top in (BLANK, HUMAN, VEHICLE):
        return None
    supported = sighting.label == "animal" and sighting.score > DETECTION_SUPPORTS
    if score > ANIMAL_SCORE_DECIDES or (supported and score > ANIMAL_SCORE):
        return _fenced(sighting.scores, taxonomy, here)
    return None


def _fenced(scores: SpeciesScores, taxonomy: Taxonomy, here: Whereabouts) -> SpeciesVerdict:
    top, score = scores.labels[0], scores.scores[0]
    if not here.exclude(top):
        return SpeciesVerdict(top, score, "classifier")
    found = roll_up(scores, FENCED_ROLL_UP_LEVELS, score - FENCED_ROLL_UP_SLACK, taxonomy, here)
    if found is None:
        return SpeciesVerdict(UNKNOWN, score, "classifier+geofence+rollup_failed")
    label, total, level = found
    return SpeciesVerdict(label, total, f"classifier+geofence+rollup_to_{level}")


def _rolled_up(scores: SpeciesScores, taxonomy: Taxonomy, here: Whereabouts) -> SpeciesVerdict | None:
    found = roll_up(scores, ROLL_UP_LEVELS, ROLL_UP_SCORE, taxonomy, here)
    if found is None:
        return None
    label, total, level = found
    return SpeciesVerdict(label, total, f"classifier+rollup_to_{level}")


def _undecided(sighting: Sighting) -> SpeciesVerdict:
    if sighting.label == "animal" and sighting.score > DETECTION_SUFFICES_FOR_ANIMAL:
        return SpeciesVerdict(ANIMAL, sighting.score, "detector")
    return SpeciesVerdict(UNKNOWN, sighting.scores.scores[0], "classifier")


def roll_up(
    scores: SpeciesScores,
    levels: Iterable[str],
    threshold: float,
    taxonomy: Taxonomy,
    here: Whereabouts,
) -> tuple[str, float, str] | None:
    """The first of ``levels`` at which one taxon has more than ``threshold`` of all scores together.

    Taxa that do not live ``here`` are left out of the choice, not out of the sums above them. Of two taxa
    with equal sums the one that a higher score led to first is taken.

    Returns:
        The taxon's label, its summed score and the level; None when no level has such a taxon.
    """
    for level in levels:
        sums = _sums(scores, level, taxonomy)
        living = [(label, total) for label, total in sums if total > 0 and not here.exclude(label)]
        label, total = max(living, key=lambda each: each[1], default=("", 0.0))
        if label and total > threshold:
            return label, total, level
    return None


def _sums(scores: SpeciesScores, level: str, taxonomy: Taxonomy) -> Sequence[tuple[str, float]]:
    """Scores added up by the taxon they belong to at ``level``, in the order of first appearance."""
    sums: dict[str, float] = {}
    for label, score in zip(scores.labels, scores.scores, strict=True):
        ancestor = taxonomy.ancestor(label, level)
        if ancestor is not None:
            sums[ancestor] = sums.get(ancestor, 0.0) + score
    return list(sums.items())


def _top(sighting: Sighting) -> tuple[str, float]:
    return sighting.scores.labels[0], sighting.scores.scores[0]
