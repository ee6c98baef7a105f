from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models.fasterrcnn.scaling import MEAN, STD, resize_normalised, scale, scaled_size
from sightline.types import PixelBox

sides = st.integers(1, 24)


def sampled(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The definition, pixel by pixel in doubles."""
    normal = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    result = np.empty((3, height, width))
    for row in range(height):
        y = max((row + 0.5) * pixels.shape[0] / height - 0.5, 0)
        top, bottom = int(y), min(int(y) + 1, pixels.shape[0] - 1)
        for column in range(width):
            x = max((column + 0.5) * pixels.shape[1] / width - 0.5, 0)
            left, right = int(x), min(int(x) + 1, pixels.shape[1] - 1)
            upper = normal[top, left] * (1 - (x - left)) + normal[top, right] * (x - left)
            lower = normal[bottom, left] * (1 - (x - left)) + normal[bottom, right] * (x - left)
            result[:, row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return result


@given(sides, sides, sides, sides, st.integers(0, 2**32 - 1))
def test_pixels_are_mixed_by_their_distance(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = np.empty((3, new_height, new_width), np.float32)
    resize_normalised(pixels, out)
    np.testing.assert_allclose(out, sampled(pixels, new_height, new_width), atol=2e-5)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((480, 640), (800, 1066)),
        ((640, 480), (1066, 800)),
        ((1080, 1920), (749, 1333)),  # 1333 / 1920 · 1080 is 749.8, and is cut
        ((800, 800), (800, 800)),
        ((31, 43), (800, 1109)),
        ((60, 600), (133, 1333)),
        ((1, 10_000), (1, 1333)),  # 0.1 rows, of which one is kept
    ],
)
def test_the_short_side_becomes_800_unless_the_long_one_would_pass_1333(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert scaled_size(*size) == wanted


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_a_scaled_size_is_never_empty_nor_too_large(height: int, width: int) -> None:
    scaled_height, scaled_width = scaled_size(height, width)
    short, long = sorted((scaled_height, scaled_width))
    assert 1 <= short <= 800
    assert long <= 1333
    # Nearly square photos may become square; none changes from tall to wide.
    assert (scaled_height - scaled_width) * (height - width) >= 0


def test_a_photo_is_filled_up_with_zeros_to_multiples_of_32() -> None:
    pixels = np.full((48, 100, 3), 255, np.uint8)
    picture = open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4))
    scaled = scale(View(picture))
    assert scaled.image.shape == (1, 3, 640, 1344)
    assert scaled.image.dtype == np.float32
    assert (scaled.height, scaled.width) == (639, 1333)
    assert (scaled.full_height, scaled.full_width) == (48, 100)
    white = (1 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(scaled.image[0, :, 638, 1332], white, rtol=1e-6)
    assert not scaled.image[:, :, 639:].any()
    assert not scaled.image[:, :, :, 1333:].any()


def test_a_part_of_a_picture_is_scaled_by_itself() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    picture = open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4))
    part = scale(View(picture, PixelBox(10, 20, 30, 50)))
    assert (part.full_height, part.full_width) == (30, 20)
    out = np.empty((3, part.height, part.width), np.float32)
    resize_normalised(pixels[20:50, 10:30], out)
    np.testing.assert_array_equal(part.image[0, :, : part.height, : part.width], out)
