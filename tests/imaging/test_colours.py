from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sightline.errors import UnsupportedImage
from sightline.imaging import open_picture

RAMP = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)


def grey(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def png(width, height, depth, colour, rows, *extra):
    """A PNG file with the given IHDR fields, raw rows (bytes) and chunks before the pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


@pytest.mark.parametrize("name", ["png", "tiff", "bmp", "gif", "webp", "jpeg"])
def test_grey(name, encode, limits):
    options = {"webp": {"lossless": True}, "jpeg": {"quality": 100}}.get(name, {})
    pixels = open_picture(encode(Image.fromarray(RAMP), name, **options), limits).rgb()
    np.testing.assert_allclose(pixels.astype(int), grey(RAMP), atol=2 if name == "jpeg" else 0)


@pytest.mark.parametrize("name", ["png", "tiff", "bmp", "gif"])
def test_one_bit(name, encode, limits):
    image = Image.fromarray(RAMP > 100)
    pixels = open_picture(encode(image, name), limits).rgb()
    np.testing.assert_array_equal(pixels, grey((RAMP > 100) * np.uint8(255)))


@pytest.mark.parametrize("name", ["png", "tiff", "bmp", "gif"])
def test_palette(name, photo, encode, limits):
    image = photo.quantize(64)
    pixels = open_picture(encode(image, name), limits).rgb()
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["png", "webp", "tiff"])
def test_alpha_is_laid_over_white(name, encode, limits):
    red, alpha = np.full((16, 16), 200, np.uint8), RAMP
    image = Image.fromarray(np.dstack([red, RAMP, RAMP[::-1], alpha]))
    options = {"lossless": True, "exact": True} if name == "webp" else {}
    pixels = open_picture(encode(image, name, **options), limits).rgb()
    share = alpha[..., None] / 255
    expected = np.dstack([red, RAMP, RAMP[::-1]]) * share + 255 * (1 - share)
    np.testing.assert_allclose(pixels, expected, atol=1)


def test_grey_with_alpha(encode, limits):
    image = Image.merge("LA", (Image.new("L", (16, 16), 0), Image.fromarray(RAMP)))
    for name in ("png", "tiff"):
        pixels = open_picture(encode(image, name), limits).rgb()
        np.testing.assert_allclose(pixels.astype(int), grey(255 - RAMP.astype(int)), atol=1)


def test_palette_with_transparency(encode, limits):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    for name, transparency in (("png", 1), ("png", bytes([255, 0])), ("gif", 1)):
        pixels = open_picture(encode(image, name, transparency=transparency), limits).rgb()
        assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_colour_key_transparency(encode, limits):
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    file = encode(image, "png", transparency=(1, 2, 3))
    assert open_picture(file, limits).rgb().tolist() == [[[255, 255, 255], [9, 9, 9]]]
    file = encode(Image.fromarray(np.array([[5, 6]], np.uint8)), "png", transparency=5)
    assert open_picture(file, limits).rgb().tolist() == [[[255, 255, 255], [6, 6, 6]]]
    one_bit = png(2, 1, 1, 0, [b"\x40"], (b"tRNS", b"\0\0"))
    assert open_picture(one_bit, limits).rgb().tolist() == [[[255] * 3, [255] * 3]]


def test_16_bit_grey_is_scaled_and_rounded(encode, limits):
    values = np.array([[0, 128, 129, 257, 32767, 65278, 65406, 65407, 65535]], np.uint16)
    expected = np.rint(values / 257).astype(np.uint8)
    for name in ("png", "tiff"):
        np.testing.assert_array_equal(
            open_picture(encode(Image.fromarray(values), name), limits).rgb(), grey(expected)
        )


def test_16_bit_colour(limits):
    values = np.linspace(0, 65535, 64 * 3).astype(">u2").reshape(64, 3)
    pixels = open_picture(png(64, 1, 16, 2, [values.tobytes()]), limits).rgb()
    np.testing.assert_allclose(pixels[0], values / 257, atol=1)
    with_alpha = np.concatenate([values, np.full((64, 1), 65535)], axis=1).astype(">u2")
    pixels = open_picture(png(64, 1, 16, 6, [with_alpha.tobytes()]), limits).rgb()
    np.testing.assert_allclose(pixels[0], values / 257, atol=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[0.0, 32767.5, 65535.0]], np.float32), [0, 128, 255]),
        (np.array([[-10.0, 0.0, 10.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, np.nan, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[7.0, 7.0, 7.0]], np.float32), [7, 7, 7]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 25700, 65535]], np.int32), [0, 100, 255]),
        (np.array([[-1000, 0, 1000000]], np.int32), [0, 0, 255]),
    ],
)
def test_wide_numbers_are_scaled_not_clipped(values, expected, encode, limits):
    pixels = open_picture(encode(Image.fromarray(values), "tiff"), limits).rgb()
    np.testing.assert_array_equal(pixels, grey([expected]))


@pytest.mark.parametrize("name", ["jpeg", "tiff"])
def test_cmyk(name, photo, encode, limits, cosine):
    # Pillow writes JPEG as Adobe does, inverted, and TIFF as it is.
    options = {"quality": 95} if name == "jpeg" else {}
    picture = open_picture(encode(photo.convert("CMYK"), name, **options), limits)
    assert cosine(picture.rgb(), photo) > 0.999


def test_ycck(photo, encode, limits, cosine):
    # YCCK is inverted CMY coded as YCbCr, and K. Adobe's marker tells the two apart.
    cmyk = encode(photo.convert("CMYK"), "jpeg", quality=100, subsampling=0)
    at = cmyk.index(b"Adobe") + 11
    assert cmyk[at] in (0, 2)
    ycck = cmyk[:at] + b"\x02" + cmyk[at + 1 :]
    expected = Image.open(io.BytesIO(ycck)).convert("RGB")
    assert cosine(open_picture(ycck, limits).rgb(), expected) > 0.9999


def test_embedded_profile_is_ignored(photo, encode, limits):
    plain = open_picture(encode(photo, "png"), limits)
    tagged = open_picture(encode(photo, "png", icc_profile=b"\xff" * 500), limits)
    np.testing.assert_array_equal(plain.rgb(), tagged.rgb())


def test_bitmap_with_blank_alpha_is_opaque(encode, limits):
    def bitmap(alpha):
        image = Image.new("RGBA", (2, 2), (10, 20, 30, alpha))
        body = image.tobytes("raw", "BGRA")
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        info = struct.pack("<IiiHHIIiiII", 56, 2, 2, 1, 32, 3, len(body), 0, 0, 0, 0) + masks
        return b"BM" + struct.pack("<IHHI", 14 + 56 + len(body), 0, 0, 14 + 56) + info + body

    assert open_picture(bitmap(0), limits).rgb()[0, 0].tolist() == [10, 20, 30]
    assert open_picture(bitmap(255), limits).rgb()[0, 0].tolist() == [10, 20, 30]


def test_lab_is_refused_with_a_way_out(encode, limits):
    with pytest.raises(UnsupportedImage, match="Lab"):
        open_picture(encode(Image.new("LAB", (4, 4)), "tiff"), limits)
