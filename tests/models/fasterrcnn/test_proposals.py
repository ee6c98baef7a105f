from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sightline.models.fasterrcnn.proposals import (
    CELL_OUTPUTS,
    anchor_shapes,
    clipped,
    decode,
    grids,
    propose,
    with_area,
)
from sightline.models.fasterrcnn.scaling import Scaled

SMALL = np.float32(-20)


def blank(height: int, width: int, image: tuple[int, int] = (64, 96)) -> tuple[Scaled, np.ndarray]:
    """A photo of that size on an image, and an answer that finds nothing likely."""
    scaled = Scaled(np.zeros((1, 3, *image), np.float32), height, width, height, width)
    count = sum(rows * columns for rows, columns in grids(*image))
    answer = np.zeros((count, CELL_OUTPUTS), np.float32)
    answer[:, :3] = SMALL
    return scaled, answer


def first_cell(level: int, image: tuple[int, int] = (64, 96)) -> int:
    return sum(rows * columns for rows, columns in grids(*image)[:level])


def test_anchors_are_those_of_the_reference() -> None:
    """As torchvision's ``AnchorGenerator.generate_anchors`` gives them for 32 and 512."""
    assert anchor_shapes(32).tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert anchor_shapes(512).tolist() == [
        [-362, -181, 362, 181],
        [-256, -256, 256, 256],
        [-181, -362, 181, 362],
    ]


def test_the_last_level_has_half_the_cells_rounded_up() -> None:
    assert grids(800, 1088) == [(200, 272), (100, 136), (50, 68), (25, 34), (13, 17)]
    assert grids(32, 32) == [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]


boxes = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(1, 500), st.floats(1, 500))


@given(boxes, arrays(np.float64, 4, elements=st.floats(-5, 5)))
def test_offsets_move_the_centre_and_stretch_the_sides(
    box: tuple[float, float, float, float], offsets: np.ndarray
) -> None:
    x, y, width, height = box
    found = decode(np.array([[x, y, x + width, y + height]], np.float32), offsets.astype(np.float32)[None])
    growth = np.exp(np.minimum(offsets[2:], math.log(1000 / 16)))
    middle = np.array([x + width / 2 + offsets[0] * width, y + height / 2 + offsets[1] * height])
    reach = growth * [width, height] / 2
    np.testing.assert_allclose(found[0], [*(middle - reach), *(middle + reach)], rtol=1e-4, atol=0.02)


@given(arrays(np.float32, (7, 4), elements=st.floats(-100, 200, width=32)))
def test_what_is_clipped_lies_inside(corners: np.ndarray) -> None:
    inside = clipped(corners, height=60, width=90)
    assert (inside >= 0).all()
    assert (inside <= [90, 60, 90, 60]).all()
    already = (corners >= 0) & (corners <= [90, 60, 90, 60])
    np.testing.assert_array_equal(inside[already], corners[already])


def test_a_box_needs_both_sides() -> None:
    thin = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1], [5, 5, 5, 9], [0, 0, 1, 0.4]], np.float32)
    assert with_area(thin, 0.5).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("level", "row", "column", "shape", "wanted"),
    [
        (0, 10, 12, 1, [48 - 16, 40 - 16, 48 + 16, 40 + 16]),
        (1, 4, 6, 0, [48 - 45, 32 - 23, 90, 32 + 23]),
        # 64 × 96 has 1 × 2 cells in the last level, 48 pixels apart; the anchor covers the whole photo.
        (4, 0, 1, 1, [0, 0, 90, 60]),
    ],
)
def test_the_likeliest_cell_is_proposed_first(
    level: int, row: int, column: int, shape: int, wanted: list[float]
) -> None:
    scaled, answer = blank(60, 90)
    columns = grids(64, 96)[level][1]
    answer[first_cell(level) + row * columns + column, shape] = 5
    np.testing.assert_array_equal(propose(answer, scaled)[0], wanted)


def test_an_anchors_own_offsets_are_used() -> None:
    scaled, answer = blank(64, 96)
    cell = 10 * 24 + 12
    answer[cell, 2] = 5
    answer[cell, 3 + 8 : 3 + 12] = [0.5, 0, 0, math.log(0.5)]  # half a width to the right, half as high
    np.testing.assert_allclose(propose(answer, scaled)[0], [48, 40 - 11.5, 48 + 22, 40 + 11.5], rtol=1e-6)


def test_at_most_a_thousand_are_proposed_the_best_of_each_level_first_in_line() -> None:
    generator = np.random.default_rng(0)
    image = (512, 512)
    scaled, answer = blank(500, 500, image)
    answer[:, :3] = generator.normal(0, 2, (len(answer), 3))
    found = propose(answer, scaled)
    assert found.shape == (1000, 4)
    assert found.dtype == np.float32
    assert with_area(found, 1e-3).all()
    best = int(answer[:, :3].max(1).argmax())
    level = next(level for level in (4, 3, 2, 1, 0) if best >= first_cell(level, image))
    rows, columns = grids(*image)[level]
    y, x = divmod(best - first_cell(level, image), columns)
    shape = anchor_shapes((32, 64, 128, 256, 512)[level])[int(answer[best, :3].argmax())]
    corner = np.array([x * (512 // columns), y * (512 // rows)] * 2, np.float32)
    np.testing.assert_array_equal(found[0], clipped((corner + shape)[None], 500, 500)[0])
