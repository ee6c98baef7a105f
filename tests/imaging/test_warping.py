"""Quadrilaterals as rectangles."""

from __future__ import annotations

import numpy as np
from skimage import data

from sightline.imaging import warp_quad


def test_an_upright_rectangle_is_a_copy_of_its_pixels() -> None:
    pixels = data.astronaut()
    found = warp_quad(pixels, np.array([(10.0, 20), (110, 20), (110, 70), (10, 70)]), 100, 50)
    assert (found == pixels[20:70, 10:110]).all()
    assert not np.shares_memory(found, pixels)


def test_a_turned_rectangle_comes_out_upright() -> None:
    pixels = data.astronaut()
    # Clockwise from the corner that becomes the top left: a quarter turn. Corners are pixel centres.
    quad = np.array([(109.0, 20), (109, 120), (9, 120), (9, 20)])
    found = warp_quad(pixels, quad, 100, 100).astype(int)
    assert np.abs(found - np.rot90(pixels[20:120, 10:110]).astype(int)).max() <= 1


def test_what_lies_outside_repeats_the_edge() -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, 0] = 200
    found = warp_quad(pixels, np.array([(-30.0, 1), (-10, 2), (-10, 12), (-30, 11)]), 20, 10)
    assert (found == 200).all()


def test_a_wave_is_interpolated_and_not_stepped() -> None:
    x = np.arange(200)
    wave = np.broadcast_to((127 + 100 * np.sin(x / 9))[None, :, None], (40, 200, 3)).astype(np.uint8)
    found = warp_quad(wave, np.array([(20.5, 5), (120.5, 5), (120.5, 25), (20.5, 25)]), 100, 20)
    expected = 127 + 100 * np.sin((np.arange(100) + 20.5) / 9)
    assert np.abs(found[10, :, 0] - expected).max() <= 2
