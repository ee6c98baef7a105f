from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sightline.models.mtcnn.pyramid import FACTOR
from sightline.models.mtcnn.suppression import suppress, suppress_contained, suppress_windows

Floats = NDArray[np.float32]


def overlap(a: Floats, b: Floats, grow: int, of_smaller: bool) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + grow
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(box[2:] - box[:2] + grow)) for box in (a, b)]
    whole = min(areas) if of_smaller else sum(areas) - shared
    return shared / whole if whole else 0.0


def brute(
    boxes: Floats, order: list[int], threshold: float, grow: int = 0, of_smaller: bool = False
) -> list[int]:
    kept: list[int] = []
    for index in order:
        if all(overlap(boxes[index], boxes[other], grow, of_smaller) <= threshold for other in kept):
            kept.append(index)
    return kept


def descending(scores: Floats) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))


@st.composite
def scored_boxes(draw: st.DrawFn) -> tuple[Floats, Floats]:
    count = draw(st.integers(0, 25))
    corners = st.integers(-10, 30)
    boxes = [
        (x, y, x + draw(st.integers(1, 20)), y + draw(st.integers(1, 20)))
        for x, y in draw(st.lists(st.tuples(corners, corners), min_size=count, max_size=count))
    ]
    # Few different scores, so that many are equal.
    scores = draw(st.lists(st.integers(1, 8), min_size=count, max_size=count))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32) / 8


@settings(max_examples=150, deadline=None)
@given(scored_boxes(), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppress_is_the_greedy_rule(found: tuple[Floats, Floats], threshold: float) -> None:
    boxes, scores = found
    assert suppress(boxes, scores, threshold).tolist() == brute(boxes, descending(scores), threshold)


@settings(max_examples=150, deadline=None)
@given(scored_boxes())
def test_suppress_contained_measures_by_the_smaller_box(found: tuple[Floats, Floats]) -> None:
    boxes, scores = found
    order = sorted(range(len(scores)), key=lambda index: (scores[index], index), reverse=True)
    assert suppress_contained(boxes, scores, 0.7).tolist() == brute(boxes, order, 0.7, 1, True)


def test_a_face_inside_a_face_goes_only_by_the_smaller_box() -> None:
    boxes = np.array([[0, 0, 100, 100], [10, 10, 40, 40]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert suppress(boxes, scores, 0.7).tolist() == [0, 1]
    assert suppress_contained(boxes, scores, 0.7).tolist() == [0]


def test_boxes_without_area_overlap_nothing() -> None:
    boxes = np.zeros((2, 4), np.float32)
    assert suppress(boxes, np.array([0.1, 0.2], np.float32), 0.5).tolist() == [1, 0]


@settings(max_examples=100, deadline=None)
@given(
    level=st.integers(0, 12),
    share=st.floats(0.02, 1),
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 18),
    columns=st.integers(1, 18),
)
def test_windows_are_suppressed_like_any_boxes(
    level: int, share: float, seed: int, rows: int, columns: int
) -> None:
    random = np.random.default_rng(seed)
    at_rows, at_columns = np.nonzero(random.random((rows, columns)) < share)
    corner = 2 * np.stack([at_columns, at_rows], axis=1)
    scale = 0.6 * FACTOR**level
    boxes = np.floor(np.concatenate([corner + 1, corner + 12], axis=1) / scale).astype(np.float32)
    scores = (random.integers(600, 640, len(boxes)) / 1000).astype(np.float32)
    kept = suppress_windows(at_rows, at_columns, boxes, scores, 0.5, (rows, columns))
    assert kept.tolist() == suppress(boxes, scores, 0.5).tolist() == brute(boxes, descending(scores), 0.5)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_are_kept(count: int) -> None:
    cells, boxes = np.zeros(count, np.intp), np.ones((count, 4), np.float32)
    scores = np.ones(count, np.float32)
    assert suppress(boxes, scores, 0.5).tolist() == list(range(count))
    assert suppress_contained(boxes, scores, 0.5).tolist() == list(range(count))
    assert suppress_windows(cells, cells, boxes, scores, 0.5, (3, 3)).tolist() == list(range(count))
