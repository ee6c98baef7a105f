from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.imaging import (
    center_crop,
    encode_jpeg,
    encode_png,
    fit_within,
    middle_square,
    resize,
    resize_short_side,
)


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 427), (335, 224)), ((427, 640), (224, 335)), ((9, 9), (224, 224))]
)
def test_long_side_is_truncated(size, expected, photo):
    pixels = resize_short_side(np.asarray(photo.resize(size)), 224)
    assert (pixels.shape[1], pixels.shape[0]) == expected


@pytest.mark.parametrize("resample", ["bicubic", "bilinear", "lanczos"])
def test_resize_is_that_of_pillow(resample, photo):
    expected = photo.resize((70, 50), Image.Resampling[resample.upper()])
    np.testing.assert_array_equal(resize(np.asarray(photo), 70, 50, resample), np.asarray(expected))


def test_resize_to_the_same_size_is_free(photo):
    pixels = np.asarray(photo)
    assert resize(pixels, 160, 120) is pixels


def test_resize_takes_views_that_are_not_contiguous(photo):
    part = np.asarray(photo)[10:90:1, 20:120]
    expected = photo.crop((20, 10, 120, 90)).resize((30, 30), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(part, 30, 30), np.asarray(expected))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_center_crop(height, width, size):
    pixels = np.arange(height * width * 3, dtype=np.int64).reshape(height, width, 3).astype(np.uint8) | 1
    cropped = center_crop(pixels, size)
    assert cropped.shape == (size, size, 3)
    if height >= size and width >= size:
        top, left = round((height - size) / 2.0), round((width - size) / 2.0)
        np.testing.assert_array_equal(cropped, pixels[top : top + size, left : left + size])
    else:
        seen = min(height, size) * min(width, size)
        assert np.count_nonzero(cropped) == seen * 3


@pytest.mark.parametrize("side", [9, 10, 11, 12, 13])
def test_a_half_pixel_goes_to_the_even_number_or_down(side):
    pixels = np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)
    for halves, start in (("even", round((side - 8) / 2)), ("down", (side - 8) // 2)):
        expected = pixels[start : start + 8, start : start + 8]
        np.testing.assert_array_equal(center_crop(pixels, 8, halves), expected)


@pytest.mark.parametrize("halves", ["even", "down"])
@pytest.mark.parametrize("size", [(160, 120), (97, 640), (30, 30), (33, 7), (1, 60)])
def test_a_middle_square_is_resized_and_then_cropped(size, halves, photo, require_same_pixels):
    pixels = np.asarray(photo.resize(size))
    expected = center_crop(resize_short_side(pixels, 64), 56, halves)
    exactly = middle_square(pixels, 64, 56, halves=halves, exact=True)
    np.testing.assert_array_equal(exactly, expected)
    square = middle_square(pixels, 64, 56, halves=halves)
    require_same_pixels(square, expected)
    assert square.base is exactly.base is None


@given(st.integers(1, 6), st.integers(400, 2000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_middle_of_a_strip_is_the_same_to_two_levels(short, long, upright):
    pixels = np.random.default_rng(long).integers(80, 170, (short, long, 3), dtype=np.uint8)
    pixels = pixels.swapaxes(0, 1) if upright else pixels
    expected = center_crop(resize_short_side(pixels, 36), 32).astype(int)
    assert np.abs(middle_square(pixels, 36, 32) - expected).max() <= 2


def test_the_middle_of_the_longest_strip_takes_little_memory():
    """All of it at 518 pixels would be 518 × 15,540,000."""
    pixels = np.full((1, 30_000, 3), 77, np.uint8)
    for exact in (False, True):
        assert (middle_square(pixels, 518, 518, exact=exact) == 77).all()


def test_png_round_trip(photo):
    pixels = np.asarray(photo)[5:55, 7:77]
    file = encode_png(pixels)
    image = Image.open(io.BytesIO(file))
    assert image.format == "PNG"
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [((600, 400), 300, (300, 200)), ((400, 600), 300, (200, 300)), ((300, 300), 300, (300, 300)),
     ((20, 10), 300, (20, 10)), ((5000, 2), 100, (100, 1))],
)  # fmt: skip
def test_a_picture_fits_and_is_never_enlarged(size, max_side, expected):
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    height, width = fit_within(pixels, max_side).shape[:2]
    assert (width, height) == expected


@settings(max_examples=50)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 100))
def test_what_fits_keeps_its_shape(width, height, max_side):
    fitted = fit_within(np.zeros((height, width, 3), np.uint8), max_side)
    assert max(fitted.shape[:2]) == min(max_side, max(width, height))
    assert min(fitted.shape[:2]) >= 1


def test_jpeg_keeps_the_picture_and_nothing_else(photo):
    pixels = np.asarray(photo)
    file = encode_jpeg(pixels)
    image = Image.open(io.BytesIO(file))
    assert image.format == "JPEG"
    assert not image.getexif()
    assert np.abs(np.asarray(image).astype(int) - pixels).mean() < 12
    assert len(encode_jpeg(pixels, quality=40)) < len(file)
