from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sightline.models.mtcnn.geometry import GRID
from sightline.models.mtcnn.pyramid import AreaSums, bin_edges, levels, pack, pieces

Pixels = NDArray[np.uint8]
SIDES = st.integers(1, 40)


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def averaged(pixels: Pixels, height: int, width: int) -> NDArray[np.float64]:
    """Adaptive average pooling bin by bin, scaled as the networks want it: [3, height, width]."""
    result = np.empty((3, height, width))
    for row in range(height):
        top, bottom = row * len(pixels) // height, math.ceil((row + 1) * len(pixels) / height)
        for column in range(width):
            left = column * pixels.shape[1] // width
            right = math.ceil((column + 1) * pixels.shape[1] / width)
            result[:, row, column] = pixels[top:bottom, left:right].mean(axis=(0, 1))
    return (result - 127.5) / 128


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, out_height=SIDES, out_width=SIDES)
def test_means_are_adaptive_averages(height: int, width: int, out_height: int, out_width: int) -> None:
    pixels = noise(height, width)
    out = np.full((3, out_height, out_width), np.nan, np.float32)
    AreaSums(pixels).means(bin_edges(height, out_height), bin_edges(width, out_width), out)
    np.testing.assert_allclose(out, averaged(pixels, out_height, out_width), atol=1e-6)


def test_a_part_of_the_bins_is_a_part_of_the_picture() -> None:
    sums = AreaSums(noise(50, 70))
    rows, columns = bin_edges(50, 31), bin_edges(70, 43)
    whole = np.empty((3, 31, 43), np.float32)
    sums.means(rows, columns, whole)
    canvas = np.zeros((3, 20, 20), np.float32)
    sums.means(
        (rows[0][10:20], rows[1][10:20]), (columns[0][30:43], columns[1][30:43]), canvas[:, 2:12, 3:16]
    )
    np.testing.assert_array_equal(canvas[:, 2:12, 3:16], whole[:, 10:20, 30:43])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.sampled_from([1, 5, 24]))
def test_crops_are_adaptive_averages_of_parts(data: st.DataObject, size: int) -> None:
    height, width = data.draw(SIDES), data.draw(SIDES)
    pixels = noise(height, width)
    boxes = []
    for _ in range(data.draw(st.integers(1, 4))):
        left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
        boxes.append((left, top, right, bottom))
    out = np.full((len(boxes), 3, size, size), np.nan, np.float32)
    AreaSums(pixels).crops(np.array(boxes, dtype=np.intp), size, out)
    for crop, (left, top, right, bottom) in zip(out, boxes, strict=True):
        np.testing.assert_allclose(crop, averaged(pixels[top:bottom, left:right], size, size), atol=1e-6)


def test_sums_that_wrap_around_are_right() -> None:
    """17 million white pixels add up to more than 32 bits hold."""
    side = 4150
    sums = AreaSums(np.broadcast_to(np.uint8(255), (side, side, 3)))
    crop = np.empty((1, 3, 24, 24), np.float32)
    sums.crops(np.array([[side - 100, side - 90, side, side]], dtype=np.intp), 24, crop)
    np.testing.assert_array_equal(crop, np.float32(127.5 / 128))
    whole = np.empty((3, 7, 7), np.float32)
    sums.means(bin_edges(side, 7), bin_edges(side, 7), whole)
    np.testing.assert_allclose(whole, 127.5 / 128, atol=1e-6)


def test_a_pixel_more_is_a_level_more() -> None:
    assert levels(19, 4000) == []
    (level,) = levels(20, 20)
    assert (level.scale, level.height, level.width, level.grid) == (0.6, 13, 13, (2, 2))
    assert len(levels(480, 640)) == len(levels(640, 480)) == 10
    assert len(levels(3000, 4000)) == 15


@settings(max_examples=80, deadline=None)
@given(height=st.integers(20, 1200), width=st.integers(20, 1200))
def test_pieces_cover_every_window_once_and_never_meet(height: int, width: int) -> None:
    pyramid = levels(height, width)
    covered = [np.zeros(level.grid, int) for level in pyramid]
    for placements in pack(pieces(pyramid)):
        # A piece of r × c windows stands on (r + 5) × (c + 5) pooled pixels; the canvas has GRID + 5.
        canvas = np.zeros((GRID + 5, GRID + 5), int)
        for placed in placements:
            piece = placed.piece
            covered[piece.level][
                piece.row : piece.row + piece.rows, piece.column : piece.column + piece.columns
            ] += 1
            ground = canvas[
                placed.row : placed.row + piece.rows + 5, placed.column : placed.column + piece.columns + 5
            ]
            assert ground.shape == (piece.rows + 5, piece.columns + 5)
            ground += 1
        assert canvas.max() == 1
    assert all((windows == 1).all() for windows in covered)


@pytest.mark.parametrize(("height", "width", "most"), [(480, 640, 7), (720, 1280, 20), (3000, 4000, 250)])
def test_packing_is_tight(height: int, width: int, most: int) -> None:
    assert len(pack(pieces(levels(height, width)))) <= most
