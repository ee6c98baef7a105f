"""What is compared, on answers written by hand and on any there could be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.capabilities import Capability, catalogue
from sightline.capabilities.caption import CAPTION
from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.capabilities.geolocation import GEOLOCATION, Geolocation, LocationCandidate
from sightline.capabilities.safety import NSFW_SCORE
from sightline.capabilities.species import SPECIES, SpeciesScores
from sightline.capabilities.text import TEXT_LINES
from sightline.errors import InvalidRequest
from sightline.jobs.drift.comparing import Finds, Ranks, Texts, Vectors, cosine, paired, spread, tally_for
from sightline.models import ModelCard
from sightline.types import Box, Coordinate, Detection
from sightline.weights.drift import Limits, Spread


def find(
    x: float = 0,
    y: float = 0,
    score: float = 0.9,
    label: str = "animal",
    width: float = 10,
    height: float = 10,
) -> Detection:
    return Detection(Box(x, y, x + width, y + height), score, label)


def tallied(f32: list[Detection], half: list[Detection], min_score: float = 0.2) -> Finds:
    tally = Finds(min_score)
    tally.add(f32, half)
    return tally


# -- finds -------------------------------------------------------------------------------------------------


def test_the_same_find_is_found_by_both() -> None:
    figures = tallied([find(100, 50)], [find(101, 49.5, score=0.85)]).figures()
    assert (figures.photos, figures.both, figures.only_f32, figures.only_half) == (1, 1, 0, 0)
    assert figures.corners_px == Spread(1, 1, 1), "the greatest of the four"
    assert figures.scores is not None
    assert figures.scores.median == pytest.approx(0.05)


@pytest.mark.parametrize(
    "other",
    [find(label="human"), find(x=4), find(x=50), find(width=0)],
    ids=["another label", "overlaps by 6/14", "elsewhere", "nothing"],
)
def test_other_finds_are_no_partners(other: Detection) -> None:
    figures = tallied([find()], [other]).figures()
    assert (figures.both, figures.only_f32, figures.only_half) == (0, 1, 1)
    assert figures.corners_px is None
    assert figures.scores is None


def test_an_overlap_of_half_is_enough() -> None:
    assert tallied([find(width=10)], [find(width=5)]).figures().both == 1
    assert tallied([find(width=10)], [find(width=4.99)]).figures().both == 0


def test_each_find_has_one_partner_and_the_surest_chooses_first() -> None:
    sure, unsure = find(score=0.9), find(1, score=0.5)
    near = find(0.5, score=0.6)
    assert paired([unsure, sure], [near]) == [(sure, near), (unsure, None)]


def test_the_partner_is_the_nearest_and_not_the_surest() -> None:
    """Two that stand close must not be taken for each other when their scores change places."""
    left, right = find(0, score=0.9), find(3, score=0.89)
    left_too, right_too = find(0, score=0.88), find(3, score=0.9)
    assert paired([left, right], [right_too, left_too]) == [(left, left_too), (right, right_too)]


def test_a_box_without_area_is_itself_again() -> None:
    flat = find(height=0)
    assert tallied([flat], [find(height=0, score=0.8)]).figures().both == 1
    assert tallied([flat], [find(1, height=0)]).figures().both == 0


def test_finds_of_neither_score_are_left_out() -> None:
    figures = tallied([find(score=0.19), find(50, score=0.1)], [find(score=0.19)]).figures()
    assert figures.finds == 0


def test_a_find_may_cross_the_least_score() -> None:
    """It is there in both, and its score says by how much it moved."""
    figures = tallied([find(score=0.21)], [find(score=0.19)]).figures()
    assert (figures.both, figures.crossed, figures.only_f32) == (1, 1, 0)
    assert tallied([find(score=0.2)], [find(score=0.2)]).figures().crossed == 0


def test_what_is_no_number_has_found_nothing() -> None:
    half = [find(score=float("nan")), find(float("inf")), find(float("nan"))]
    figures = tallied([find()], half).figures()
    assert (figures.both, figures.only_f32, figures.only_half) == (0, 1, 0)


coordinates = st.integers(-50, 500)
detections = st.lists(
    st.builds(
        find,
        x=coordinates,
        y=coordinates,
        score=st.floats(0, 1),
        label=st.sampled_from(["animal", "human"]),
        width=st.integers(0, 100),
        height=st.integers(0, 100),
    ),
    max_size=12,
)


@given(detections, detections)
def test_every_find_is_in_one_pair(f32: list[Detection], half: list[Detection]) -> None:
    pairs = paired(f32, half)
    assert sorted(id(one) for one, _ in pairs if one is not None) == sorted(map(id, f32))
    assert sorted(id(other) for _, other in pairs if other is not None) == sorted(map(id, half))
    assert (None, None) not in pairs
    assert all(one.label == other.label for one, other in pairs if one and other)


@given(detections, st.floats(0, 1))
def test_what_does_not_move_has_no_drift(f32: list[Detection], min_score: float) -> None:
    tally = tallied(f32, list(reversed(f32)), min_score)
    figures = tally.figures()
    assert figures.both == sum(each.score >= min_score for each in f32)
    assert figures.only_f32 == figures.only_half == 0
    if figures.both:
        assert tally.judge(Limits(0, 1, 0)).within


@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.floats(0, 3))
def test_the_limit_is_for_95_of_100(moves: list[float], limit: float) -> None:
    tally = Finds(0.2)
    for move in moves:
        tally.add([find()], [find(move)])
    figures = tally.figures()
    assert figures.corners_px is not None
    assert figures.corners_px.greatest == pytest.approx(max(moves))
    assert tally.judge(Limits(pixels=limit)).within == (figures.corners_px.percentile_95 <= limit)


def test_the_verdict_names_what_is_beyond() -> None:
    tally = tallied([find(), find(50)], [find(2, score=0.7)])
    verdict = tally.judge(Limits())
    assert verdict.within is False
    assert verdict.beyond == (
        "1 of 2 finds are in one precision only",
        "5 of 100 finds moved by 2 pixels or more, 1 is the limit",
        "5 of 100 scores moved by 0.2 or more, 0.02 is the limit",
    )
    assert tally.judge(Limits(pixels=2, score=0.21, alone_share=0.5)).within


def test_one_find_of_a_hundred_may_be_alone() -> None:
    tally = tallied([find(20 * place) for place in range(100)], [find(20 * place) for place in range(99)])
    assert tally.judge(Limits()).within
    tally.add([find()], [])
    assert not tally.judge(Limits()).within


def test_no_finds_are_no_proof() -> None:
    verdict = tallied([], []).judge(Limits())
    assert verdict.within is False
    assert verdict.beyond == ("nothing was found with a score of 0.2 or more",)


def test_spreads_are_those_of_a_distribution() -> None:
    assert spread(range(101)) == Spread(50, 95, 100)
    assert spread([3.0]) == Spread(3, 3, 3)


# -- vectors, classes, words -------------------------------------------------------------------------------


def test_embeddings_are_compared_by_their_directions() -> None:
    tally = Vectors()
    one = np.array([3, 4], np.float32)
    for other in (one, 2 * one, np.array([4, 3], np.float32)):
        tally.add(one, other)
    figures = tally.figures()
    assert (figures.photos, figures.cosine_median) == (3, pytest.approx(1))
    assert figures.cosine_least == pytest.approx(24 / 25)
    verdict = tally.judge(Limits())
    assert verdict.within is False
    assert verdict.beyond == ("the least cosine is 0.960000, and 0.999 is the limit",)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=4, max_size=4))
def test_a_cosine_is_one_or_there_is_no_direction(numbers: list[float]) -> None:
    vector = np.array(numbers, np.float32)
    found = cosine(vector, vector)
    assert found == pytest.approx(1) or (found == 0 and np.linalg.norm(vector.astype(np.float64)) < 1e-150)


@pytest.mark.parametrize("number", [0, np.nan, np.inf])
def test_vectors_without_a_direction_are_like_nothing(number: float) -> None:
    vector = np.full(4, number, np.float32)
    assert cosine(vector, vector) == 0
    assert cosine(vector, np.ones(4, np.float32)) == 0


def species(*scores: tuple[str, float]) -> SpeciesScores:
    labels, numbers = zip(*scores, strict=True)
    return SpeciesScores(labels, numbers)


def test_classes_are_compared_by_the_first_and_by_scores() -> None:
    tally = Ranks()
    tally.add(species(("cat", 0.6), ("dog", 0.3)), species(("cat", 0.55), ("dog", 0.35)))
    tally.add(species(("cat", 0.51), ("dog", 0.49)), species(("dog", 0.51), ("cat", 0.49)))
    figures = tally.figures()
    assert (figures.photos, figures.same_first) == (2, 1)
    assert figures.scores.greatest == pytest.approx(0.05)
    assert tally.judge(Limits()).beyond[0] == "1 of 2 photos got another first class"
    assert "a score moved by" in tally.judge(Limits()).beyond[1]


def test_a_class_that_a_list_leaves_out_has_its_least_score_at_most() -> None:
    tally = Ranks()
    tally.add(species(("cat", 0.6), ("dog", 0.3)), species(("cat", 0.6), ("fox", 0.1)))
    assert tally.figures().scores.greatest == pytest.approx(0.2), "the dog lost 0.3 - 0.1 at least"


def test_places_are_classes() -> None:
    def answer(*probabilities: float) -> Geolocation:
        candidates = [
            LocationCandidate(Coordinate(number, 0), each) for number, each in enumerate(probabilities)
        ]
        return Geolocation(tuple(candidates), (), 1, 2)

    tally = Ranks()
    tally.add(answer(0.5, 0.2), answer(0.49, 0.2))
    assert tally.judge(Limits()).within
    assert tally.figures().same_first == 1


def test_texts_are_for_people_to_judge() -> None:
    tally = Texts()
    for text in ("a dog", "a cat", "two cats"):
        tally.add("a dog", text)
    figures = tally.figures()
    assert (figures.photos, figures.same) == (3, 1)
    assert figures.examples == (("a dog", "a cat"), ("a dog", "two cats"))
    assert tally.judge(Limits()).within is None


# -- which of them -----------------------------------------------------------------------------------------


def card(capability: Capability) -> ModelCard:
    facts: dict[str, Any] = dict.fromkeys(("description", "licence", "homepage", "preprocessing"), "x")
    return ModelCard(name="m", capabilities=frozenset({capability}), parameters=0, multiply_adds=0, **facts)


@pytest.mark.parametrize("capability", catalogue().values(), ids=str)
def test_a_model_is_compared_by_what_it_gives(capability: Capability) -> None:
    kinds = {
        IMAGE_EMBEDDING: Vectors,
        SPECIES: Ranks,
        GEOLOCATION: Ranks,
        NSFW_SCORE: Ranks,
        CAPTION: Texts,
        TEXT_LINES: Texts,
    }
    if capability in kinds:
        assert isinstance(tally_for(card(capability), 0.2), kinds[capability])
    elif capability.name.endswith("_boxes"):
        assert isinstance(tally_for(card(capability), 0.2), Finds)
    else:
        with pytest.raises(InvalidRequest, match=f"m gives {capability.name}, which says nothing about a"):
            tally_for(card(capability), 0.2)
