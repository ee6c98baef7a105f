from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.models.megadetector.suppression import CANDIDATES, DETECTIONS, choose


def candidate(
    x: float, y: float, width: float, height: float, anything: float, *classes: float
) -> list[float]:
    return [x, y, width, height, anything, *classes]


def answer(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 8)


def slowly(rows: np.ndarray) -> list[int]:
    """Rows kept, likeliest first: the rules one candidate at a time, in f32 as everywhere."""
    judged = []
    for number, row in enumerate(rows):
        likely = row[5:] * row[4]
        if row[4] > np.float32(0.01) and likely.max() > np.float32(0.01):
            judged.append((-likely.max(), number, int(likely.argmax())))
    kept: list[tuple[int, np.ndarray]] = []
    for _, number, label in sorted(judged, key=lambda each: (each[0], each[1])):
        half = rows[number, 2:4] / 2
        corners = np.concatenate([rows[number, :2] - half, rows[number, :2] + half])
        corners = (corners + np.float32(label) * np.float32(7680)).astype(np.float32)
        if all(overlap(other, corners) <= 0.45 for _, other in kept):
            kept.append((number, corners))
    return [number for number, _ in kept][:DETECTIONS]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = np.prod(np.maximum(sides, np.float32(0)))
    areas = [np.prod(each[2:] - each[:2]) for each in (one, other)]
    return float(shared / (areas[0] + areas[1] - shared))


def test_the_likeliest_class_counts_and_scores_are_products() -> None:
    corners, scores, classes = choose(answer(candidate(100, 60, 40, 20, 0.5, 0.2, 0.9, 0.4)))
    assert corners.tolist() == [[80, 50, 120, 70]]
    assert scores.tolist() == pytest.approx([0.45])
    assert classes.tolist() == [1]


@pytest.mark.parametrize(
    ("anything", "likely", "kept"),
    [
        (0.0101, 1.0, True), (0.01, 1.0, False), (0.009, 1.0, False), (0.5, 0.0201, True),
        (0.5, 0.0199, False), (1.0, 0.01, False), (0.0, 0.0, False), (1.0, 1.0, True),
    ],
)  # fmt: skip
def test_what_is_hardly_likely_goes(anything: float, likely: float, kept: bool) -> None:
    _, scores, _ = choose(answer(candidate(50, 50, 20, 20, anything, likely, 0, 0)))
    assert len(scores) == kept


@pytest.mark.parametrize(
    ("shift", "kept"),
    [(0, 1), (37, 1), (38, 2), (200, 2)],  # intersection over union 0.4599 and 0.4493
)
def test_overlap(shift: float, kept: int) -> None:
    rows = answer(
        candidate(100, 100, 100, 100, 0.9, 1, 0, 0), candidate(100 + shift, 100, 100, 100, 0.8, 1, 0, 0)
    )
    corners, scores, _ = choose(rows)
    assert len(scores) == kept
    assert corners[0].tolist() == [50, 50, 150, 150]


def test_classes_do_not_compete() -> None:
    rows = answer(*(candidate(100, 100, 50, 50, 0.9, *row) for row in np.eye(3)))
    _, scores, classes = choose(rows)
    assert sorted(classes.tolist()) == [0, 1, 2]
    assert len(scores) == 3


def test_a_defeated_box_defeats_nobody() -> None:
    """Three in a row, each over its neighbours: the middle one is gone before it meets the third."""
    rows = answer(*(candidate(100 + 30 * n, 100, 100, 100, 0.9 - n / 10, 1, 0, 0) for n in range(3)))
    corners, _, _ = choose(rows)
    assert corners[:, 0].tolist() == [50, 110]


def test_of_equal_scores_the_first_stays() -> None:
    rows = answer(candidate(100, 100, 50, 50, 0.5, 1, 0, 0), candidate(101, 100, 50, 50, 0.5, 1, 0, 0))
    assert choose(rows)[0].tolist() == [[75, 75, 125, 125]]


def test_at_most_300_stay_the_likeliest_first() -> None:
    generator = np.random.default_rng(0)
    rows = np.zeros((DETECTIONS + 50, 8), np.float32)
    rows[:, 0] = np.arange(len(rows)) * 10
    rows[:, 1:4] = 5
    rows[:, 4] = generator.uniform(0.1, 1, len(rows))
    rows[:, 5] = 1
    _, scores, _ = choose(rows)
    assert scores.tolist() == sorted(rows[:, 4].tolist(), reverse=True)[:DETECTIONS]


def test_at_most_30000_are_looked_at() -> None:
    rows = np.zeros((CANDIDATES + 1, 8), np.float32)
    rows[:, :2], rows[:, 2:4], rows[:, 4], rows[:, 5] = 100, 50, 0.9, 1
    rows[-1] = candidate(500, 500, 50, 50, 0.5, 1, 0, 0)
    assert len(choose(rows)[0]) == 1, "the last one is the least likely of all"


def test_boxes_without_an_area() -> None:
    rows = answer(*(candidate(10, 10, 0, 0, score, 1, 0, 0) for score in (0.9, 0.8)))
    assert len(choose(rows)[0]) == 2


def test_nothing_is_nothing() -> None:
    for rows in (np.empty((0, 8), np.float32), np.zeros((100, 8), np.float32)):
        corners, scores, classes = choose(rows)
        assert corners.shape == (0, 4)
        assert len(scores) == len(classes) == 0


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_the_same_as_one_by_one(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            generator.uniform(0, 200, (count, 2)),
            generator.uniform(1, 120, (count, 2)),
            generator.random((count, 4)) ** 4,
        ],
        axis=1,
    ).astype(np.float32)
    corners, scores, classes = choose(rows)
    wanted = rows[slowly(rows)]
    np.testing.assert_array_equal(
        corners[:, :2] + corners[:, 2:],
        (wanted[:, :2] - wanted[:, 2:4] / 2) + (wanted[:, :2] + wanted[:, 2:4] / 2),
    )
    np.testing.assert_array_equal(scores, (wanted[:, 5:] * wanted[:, 4:5]).max(axis=1))
    np.testing.assert_array_equal(classes, (wanted[:, 5:] * wanted[:, 4:5]).argmax(axis=1))
