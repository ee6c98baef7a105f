from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.collections import Collection, Space
from sightline.errors import CollectionError
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.scoring import calibrated_threshold, evaluate, scores_of
from sightline.jobs.collections.training import train

Made = Callable[..., Examples]
LABELLED = st.lists(
    st.tuples(st.sampled_from(np.linspace(0, 1, 21).tolist()), st.booleans()), min_size=2, max_size=40
)


def test_scores_by_hand() -> None:
    # Said to be in: the first three, of which two are. Of the other three, one is.
    log_odds = np.array([3.0, 2.0, 1.0, -1.0, -2.0, -3.0])
    labels = np.array([True, True, False, True, False, False])
    scores = scores_of(log_odds, labels)
    assert scores.precision == pytest.approx(2 / 3)
    assert scores.recall == pytest.approx(2 / 3)
    assert scores.macro_precision == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores.average_precision == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert (scores.examples, scores.positives) == (6, 3)


def test_who_never_says_in_has_no_precision() -> None:
    scores = scores_of(np.array([-1.0, -2.0]), np.array([True, False]))
    assert (scores.precision, scores.recall, scores.macro_precision) == (0.0, 0.0, 0.25)


def test_a_score_of_nothing_is_out() -> None:
    assert scores_of(np.zeros(2), np.array([True, False])).recall == 0.0


def test_evaluating_a_version(collection: Collection, made: Made) -> None:
    classifier = train(collection, made()).trained
    same, opposite = evaluate(classifier, made(seed=1)), evaluate(classifier, made(-6.0, seed=1))
    assert same.macro_precision > 0.9
    assert opposite.average_precision < 0.5


@pytest.mark.parametrize(
    "other", [Space("clip-vit-b-32", "0" * 16), Space("dinov2-base", "0123456789abcdef")]
)
def test_examples_of_another_recipe_cannot_be_evaluated(
    collection: Collection, made: Made, other: Space
) -> None:
    classifier = train(collection, made()).trained
    with pytest.raises(
        CollectionError, match=rf"was trained on clip-vit-b-32 .* these examples are {other.name}"
    ):
        evaluate(classifier, made(space=other))


# -- thresholds --------------------------------------------------------------------------------------------


def f1_above(threshold: float, probabilities: np.ndarray, labels: np.ndarray) -> float:
    said = probabilities > threshold
    return 2 * int((said & labels).sum()) / int(said.sum() + labels.sum())


@settings(deadline=None)
@given(LABELLED)
def test_no_other_line_has_a_better_f1(labelled: list[tuple[float, bool]]) -> None:
    probabilities = np.array([probability for probability, _ in labelled])
    labels = np.array([label for _, label in labelled])
    if not labels.any():
        return
    threshold = calibrated_threshold(probabilities, labels)
    assert 0 <= threshold <= 1
    ours = f1_above(threshold, probabilities, labels)
    others = [f1_above(line, probabilities, labels) for line in np.linspace(0.0, 1, 81)]
    assert ours >= max(others) - 1e-9


def test_the_line_lies_in_the_middle_of_the_gap() -> None:
    probabilities = np.array([0.9, 0.8, 0.3, 0.2])
    assert calibrated_threshold(probabilities, np.array([True, True, False, False])) == pytest.approx(0.55)


def test_of_equally_good_lines_the_widest_gap_is_taken() -> None:
    # 0.95 alone, or the four above 0.2: F1 is 2/3 both times.
    probabilities = np.array([0.95, 0.6, 0.55, 0.5, 0.1])
    labels = np.array([True, False, False, True, False])
    best = calibrated_threshold(probabilities, labels)
    assert f1_above(best, probabilities, labels) == pytest.approx(2 / 3)
    assert best == pytest.approx(0.3)


def test_no_line_can_be_drawn_where_all_are_nothing() -> None:
    assert calibrated_threshold(np.zeros(4), np.array([True, False, True, False])) == 0.5


def test_probabilities_without_room_between_them() -> None:
    low, high = 0.5, float(np.nextafter(0.5, 1))
    threshold = calibrated_threshold(np.array([high, low]), np.array([True, False]))
    assert low <= threshold < high


def test_the_threshold_is_stored_with_the_version(collection: Collection, made: Made) -> None:
    hard = made(1.5)
    record = train(collection, hard).trained.record
    assert 0 < record.threshold < 1
    assert record.threshold != 0.5
    assert dataclasses.asdict(record)["held_out"]["examples"] == len(hard) // 5
