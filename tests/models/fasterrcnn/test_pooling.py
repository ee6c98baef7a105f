from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sightline.models.fasterrcnn.pooling import BINS, SAMPLES, pool


def pooled(cells: Any, boxes: Any) -> Any:
    output = np.full((len(boxes), BINS, BINS, cells.shape[2]), np.nan, np.float32)
    pool(cells, np.asarray(boxes, np.float32), output, np.arange(len(boxes)))
    return output


def sample(cells: Any, x: float, y: float) -> Any:
    """One sample as the definition says: between the four nearest cells, nothing a cell off the map."""
    height, width, _ = cells.shape
    if not (-1 <= x <= width and -1 <= y <= height):
        return np.zeros(cells.shape[2])
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    dx, dy = x - left, y - top
    upper = cells[top, left] * (1 - dx) + cells[top, right] * dx
    lower = cells[bottom, left] * (1 - dx) + cells[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def defined(cells: Any, box: Any) -> Any:
    """RoIAlign by its definition, sample after sample, in doubles."""
    left, top, right, bottom = map(float, box)
    wide, high = max(right - left, 1) / BINS, max(bottom - top, 1) / BINS
    output = np.zeros((BINS, BINS, cells.shape[2]))
    for row, column in np.ndindex(BINS, BINS):
        for i, j in np.ndindex(SAMPLES, SAMPLES):
            y = top + (row + (i + 0.5) / SAMPLES) * high
            x = left + (column + (j + 0.5) / SAMPLES) * wide
            output[row, column] += sample(cells, x, y) / SAMPLES**2
    return output


@given(
    cells=arrays(
        np.float32, st.tuples(*[st.integers(1, 12)] * 2, st.just(3)), elements=st.floats(-9, 9, width=16)
    ),
    corner=st.tuples(st.floats(-3, 12, width=16), st.floats(-3, 12, width=16)),
    sides=st.tuples(st.floats(0, 15, width=16), st.floats(0, 15, width=16)),
)
def test_a_box_is_pooled_as_defined(cells: Any, corner: Any, sides: Any) -> None:
    box = np.array([*corner, *np.add(corner, sides)], np.float32)
    # A sample on the very edge of what counts may be rounded to either side.
    for start, side, size in zip(corner, np.maximum(sides, 1), cells.shape[1::-1], strict=True):
        places = start + (np.arange(BINS * SAMPLES) + 0.5) * side / (BINS * SAMPLES)
        if np.isclose(places, -1, atol=1e-4).any() or np.isclose(places, size, atol=1e-4).any():
            return
    (found,) = pooled(cells, [box])
    np.testing.assert_allclose(found, defined(cells, box), atol=1e-3)


def test_every_box_of_many_gets_its_own_row() -> None:
    random = np.random.default_rng(3)
    cells = random.standard_normal((40, 30, 5)).astype(np.float32)
    corners = random.uniform(0, 20, (50, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0, 18, (50, 2))], 1).astype(np.float32)
    output = np.full((60, BINS, BINS, 5), np.nan, np.float32)
    rows = random.permutation(60)[:50]
    pool(cells, boxes, output, rows)
    for row, box in zip(rows, boxes, strict=True):
        np.testing.assert_allclose(output[row], defined(cells, box), atol=1e-4)
    others = np.setdiff1d(np.arange(60), rows)
    assert np.isnan(output[others]).all()


@pytest.mark.parametrize("box", [(-9, -9, -5, -5), (50, 2, 60, 8), (2, 50, 8, 60)])
def test_off_the_map_there_is_nothing(box: Any) -> None:
    assert not pooled(np.ones((10, 10, 2), np.float32), [box]).any()
