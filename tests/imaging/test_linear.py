"""Bilinear resampling against the same written out pixel by pixel. tests/parity has OpenCV and torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.imaging import interpolate, resize_linear

sides = st.integers(1, 23)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def slowly(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Exactly bilinear, in doubles, [height, width, 3]."""
    rows, columns = pixels.shape[:2]
    result = np.empty((height, width, 3))
    for y in range(height):
        for x in range(width):
            at_y = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            at_x = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = math.floor(at_y), math.floor(at_x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            down, across = at_y - top, at_x - left
            upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
            lower = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
            result[y, x] = upper * (1 - down) + lower * down
    return result


@given(sides, sides, sides, sides, st.integers(0, 9))
def test_whole_levels_are_the_exact_ones_rounded(h: int, w: int, height: int, width: int, seed: int) -> None:
    pixels = noise(h, w, seed)
    found = resize_linear(pixels, width, height)
    assert found.dtype == np.uint8
    assert found.shape == (height, width, 3)
    # Shares are rounded to 2048ths, along both axes, and the sum is cut before it is rounded.
    assert np.abs(found - slowly(pixels, width, height)).max() <= 0.5 + 2 * 255 / 4096 + 0.5


@given(sides, sides, sides, sides, st.integers(0, 9))
def test_shares_of_one_are_the_exact_ones(h: int, w: int, height: int, width: int, seed: int) -> None:
    pixels = noise(h, w, seed)
    found = interpolate(pixels, width, height)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * 255, slowly(pixels, width, height), atol=1e-3)


@pytest.mark.parametrize("level", [0, 1, 114, 254, 255])
def test_one_colour_stays_itself(level: int) -> None:
    """But for the outermost rows, which lose a level where both cuts fall on the same row: as in OpenCV."""
    pixels = np.full((7, 11, 3), level, np.uint8)
    inside = resize_linear(pixels, 64, 50)[5:-5]
    assert np.array_equal(inside, np.full_like(inside, level))
    np.testing.assert_allclose(interpolate(pixels, 64, 50), level / 255, rtol=1e-6)


def test_halving_takes_the_mean_of_four() -> None:
    pixels = noise(8, 12)
    means = pixels.reshape(4, 2, 6, 2, 3).astype(int).sum(axis=(1, 3))
    assert np.array_equal(resize_linear(pixels, 6, 4), (means + 2) // 4)


def test_nothing_is_smoothed_before_shrinking() -> None:
    """Of nine columns, two are read; PIL would read them all."""
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels[4, 4] = 255
    assert resize_linear(pixels, 1, 1).max() == 255
    assert interpolate(pixels, 1, 1).max() == 1


def test_the_same_size_is_the_same_pixels() -> None:
    pixels = noise(5, 6)
    assert resize_linear(pixels, 6, 5) is pixels
    assert np.array_equal(interpolate(pixels, 6, 5), pixels / np.float32(255))


def test_colours_stay_apart() -> None:
    pixels = np.zeros((3, 3, 3), np.uint8)
    pixels[..., 1] = 200
    for found in (resize_linear(pixels, 8, 5), interpolate(pixels, 8, 5)):
        assert not found[..., [0, 2]].any()
        assert found[..., 1].all()


def test_an_image_of_more_rows_than_are_computed_at_a_time() -> None:
    pixels = noise(90, 4)
    whole = slowly(pixels, 4, 77)
    assert np.abs(resize_linear(pixels, 4, 77) - whole).max() <= 1.2
