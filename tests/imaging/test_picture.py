from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from PIL import Image
from skimage import data

from sightline.errors import ImageTooLarge, InvalidImage
from sightline.imaging import (
    ImageLimits,
    View,
    center_crop,
    decoding,
    middle_square,
    open_picture,
    picture_from_pixels,
    resize,
    resize_short_side,
)
from sightline.settings import Settings
from sightline.types import PixelBox

FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heif")


@pytest.fixture
def decodings(monkeypatch):
    """Every call of the decoder: (format, reduction)."""
    calls = []
    real = decoding.decode

    def spy(data, image_format, orientation, reduction=1, **options):
        calls.append((image_format.value, reduction))
        return real(data, image_format, orientation, reduction, **options)

    monkeypatch.setattr(decoding, "decode", spy)
    return calls


@pytest.fixture(scope="module")
def large_jpeg(encode):
    return encode(Image.fromarray(data.coffee()).resize((1800, 1200)), "jpeg", quality=90)


def test_limits_come_from_settings():
    settings = Settings(image_max_bytes=10, image_max_pixels=20, image_max_side=30)
    found = ImageLimits.from_settings(settings)
    assert found == ImageLimits(10, 20, 30, decode_workers=found.decode_workers)
    assert found.decode_workers >= 2
    assert ImageLimits.from_settings(Settings(decode_workers=0)).decode_workers == 0


@pytest.mark.parametrize("name", FORMATS)
def test_facts_and_pixels(name, files, photo, limits, difference, decodings):
    picture = open_picture(files[name], limits)
    assert (picture.facts.format, picture.width, picture.height) == (name, 160, 120)
    assert picture.facts.num_bytes == len(files[name])
    assert picture.facts.sha256 == hashlib.sha256(files[name]).hexdigest()
    assert decodings == []
    pixels = picture.rgb()
    assert pixels.shape == (120, 160, 3)
    assert pixels.dtype == np.uint8
    assert difference(pixels, photo) < (12 if name == "gif" else 6)


@pytest.mark.parametrize("name", ["png", "bmp", "tiff"])
def test_lossless_formats_give_the_exact_pixels(name, files, photo, limits):
    np.testing.assert_array_equal(open_picture(files[name], limits).rgb(), np.asarray(photo))


def test_pixels_are_read_only(files, limits):
    pixels = open_picture(files["png"], limits).rgb()
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1


def test_bytes_are_limited_inclusively(files):
    size = len(files["jpeg"])
    open_picture(files["jpeg"], ImageLimits(size, 10**6, 10**4))
    with pytest.raises(ImageTooLarge, match=f"at most {size - 1}"):
        open_picture(files["jpeg"], ImageLimits(size - 1, 10**6, 10**4))


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_and_side_are_limited_inclusively(name, files):
    open_picture(files[name], ImageLimits(10**6, 160 * 120, 160))
    with pytest.raises(ImageTooLarge, match="160 × 120"):
        open_picture(files[name], ImageLimits(10**6, 160 * 120 - 1, 160))
    with pytest.raises(ImageTooLarge, match="159"):
        open_picture(files[name], ImageLimits(10**6, 10**6, 159))


def test_many_threads_decode_once(files, limits, decodings):
    picture = open_picture(files["jpeg"], limits)
    barrier = Barrier(8)

    def read(_: int):
        barrier.wait()
        return picture.rgb()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read, range(8)))
    assert decodings == [("jpeg", 1)]
    assert all(result is results[0] for result in results)


def test_a_failure_is_remembered(files, limits, decodings):
    picture = open_picture(files["jpeg"][: len(files["jpeg"]) // 2], limits)
    for _ in range(2):
        with pytest.raises(InvalidImage, match="truncated"):
            picture.rgb()
    with pytest.raises(InvalidImage, match="truncated"):
        picture.reduced(8)
    assert len(decodings) == 1


@pytest.mark.parametrize(
    ("short_side", "reduction"), [(1300, 1), (201, 1), (200, 2), (100, 4), (50, 8), (1, 8)]
)
def test_reduced_keeps_three_times_the_short_side(short_side, reduction, large_jpeg, limits, decodings):
    pixels = open_picture(large_jpeg, limits).reduced(short_side)
    assert decodings == [("jpeg", reduction)]
    assert pixels.shape == (1200 // reduction, 1800 // reduction, 3)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1


def test_reduced_uses_what_is_there(large_jpeg, limits, decodings):
    picture = open_picture(large_jpeg, limits)
    assert picture.reduced(100) is picture.reduced(90)
    full = picture.rgb()
    assert picture.reduced(100) is full
    assert decodings == [("jpeg", 4), ("jpeg", 1)]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("side", [24, 120])
def test_a_raster_is_resized_to_the_same_as_pixels(name, side, files, limits):
    picture, other = (open_picture(files[name], limits) for _ in range(2))
    np.testing.assert_array_equal(resize(picture.raster(side), 50, 30), resize(other.reduced(side), 50, 30))
    square = middle_square(picture.raster(side), side, side)
    np.testing.assert_array_equal(square, middle_square(other.reduced(side), side, side))
    assert square.base is None
    np.testing.assert_array_equal(picture.reduced(side), other.reduced(side))
    same = resize(open_picture(files[name], limits).raster(120), 160, 120)
    np.testing.assert_array_equal(same, other.rgb())


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("jpeg", "png")])
def test_a_raster_keeps_no_decoder(name, files, limits):
    """Those of WebP and AVIF hold several times the pixels."""
    assert type(open_picture(files[name], limits).raster(8)) is Image.Image


def test_a_raster_is_decoded_once_and_becomes_an_array_once(large_jpeg, limits, decodings):
    picture = open_picture(large_jpeg, limits)
    picture.raster(100)
    assert picture.held_bytes == len(large_jpeg) + 4 * 300 * 450
    reduced = picture.reduced(100)
    assert picture.held_bytes == len(large_jpeg) + 3 * 300 * 450
    assert picture.raster(100) is reduced
    whole = picture.raster(1300)
    assert picture.held_bytes == 4 * 1200 * 1800, "file and smaller pixels are let go"
    assert picture.raster(100) is whole
    assert picture.reduced(100) is picture.rgb()
    assert picture.held_bytes == 3 * 1200 * 1800
    assert decodings == [("jpeg", 4), ("jpeg", 1)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "jpeg"])
