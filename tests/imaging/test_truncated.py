"""Files whose end is missing: an error, or what is there of them, exactly as Pillow leaves the rest."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFile

from sightline.errors import InvalidImage
from sightline.imaging import open_picture


@pytest.fixture
def filling(limits):
    return replace(limits, fills_truncated=True)


@pytest.fixture
def pillows(monkeypatch):
    """What Pillow makes of a truncated file with its switch, which holds for the whole process."""

    def pillows(file):
        with monkeypatch.context() as patched:
            patched.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
            return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))

    return pillows


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_jpeg(options, share, photo, encode, filling, pillows, limits):
    whole = encode(photo, "jpeg", quality=90, **options)
    file = whole[: int(len(whole) * share)]
    picture = open_picture(file, filling)
    assert not picture.is_filled
    pixels = picture.rgb()
    assert picture.is_filled
    expected = pillows(file)
    if options.get("progressive"):  # Pillow shows nothing of a file that ends between two scans
        assert np.abs(pixels.astype(int) - np.asarray(photo)).mean() < 60
    else:
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(pixels[:8], open_picture(whole, limits).rgb()[:8])
    with pytest.raises(InvalidImage, match="truncated"):
        open_picture(file, limits).rgb()


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_png(mode, share, photo, encode, filling, pillows):
    whole = encode(photo.convert(mode), "png")
    file = whole[: int(len(whole) * share)]
    picture = open_picture(file, filling)
    pixels = picture.rgb()
    assert picture.is_filled
    expected = pillows(file)
    # Pillow also gives up the last rows that its decompressor had not handed out yet.
    rows = int(np.flatnonzero((expected != expected[-1]).any(axis=(1, 2)))[-1]) + 1
    np.testing.assert_array_equal(pixels[: rows - 1], expected[: rows - 1])
    np.testing.assert_array_equal(pixels[-1], expected[-1])


def test_bmp(photo, encode, filling):
    file = encode(photo, "bmp")
    half = file[: 54 + 160 * 3 * 60]
    pixels = open_picture(half, filling).rgb()
    np.testing.assert_array_equal(pixels[60:], np.asarray(photo)[60:])
    assert not pixels[:60].any()


@pytest.mark.parametrize("name", ["gif", "webp", "tiff", "avif", "heif"])
def test_other_formats_stay_errors(name, files, filling):
    with pytest.raises(InvalidImage):
        open_picture(files[name][: len(files[name]) * 2 // 3], filling).rgb()


def test_a_whole_file_is_not_filled(files, filling):
    for file in files.values():
        picture = open_picture(file, filling)
        picture.rgb()
        assert not picture.is_filled


@pytest.mark.parametrize("cut", [4, 100, 600])
def test_without_pixels_there_is_nothing_to_fill(cut, files, filling):
    with pytest.raises(InvalidImage):
        open_picture(files["jpeg"][:cut], filling).rgb()


def test_reduced_sizes_are_filled_too(photo, encode, filling):
    whole = encode(photo.resize((640, 480)), "jpeg", quality=90)
    picture = open_picture(whole[: len(whole) // 2], filling)
    assert picture.reduced(40).shape == (120, 160, 3)
    assert picture.is_filled


def test_other_decodings_at_the_same_time_stay_strict(files, limits, filling):
    """Pillow's own switch would let them pass."""
    file = files["jpeg"][: len(files["jpeg"]) // 2]

    def decoded(number):
        picture = open_picture(file, filling if number % 2 else limits)
        try:
            picture.rgb()
        except InvalidImage:
            return False
        return picture.is_filled

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(decoded, range(64))) == [bool(number % 2) for number in range(64)]
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
