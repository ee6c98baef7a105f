"""Against Pillow itself, one pass after the other, which is what every version of it does or did."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.imaging import resampling
from sightline.imaging.resampling import Part, fast_library, resample_to

FILTERS = ("bilinear", "bicubic", "lanczos")


@pytest.fixture(params=["vector instructions", "Pillow"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the fast library, and as if it were not installed."""
    if request.param == "Pillow":
        monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    elif fast_library() is None:
        pytest.skip("not built for this machine")
    return request.param


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Black and white at random: where rounding and cutting to 0..255 show most."""
    return np.random.default_rng(seed).integers(0, 2, (height, width, 3), dtype=np.uint8) * 255


def by_pillow(pixels: np.ndarray, width: int, height: int, resample: str) -> np.ndarray:
    kernel, image = Image.Resampling[resample.upper()], Image.fromarray(pixels)
    return np.asarray(image.resize((width, image.height), kernel).resize((width, height), kernel)).astype(int)


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize("size", [(64, 48), (298, 224), (500, 500), (3, 1)])
def test_pixels_are_those_of_pillow(library: str, resample: Any, size: tuple[int, int]) -> None:
    pixels = noise(320, 240)
    found = resample_to(pixels, *size, resample)
    difference = np.abs(found - by_pillow(pixels, *size, resample))
    assert found.dtype == np.uint8
    assert difference.max() <= (2 if library != "Pillow" else 0)
    assert difference.mean() < 0.03


@pytest.mark.parametrize("resample", FILTERS)
def test_an_image_of_pillows_and_an_array_are_the_same(library: str, resample: Any, photo: Any) -> None:
    found = resample_to(photo, 70, 50, resample)
    np.testing.assert_array_equal(found, resample_to(np.asarray(photo), 70, 50, resample))
    assert np.abs(found - by_pillow(np.asarray(photo), 70, 50, resample)).max() <= 1


@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 200), st.integers(1, 200),
    st.sampled_from(FILTERS), st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_size_from_any_size(
    width: int, height: int, new_width: int, new_height: int, resample: Any, as_image: bool
) -> None:
    pixels = noise(width, height, width * height)
    raster = Image.fromarray(pixels) if as_image else pixels
    found = resample_to(raster, new_width, new_height, resample)
    assert np.abs(found - by_pillow(pixels, new_width, new_height, resample)).max() <= 2


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_part_is_that_part_of_the_whole(data: st.DataObject) -> None:
    """Also one that reaches to an edge, where a product of fractions may lie beyond it by the last bit."""
    width, height = data.draw(st.integers(2, 300)), data.draw(st.integers(2, 300))
    new_width, new_height = data.draw(st.integers(2, 200)), data.draw(st.integers(2, 200))
    left, top = data.draw(st.integers(0, new_width - 1)), data.draw(st.integers(0, new_height - 1))
    right = data.draw(st.integers(left + 1, new_width))
    bottom = data.draw(st.integers(top + 1, new_height))
    resample = data.draw(st.sampled_from(FILTERS))
    across, down = width / new_width, height / new_height
    pixels = noise(width, height, width * height)
    part = Part(left * across, top * down, right * across, bottom * down)
    found = resample_to(pixels, right - left, bottom - top, resample, part)
    whole = by_pillow(pixels, new_width, new_height, resample)[top:bottom, left:right]
    assert np.abs(found - whole).max() <= 2


def test_bands_leave_no_seam(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(90, 200)
    expected = resample_to(pixels, 40, 50, "bicubic")
    monkeypatch.setattr(resampling, "_BAND_PIXELS", 90 * 7)
    np.testing.assert_array_equal(resample_to(pixels, 40, 50, "bicubic"), expected)
    np.testing.assert_array_equal(resample_to(Image.fromarray(pixels), 40, 50, "bicubic"), expected)


def test_a_large_picture_is_not_copied_whole() -> None:
    """Beside its own pixels a picture of 48 million takes a band and the narrow result."""
    pixels = np.zeros((6000, 8000, 3), np.uint8)
    tracemalloc.start()
    resample_to(pixels, 224, 224, "bicubic")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes / 4


def test_the_result_is_its_own(library: str) -> None:
    pixels = noise(20, 20)
    for size in ((20, 20), (10, 10)):
        found = resample_to(pixels, *size, "bicubic")
        assert found.base is None
        assert found.flags.c_contiguous
        found[:] = 7
    assert (pixels != 7).any()


def test_where_black_meets_white_the_sum_is_cut_after_each_pass(library: str) -> None:
    """Rows first. The other way round, as Pillow 13 does it for tall pictures, other values are cut."""
    pixels = noise(288, 674)
    expected = by_pillow(pixels, 224, 524, "bicubic")
    assert np.abs(resample_to(pixels, 224, 524, "bicubic") - expected).max() <= 2
