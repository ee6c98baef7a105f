from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.models.fasterrcnn.suppression import suppress


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union in f32, in the order of operations of torchvision's loop."""
    width = max(np.float32(0), min(one[2], other[2]) - max(one[0], other[0]))
    height = max(np.float32(0), min(one[3], other[3]) - max(one[1], other[1]))
    shared = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(shared / (areas - shared))


def one_by_one(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, threshold: float) -> list[int]:
    """The definition: best first, each held against everything kept so far."""
    if len(boxes) <= 1000:
        boxes = boxes + (groups * (boxes.max() + np.float32(1))).astype(np.float32)[:, None]
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        rivals = (other for other in kept if groups[other] == groups[index])
        if all(overlap(boxes[other], boxes[index]) <= np.float32(threshold) for other in rivals):
            kept.append(index)
    return kept


def crowd(seed: int, count: int, spread: float, num_groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, spread, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(1, 80, (count, 2))], 1).astype(np.float32)
    # Few different scores: ties are where an order shows.
    scores = generator.integers(1, 30, count).astype(np.float32) / 30
    return boxes, scores, generator.integers(0, num_groups, count)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 150),
    st.sampled_from([20.0, 200.0, 1000.0]),
    st.integers(1, 5),
    st.sampled_from([0.3, 0.5, 0.7]),
)
def test_it_keeps_what_the_definition_keeps(
    seed: int, count: int, spread: float, num_groups: int, threshold: float
) -> None:
    boxes, scores, groups = crowd(seed, count, spread, num_groups)
    kept = suppress(boxes, scores, groups, threshold)
    assert kept.tolist() == one_by_one(boxes, scores, groups, threshold)


@pytest.mark.parametrize("num_groups", [1, 5])
def test_it_keeps_the_same_of_very_many(num_groups: int) -> None:
    boxes, scores, groups = crowd(4, 1200, 300, num_groups)
    assert suppress(boxes, scores, groups, 0.5).tolist() == one_by_one(boxes, scores, groups, 0.5)


def test_an_overlap_of_exactly_the_threshold_is_no_reason_to_go() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 1.01, 1]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert suppress(boxes[:2], scores[:2], np.zeros(2, np.intp), 0.5).tolist() == [0, 1]
    assert suppress(boxes[[0, 2]], scores[:2], np.zeros(2, np.intp), 0.5).tolist() == [0]


def test_what_was_dropped_drops_nothing() -> None:
    """Each overlaps the next one only: the third stays because the second has gone."""
    boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert suppress(boxes, scores, np.zeros(3, np.intp), 0.5).tolist() == [0, 2]


def test_groups_do_not_compete() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    assert suppress(boxes, scores, np.array([0, 0, 1]), 0.5).tolist() == [1, 2]


def test_of_nothing_nothing_is_kept() -> None:
    nothing = np.empty(0, np.float32)
    assert suppress(nothing.reshape(0, 4), nothing, nothing.astype(np.intp), 0.5).tolist() == []
