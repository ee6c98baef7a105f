from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from sightline.imaging import open_picture
from sightline.imaging.headers.exif import read_orientation

ORIENTATION = 0x0112


def exif_block(orientation, big_endian=False):
    exif = Image.Exif()
    exif.endian = ">" if big_endian else "<"
    exif[ORIENTATION] = orientation
    exif[0x010F] = "maker"
    return exif.tobytes()


def upright(photo, orientation):
    """What Pillow makes of the photo with that tag."""
    image = photo.copy()
    image.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
def test_every_orientation(name, orientation, photo, encode, limits, cosine):
    options = {"jpeg": {"quality": 95}, "webp": {"lossless": True}, "avif": {"quality": 95}}.get(name, {})
    picture = open_picture(encode(photo, name, exif=exif_block(orientation), **options), limits)
    expected = upright(photo, orientation)
    assert (picture.width, picture.height) == expected.size
    assert picture.rgb().shape == (picture.height, picture.width, 3)
    if name in ("png", "webp", "tiff"):
        np.testing.assert_array_equal(picture.rgb(), np.asarray(expected))
    else:
        assert cosine(picture.rgb(), expected) > 0.999


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heif_is_turned_once(orientation, photo, encode, limits, cosine):
    # pillow-heif writes the tag of EXIF as a rotation of the container, and libheif applies that.
    picture = open_picture(encode(photo, "heif", quality=95, exif=exif_block(orientation)), limits)
    expected = upright(photo, orientation)
    assert (picture.width, picture.height) == expected.size
    assert cosine(picture.rgb(), expected) > 0.995


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "jpeg"])
def test_tiff_is_turned_once_whatever_its_compression(compression, photo, encode, limits, cosine):
    file = encode(photo, "tiff", compression=compression, exif=exif_block(6))
    picture = open_picture(file, limits)
    assert (picture.width, picture.height) == (120, 160)
    assert cosine(picture.rgb(), upright(photo, 6)) > 0.995


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_is_upright(orientation, photo, encode, limits, cosine):
    large = photo.resize((640, 480))
    picture = open_picture(encode(large, "jpeg", exif=exif_block(orientation)), limits)
    expected = upright(large, orientation).reduce(4)
    assert cosine(picture.reduced(40), expected) > 0.995


@pytest.mark.parametrize("big_endian", [False, True])
def test_byte_orders(big_endian):
    assert read_orientation(exif_block(7, big_endian)) == 7
    assert read_orientation(exif_block(7, big_endian).removeprefix(b"Exif\0\0")) == 7


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        exif_block(6)[:20],
        exif_block(0),
        exif_block(9),
        b"II*\0\xff\xff\xff\xff" * 4,
    ],
)
def test_bad_exif_means_upright(block, photo, encode, limits):
    assert read_orientation(block) == 1
    file = encode(photo, "jpeg", exif=b"Exif\0\0" + block.removeprefix(b"Exif\0\0"))
    assert open_picture(file, limits).rgb().shape == (120, 160, 3)
