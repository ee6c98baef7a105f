"""Regions of a map against slower ways to the same numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sightline.models.pp_ocr.regions import (
    RowSums,
    clockwise,
    components,
    dilated,
    grown,
    smallest_rectangle,
)

_TURNS = np.linspace(0, np.pi / 2, 500)
MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def _flooded(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Components, 8-connected, by flood fill: sets of (x, y)."""
    left = {(x, y) for y, x in np.argwhere(mask).tolist()}
    found = []
    while left:
        todo = [left.pop()]
        part = set(todo)
        while todo:
            x, y = todo.pop()
            near = {(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)} & left
            left -= near
            part |= near
            todo += near
        found.append(part)
    return found


@given(MASKS)
def test_components_are_those_of_a_flood_fill(mask: np.ndarray) -> None:
    flooded = _flooded(mask)
    found = components(mask, most=100)
    assert len(found) == len(flooded)
    for points in found:
        corners = {tuple(point) for point in points.astype(int).tolist()}
        (whole,) = [part for part in flooded if corners <= part]
        for axis in (0, 1):
            assert {min(c[axis] for c in corners), max(c[axis] for c in corners)} == {
                min(c[axis] for c in whole),
                max(c[axis] for c in whole),
            }


def test_no_more_components_than_wanted_and_from_the_bottom() -> None:
    mask = np.zeros((9, 9), bool)
    mask[::2, ::2] = True
    found = components(mask, most=3)
    assert len(found) == 3
    assert all(points[0, 1] == 8 for points in found)


@given(MASKS)
def test_dilation_is_by_a_square_of_two(mask: np.ndarray) -> None:
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        expected[y : y + 2, x : x + 2] = True
    assert (dilated(mask) == expected).all()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=12, unique=True))
def test_the_smallest_rectangle_holds_all_points_and_none_is_smaller(points: list[tuple[int, int]]) -> None:
    array = np.array(points, np.float64)
    corners, short_side = smallest_rectangle(array)
    sides = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    assert np.isclose(sides.min(), short_side, atol=1e-6)
    axes = [np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))]) for turn in _TURNS]
    best = min(float(np.prod(np.ptp(array @ axis.T, axis=0))) for axis in axes)
    assert sides[0] * sides[1] <= best + 1e-6
    low, high = array.min(axis=0), array.max(axis=0)
    assert (corners.min(axis=0) <= low + 1e-6).all()
    assert (corners.max(axis=0) >= high - 1e-6).all()


def test_corners_go_clockwise_from_the_top_left() -> None:
    corners = clockwise(np.array([(9.0, 8.0), (0.0, 1.0), (9.0, 2.0), (0.0, 7.0)]))
    assert corners.tolist() == [[0, 1], [9, 2], [9, 8], [0, 7]]


def test_growth_is_area_by_perimeter_on_every_side() -> None:
    corners, short_side = grown(np.array([(10.0, 10.0), (50.0, 10.0), (50.0, 20.0), (10.0, 20.0)]), 1.6)
    # 400 × 1.6 / 100 = 6.4 pixels, rounded to whole ones: 10 - 6.4 and 20 + 6.4.
    assert corners.tolist() == [[4, 4], [56, 4], [56, 26], [4, 26]]
    assert short_side == 22


@given(
    arrays(np.float32, (12, 15), elements=st.floats(0, 1, width=32)),
    st.integers(0, 8), st.integers(0, 6), st.integers(1, 12), st.integers(1, 9),
)  # fmt: skip
def test_the_mean_inside_an_upright_rectangle_is_that_of_its_pixels(
    values: np.ndarray, x: int, y: int, width: int, height: int
) -> None:
    right, bottom = min(x + width, 14), min(y + height, 11)
    corners = np.array([(x, y), (right, y), (right, bottom), (x, bottom)], np.float64)
    expected = values[y : bottom + 1, x : right + 1].mean(dtype=np.float64)
    assert np.isclose(RowSums(values).mean_inside(corners), expected)


def test_the_mean_inside_a_tilted_rectangle_leaves_its_surroundings_out() -> None:
    values = np.zeros((60, 60), np.float32)
    y, x = np.mgrid[:60, :60]
    inside = (abs((x - 30) + (y - 30)) <= 20) & (abs((x - 30) - (y - 30)) <= 8)
    values[inside] = 1
    corners = clockwise(np.array([(16.0, 24.0), (24.0, 16.0), (44.0, 36.0), (36.0, 44.0)]))
    assert RowSums(values).mean_inside(corners) > 0.9
    assert RowSums(1 - values).mean_inside(corners) < 0.1