def test_only_jpeg_is_reduced(name, files, limits):
    assert open_picture(files[name], limits).reduced(8).shape == (120, 160, 3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"orientation": 6}])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_reduced_drifts_little(name, options, encode, limits, difference):
    photo = Image.fromarray(getattr(data, name)())
    photo = photo.resize((photo.width * 2, photo.height * 2), Image.Resampling.LANCZOS)
    options = dict(options)
    exif = Image.Exif()
    exif[0x0112] = options.pop("orientation", 1)
    file = encode(photo, "jpeg", quality=90, exif=exif, **options)
    side = min(photo.size) // 6  # the smallest margin that is allowed
    drawn = open_picture(file, limits).reduced(side)
    assert min(drawn.shape[:2]) <= min(photo.size) // 2
    full = open_picture(file, limits).rgb()
    drift = difference(
        center_crop(resize_short_side(drawn, side), side), center_crop(resize_short_side(full, side), side)
    )
    assert drift < 1.5


@pytest.mark.parametrize(
    "box",
    [(10, 20, 60, 90), (-5, -7, 30, 30), (100, 60, 200, 160), (-10, -10, 170, 130), (500, 500, 510, 505)],
)
def test_crop_is_that_of_pillow(box, files, photo, limits):
    picture = open_picture(files["png"], limits)
    np.testing.assert_array_equal(picture.crop(PixelBox(*box)), np.asarray(photo.crop(box)))


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (10, 10, 20, 10), (20, 20, 10, 10)])
def test_crop_without_area(box, files, limits):
    picture = open_picture(files["png"], limits)
    with pytest.raises(InvalidImage, match="no area"):
        picture.crop(PixelBox(*box))
    view = View(picture, PixelBox(*box))
    assert view.num_bytes == 0 or view.width == 0 or view.height == 0
    with pytest.raises(InvalidImage, match="no area"):
        view.pixels()


def test_crop_cannot_be_larger_than_a_picture(files, limits):
    with pytest.raises(ImageTooLarge, match="50000000"):
        open_picture(files["png"], limits).crop(PixelBox(0, 0, 10**6, 10**6))


def test_views(files, large_jpeg, limits):
    picture, other = open_picture(files["png"], limits), open_picture(files["png"], limits)
    whole, part = View(picture), View(picture, PixelBox(5, 5, 25, 15))
    assert (whole.width, whole.height, whole.num_bytes) == (160, 120, 160 * 120 * 3)
    assert (part.width, part.height, part.num_bytes) == (20, 10, 600)
    assert len({whole, View(picture), part, View(picture, PixelBox(5, 5, 25, 15)), View(other)}) == 3
    assert whole != "view"
    assert whole.pixels() is picture.rgb()
    np.testing.assert_array_equal(part.pixels(), picture.rgb()[5:15, 5:25])
    np.testing.assert_array_equal(part.reduced(1), part.pixels())
    np.testing.assert_array_equal(part.raster(1), part.pixels())
    assert View(open_picture(large_jpeg, limits)).reduced(100).shape == (300, 450, 3)


def test_importing_loads_no_image_library():
    code = "import sys, sightline.imaging; print({'PIL', 'pillow_heif'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# -- pictures that never were files ------------------------------------------------------------------------


def test_pixels_become_a_picture_without_being_copied() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    picture = picture_from_pixels(pixels, ImageLimits(1, 24, 6), source="pdf")
    assert (picture.width, picture.height, picture.facts.format) == (6, 4, "pdf")
    assert picture.facts.num_bytes == picture.held_bytes == 72
    assert picture.facts.sha256 == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert np.shares_memory(picture.rgb(), pixels)
    assert picture.reduced(1) is picture.rgb()
    assert picture.crop(PixelBox(1, 1, 3, 3)).tolist() == pixels[1:3, 1:3].tolist()
    with pytest.raises(ValueError, match="read-only"):
        picture.rgb()[0, 0] = 0


@pytest.mark.parametrize(
    ("shape", "kind"), [((5, 5, 3), ImageTooLarge), ((1, 7, 3), ImageTooLarge), ((0, 5, 3), InvalidImage)]
)
def test_pixels_past_the_limits_are_no_picture(shape: tuple[int, ...], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        picture_from_pixels(np.zeros(shape, np.uint8), ImageLimits(1, 24, 6), source="pdf")
