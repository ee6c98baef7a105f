"""Files made to hurt. The outcome is always a picture with pixels or an ImageError, soon and frugally."""

from __future__ import annotations

import io
import resource
import struct
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.errors import ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from sightline.imaging import ImageLimits, open_picture
from sightline.imaging.formats import Format

FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heif")
LIMITS = ImageLimits(max_bytes=25 * 1024 * 1024, max_pixels=50_000_000, max_side=30_000)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pixels_or_error(data, limits=LIMITS):
    """The pixels, or None after an ImageError whose message fits for a stranger."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about metadata
        try:
            picture = open_picture(data, limits)
            pixels = picture.rgb()
        except ImageError as error:
            message = str(error)
            assert message.endswith(".")
            assert "object at 0x" not in message
            assert "/" not in message
            return None
    assert pixels.shape == (picture.height, picture.width, 3)
    assert pixels.dtype == np.uint8
    return pixels


@pytest.fixture(scope="module")
def small(photo, encode):
    """A small picture in each format and several codings."""
    image = photo.resize((24, 20))
    return {
        **{name: encode(image, name) for name in ("jpeg", "png", "webp", "bmp", "avif", "heif")},
        "gif": encode(image.quantize(16), "gif"),
        "tiff": encode(image, "tiff"),
        "tiff-lzw": encode(image, "tiff", compression="tiff_lzw"),
        "tiff-jpeg": encode(image, "tiff", compression="jpeg"),
        "jpeg-progressive": encode(image, "jpeg", progressive=True),
        "png-palette": encode(image.quantize(16), "png"),
        "webp-lossless": encode(image, "webp", lossless=True),
        "bmp-palette": encode(image.quantize(16), "bmp"),
    }


SMALL = (*FORMATS, "tiff-lzw", "tiff-jpeg", "jpeg-progressive", "png-palette", "webp-lossless", "bmp-palette")


def png_bomb(width, height):
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0" + b"\0" * 30
    )


def gif_bomb(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0" + b"," + b"\0" * 20


def gif_frame_bomb(width, height):
    """A logical screen of one pixel, and a frame that reaches far out of it."""
    frame = struct.pack("<HHHH", width - 1, height - 1, 1, 1)
    return b"GIF89a\x01\0\x01\0\0\0\0," + frame + b"\0\x02\x02\x44\x01\0;"


def bmp_bomb(width, height):
    return b"BM" + b"\0" * 8 + struct.pack("<IIiiHHI", 54, 40, width, height, 1, 24, 0) + b"\0" * 40


def webp_bomb(width, height):
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return (
        b"RIFF"
        + struct.pack("<I", 30)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + b"\0\0\0\0"
        + canvas
        + b"\0" * 8
    )


def jpeg_bomb(width, height):
    return (
        b"\xff\xd8\xff\xc0\x00\x11\x08"
        + struct.pack(">HH", height, width)
        + b"\x03"
        + b"\x01\x11\0" * 3
        + b"\0" * 9
    )


def tiff_bomb(width, height):
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (279, 4, 1, 8),
    ]
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0\0\0\0"


BOMBS = [png_bomb, gif_bomb, gif_frame_bomb, bmp_bomb, webp_bomb, jpeg_bomb, tiff_bomb]


@pytest.mark.parametrize("bomb", BOMBS)
def test_header_bombs_are_refused_at_once(bomb):
    data = bomb(65535, 65535)
    tracemalloc.start()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with pytest.raises(ImageTooLarge, match="65535"):
            open_picture(data, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 20_000  # KiB on Linux
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bomb", BOMBS)
def test_headers_at_and_over_the_limit(bomb):
    assert open_picture(bomb(10_000, 5_000), LIMITS).facts.width == 10_000
    with pytest.raises(ImageTooLarge, match="50010000 pixels"):
        open_picture(bomb(10_002, 5_000), LIMITS)
    with pytest.raises(ImageTooLarge, match="30001"):
        open_picture(bomb(30_001, 2), LIMITS)


@pytest.mark.parametrize("name", ["avif", "heif"])
def test_declared_size_of_box_formats_is_limited(name, files):
    at = files[name].index(b"ispe") + 8
    data = files[name][:at] + struct.pack(">II", 20_000, 20_000) + files[name][at + 8 :]
    assert pixels_or_error(data) is None


def test_limits_wider_than_those_of_pillow(encode, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name in FORMATS:
        file = encode(Image.new("RGB", (80, 64), (9, 8, 7)), name)
        assert open_picture(file, LIMITS).rgb().shape == (64, 80, 3)


@pytest.mark.parametrize("bomb", [png_bomb, bmp_bomb, jpeg_bomb, gif_bomb, tiff_bomb])
def test_empty_pictures(bomb):
    assert pixels_or_error(bomb(0, 0)) is None


def test_one_pixel(encode):
    for name in FORMATS:
        assert open_picture(encode(Image.new("RGB", (1, 1), (255, 255, 255)), name), LIMITS).rgb().shape == (
            1,
            1,
            3,
        )


def test_no_bytes():
    with pytest.raises(InvalidImage, match="no bytes"):
        open_picture(b"", LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"\xff\xd8",
        b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>",
        b"<?xml version='1.0'?><svg/>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"8BPS\0\x01",
        b"\0\0\x01\0\x01\0",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"SIMPLE  =                    T",
        b"\x80\x04\x95",
        b"P6 1 1 255\n\0\0\0",
        b"II+\0\x04\0\0\0",
        b"RIFF\0\0\0\0WAVE",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
        b"\0\0\0\x14ftypmif1\0\0\0\0xxxx",
    ],
)
def test_other_content_is_refused(data):
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP"):
        open_picture(data, LIMITS)


def test_pdf_around_a_jpeg_is_no_jpeg(files):
    with pytest.raises(UnsupportedImage):
        open_picture(
            b"%PDF-1.4\n1 0 obj<</Filter/DCTDecode>>stream\n" + files["jpeg"] + b"\nendstream", LIMITS
        )


@pytest.mark.parametrize("name", FORMATS)
def test_what_follows_the_picture_is_ignored(name, files):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("evil.js", "alert(1)")
    clean = open_picture(files[name], LIMITS).rgb()
    for tail in (archive.getvalue(), b"<script>alert(1)</script>", b"\0" * 5000):
        if name in ("avif", "heif"):
            pixels = pixels_or_error(files[name] + tail)
            assert pixels is None or np.array_equal(pixels, clean)
        else:
            np.testing.assert_array_equal(open_picture(files[name] + tail, LIMITS).rgb(), clean)


def test_html_inside_png_and_jpeg(photo, encode):
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("html", "<html><script>alert(1)</script>", zip=True)
    plain = open_picture(encode(photo, "png"), LIMITS).rgb()
    np.testing.assert_array_equal(open_picture(encode(photo, "png", pnginfo=text), LIMITS).rgb(), plain)
    plain = open_picture(encode(photo, "jpeg"), LIMITS).rgb()
    commented = encode(photo, "jpeg", comment=b"<script>alert(1)</script>\xff\xd9")
    np.testing.assert_array_equal(open_picture(commented, LIMITS).rgb(), plain)


def test_first_frame_only(photo, encode):
    second = Image.new("RGB", photo.size)
    for name, options in (
        ("gif", {}),
        ("png", {}),
        ("webp", {"lossless": True}),
        ("tiff", {}),
        ("mpo", {"quality": 95}),
    ):
        first = photo.quantize(64) if name == "gif" else photo
        file = encode(first, name, save_all=True, append_images=[second], **options)
        pixels = open_picture(file, LIMITS).rgb().astype(int)
        assert np.abs(pixels - np.asarray(first.convert("RGB"))).mean() < 4, name


def test_a_gif_may_end_behind_its_first_frame(encode):
    frames = [Image.new("RGB", (8, 8), (90 * n, 0, 0)).quantize(2) for n in range(3)]
    file = encode(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert open_picture(file[:-9], LIMITS).rgb().shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["gif", "png", "webp"])
def test_ten_thousand_frames_cost_no_more_than_one(name, encode):
    colours = [Image.new("RGB", (64, 64), (n % 251, n % 7, 0)) for n in range(50)]
    if name == "gif":
        colours = [image.quantize(4) for image in colours]
    single = encode(colours[0], name)
    many = encode(colours[0], name, save_all=True, append_images=colours[1:])
    # Frames are independent blocks: repeat those of a short animation 200 times.
    first = many.index({"gif": b"\x21\xf9", "png": b"fcTL", "webp": b"ANMF"}[name]) - (
        4 if name == "png" else 0
    )
    tail = {"gif": 1, "png": 12, "webp": 0}[name]
    end = len(many) - tail
    many = many[:first] + many[first:end] * 200 + many[end:]
    if name == "webp":
        many = many[:4] + struct.pack("<I", len(many) - 8) + many[8:]
    assert len(many) < 3_000_000

    def seconds(data):
        samples = []
        for _ in range(5):
            started = time.perf_counter()
            open_picture(data, LIMITS).rgb()
            samples.append(time.perf_counter() - started)
        return min(samples)

    # Hashing the bytes grows with the file and is part of opening it.
    assert seconds(many) < seconds(single) * 1.2 + 0.005


@pytest.mark.parametrize("name", SMALL)
def test_cut_at_every_byte(name, small):
    data = small[name]
    whole = pixels_or_error(data)
    assert whole is not None
    for cut in (
        range(len(data)) if len(data) < 1200 else {*range(0, len(data), 7), *range(len(data) - 40, len(data))}
    ):
        pixels = pixels_or_error(data[:cut])
        # Padding or an index at the end may be missing; pixels may not.
        assert pixels is None or (np.array_equal(pixels, whole) and cut > len(data) * 0.9), cut


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_cut_real_photos(name, share, files):
    data = files[name][: int(len(files[name]) * share)]
    with pytest.raises(InvalidImage):
        open_picture(data, LIMITS).rgb()


def test_jpeg_without_its_end_is_truncated(files):
    assert files["jpeg"].endswith(b"\xff\xd9")
    with pytest.raises(InvalidImage, match="truncated"):
        open_picture(files["jpeg"][:-2], LIMITS).rgb()


@pytest.mark.parametrize("name", SMALL)
@FUZZ
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_changed_bytes(name, small, edits):
    data = bytearray(small[name])
    for place, value in edits:
        data[int(place * len(data))] = value
    pixels_or_error(bytes(data), ImageLimits(10**6, 10**6, 10**4))


@pytest.mark.parametrize("name", SMALL)
@FUZZ
@given(place=st.floats(0, 0.3), value=st.integers(0, 255), length=st.integers(1, 8))
def test_changed_headers(name, small, place, value, length):
    data = bytearray(small[name])
    start = int(place * min(len(data), 400))
    data[start : start + length] = bytes([value]) * length
    pixels_or_error(bytes(data), ImageLimits(10**6, 10**6, 10**4))


@pytest.mark.parametrize("name", SMALL)
@FUZZ
@given(start=st.floats(0, 1), length=st.integers(0, 60), insert=st.binary(max_size=40))
def test_spliced_bytes(name, small, start, length, insert):
    data = small[name]
    at = int(start * len(data))
    pixels_or_error(data[:at] + insert + data[at + length :], ImageLimits(10**6, 10**6, 10**4))


@FUZZ
@given(
    st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"MM\0*",
            b"RIFF\0\0\0\0WEBP",
            b"\0\0\0\x18ftypheic",
            b"\0\0\0\x18ftypavif",
        ]
    ),
    st.binary(max_size=200),
)
def test_magic_and_noise(magic, noise):
    pixels_or_error(magic + noise)


def test_every_format_is_tried_here():
    assert set(FORMATS) == {image_format.value for image_format in Format}
