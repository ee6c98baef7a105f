"""Variants of formats whose pixels a decoder alone gets wrong, or that must be refused with the reason."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sightline.errors import UnsupportedImage
from sightline.imaging import open_picture

WHITE = [255, 255, 255]


def png(width, height, bits, colour_type, rows, *extra, interlaced=0):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("junk", [0, 1])
def test_transparent_grey_of_every_depth(bits, junk, limits):
    """Bits of the key beyond the depth do not count."""
    top = (1 << bits) - 1
    levels = sorted({0, 1, top // 2, max(top - 1, 0), top})
    digits = "".join(f"{level:0{bits}b}" for level in levels)
    row = int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8), "big")
    for key in levels:
        stored = key | (junk << bits if bits < 16 else 0)
        file = png(len(levels), 1, bits, 0, [row], (b"tRNS", struct.pack(">H", stored)))
        expected = [255 if level == key else round(level * 255 / top) for level in levels]
        assert open_picture(file, limits).rgb()[0, :, 0].tolist() == expected, key


@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_colour_of_every_depth(bits, limits):
    code = ">3B" if bits == 8 else ">3H"
    key = (18, 52, 86) if bits == 8 else (0x1234, 0x5678, 0x9ABC)
    near = (18, 52, 87) if bits == 8 else (0x1234, 0x5678, 0x9ABD)
    row = struct.pack(code, *key) + struct.pack(code, *near)
    pixels = open_picture(png(2, 1, bits, 2, [row], (b"tRNS", struct.pack(">3H", *key))), limits).rgb()
    assert pixels[0, 0].tolist() == WHITE
    assert pixels[0, 1].tolist() == [level >> (bits - 8) for level in near]


@pytest.mark.parametrize("colour_type", [4, 6])
def test_16_bit_alpha(colour_type, limits):
    alpha = np.array([0, 0x3333, 0x8080, 0xFFFF], np.uint16)
    colours = {4: 1, 6: 3}[colour_type]
    values = np.column_stack([*[np.full(4, 0x6464, np.uint16)] * colours, alpha]).astype(">u2")
    pixels = open_picture(png(4, 1, 16, colour_type, [values.tobytes()]), limits).rgb()
    share = alpha / 65535
    np.testing.assert_allclose(pixels[0, :, 0], 100 * share + 255 * (1 - share), atol=1)


def test_default_image_of_an_animation_that_leaves_it_out(encode, limits):
    frames = [Image.new("RGB", (8, 8), (0, 90 * n, 0)) for n in range(1, 3)]
    default = Image.new("RGB", (8, 8), (200, 0, 0))
    file = encode(default, "png", save_all=True, append_images=frames, default_image=True)
    assert open_picture(file, limits).rgb()[0, 0].tolist() == [200, 0, 0]


def test_apples_png_is_refused_by_name(encode, limits):
    file = encode(Image.new("RGB", (4, 4)), "png")
    apples = file[:8] + struct.pack(">I4sII", 4, b"CgBI", 0x50002002, 0) + file[8:]
    with pytest.raises(UnsupportedImage, match="CgBI"):
        open_picture(apples, limits)


def gif(screen, frame, indices, *, transparent=None, background=0):
    """A GIF of one frame: ``frame`` is its left, top, width and height. Two colours: red and blue."""
    width, height = frame[2:]
    buffer = io.BytesIO()
    image = Image.new("P", (width, height))
    image.putpalette([200, 30, 30, 30, 30, 200])
    image.putdata(indices)
    image.save(buffer, "GIF", optimize=False)
    data = buffer.getvalue()
    at = data.index(b",", 13 + (3 << (data[10] & 7) + 1))
    head = data[:6] + struct.pack("<HH", *screen) + bytes((data[10], background, 0))
    palette = data[13 : 13 + (3 << (data[10] & 7) + 1)]
    control = b"" if transparent is None else bytes((0x21, 0xF9, 4, 1 | 2 << 2, 0, 0, transparent, 0))
    return head + palette + control + b"," + struct.pack("<4H", *frame) + data[at + 9 :]


@pytest.mark.parametrize("transparent", [None, 0])
@pytest.mark.parametrize("background", [0, 1])
def test_first_frame_of_a_gif_smaller_than_its_screen(transparent, background, limits):
    file = gif((6, 4), (2, 1, 3, 2), [0, 1, 0, 1, 0, 1], transparent=transparent, background=background)
    pixels = open_picture(file, limits).rgb()
    expected = np.full((4, 6, 3), 255, np.uint8)
    red, blue = WHITE if transparent == 0 else [200, 30, 30], [30, 30, 200]
    expected[1:3, 2:5] = [[red, blue, red], [blue, red, blue]]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("kind", ["lossy", "lossless", "alpha", "lossless alpha"])
def test_first_frame_of_a_webp_smaller_than_its_canvas(kind, encode, limits):
    """Frames of an animation are put together by hand: an encoder would choose what they cover."""
    has_alpha = "alpha" in kind
    image = Image.new("RGBA" if has_alpha else "RGB", (16, 8), (200, 30, 30, 0)[: 4 if has_alpha else 3])
    image.paste((200, 30, 30), (0, 0, 8, 8))
    still = encode(image, "webp", lossless="lossless" in kind, quality=95, exact=True)
    body = still[12:]
    if body.startswith(b"VP8X"):
        body = body[18:]
    u24 = lambda n: struct.pack("<I", n)[:3]  # noqa: E731
    frame = u24(4) + u24(2) + u24(15) + u24(7) + u24(100) + b"\0" + body
    chunks = (
        b"VP8X" + struct.pack("<IB3x", 10, 0x02 | 0x10 * has_alpha) + u24(31) + u24(19)
        + b"ANIM" + struct.pack("<IIH", 6, 0xFF00FF00, 0)
        + b"ANMF" + struct.pack("<I", len(frame)) + frame
        + b"ANMF" + struct.pack("<I", len(frame)) + frame
    )  # fmt: skip
    file = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    picture = open_picture(file, limits)
    assert (picture.width, picture.height) == (32, 20)
    pixels = picture.rgb().astype(int)
    expected = np.full((20, 32, 3), 255)
    expected[4:12, 8:16] = 200, 30, 30
    if not has_alpha:
        expected[4:12, 16:24] = np.asarray(Image.open(io.BytesIO(still)).convert("RGB"))[0, 12]
    assert np.abs(pixels - expected).max() < 12


def bmp(bits, coding, body, *, size=(4, 2), masks=(), header_bytes=40):
    """A bitmap; a negative height is top-down. Masks beyond 40 bytes are part of the header."""
    stored = struct.pack(f"<{len(masks)}I", *masks)
    info = struct.pack("<IiiHHIIiiII", header_bytes, *size, 1, bits, coding, len(body), 0, 0, 0, 0) + stored
    info = info.ljust(header_bytes, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


FIELDS = {
    "565": (16, (0xF800, 0x07E0, 0x001F), 40),
    "555": (16, (0x7C00, 0x03E0, 0x001F), 40),
    "444": (16, (0x0F00, 0x00F0, 0x000F), 40),
    "swapped 565": (16, (0x001F, 0x07E0, 0xF800), 40),
    "4444 with alpha": (16, (0x0F00, 0x00F0, 0x000F, 0xF000), 108),
    "10 bits": (32, (0x3FF00000, 0x000FFC00, 0x000003FF), 40),
    "10 bits and alpha": (32, (0x3FF00000, 0x000FFC00, 0x000003FF, 0xC0000000), 124),
    "BGRA": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 56),
    "RGBA": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 108),
    "ABGR": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF), 124),
    "blank alpha field": (32, (0xFF0000, 0xFF00, 0xFF, 0), 108),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("top_down", [False, True])
def test_bitmap_fields(name, top_down, limits):
    bits, masks, header_bytes = FIELDS[name]
    values = np.random.default_rng(3).integers(0, 1 << bits, (2, 4), dtype=np.uint64)
    body = (values if top_down else values[::-1]).astype(f"<u{bits // 8}").tobytes()
    file = bmp(bits, 3, body, size=(4, -2 if top_down else 2), masks=masks, header_bytes=header_bytes)

    def field(mask):
        shift = (mask & -mask).bit_length() - 1
        return ((values & np.uint64(mask)) >> np.uint64(shift)) * 255 / (mask >> shift)

    expected = np.dstack([field(mask) for mask in masks[:3]])
    if len(masks) == 4 and masks[3]:
        share = field(masks[3])[..., None] / 255
        expected = expected * share + 255 * (1 - share)
    np.testing.assert_allclose(open_picture(file, limits).rgb(), expected, atol=1.6)


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("bits", [24, 32])
def test_bitmap_without_fields(bits, top_down, limits):
    """The fourth byte of a pixel means nothing there."""
    values = np.random.default_rng(4).integers(0, 256, (2, 4, bits // 8), dtype=np.uint8)
    body = (values if top_down else values[::-1]).tobytes()
    pixels = open_picture(bmp(bits, 0, body, size=(4, -2 if top_down else 2)), limits).rgb()
    np.testing.assert_array_equal(pixels, values[..., 2::-1])


def test_run_lengths_of_a_bitmap(limits):
    colours = b"".join(bytes((n, n, n, 0)) for n in range(256))
    body = bytes((3, 9, 1, 7, 0, 0, 0, 3, 1, 2, 3, 0, 1, 200, 0, 1))
    info = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(body), 0, 0, 256, 0) + colours
    file = b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body
    assert open_picture(file, limits).rgb()[..., 0].tolist() == [[1, 2, 3, 200], [9, 9, 9, 7]]


@pytest.mark.parametrize(
    ("bits", "coding", "header_bytes", "reason"),
    [
        (0, 4, 40, "compression 4"),
        (0, 5, 40, "compression 5"),
        (64, 0, 40, "64 bits"),
        (24, 3, 40, "24 bits"),
        (8, 0, 99, "header of 99 bytes"),
        (24, 4, 64, "OS/2"),
    ],
)
def test_bitmaps_that_are_refused_with_the_reason(bits, coding, header_bytes, reason, limits):
    with pytest.raises(UnsupportedImage, match=reason):
        open_picture(bmp(bits, coding, b"\0" * 64, header_bytes=header_bytes), limits)


@pytest.mark.parametrize(
    ("frame", "bits", "components", "reason"),
    [
        (0xC3, 8, 3, "lossless"),
        (0xC5, 8, 3, "hierarchical"),
        (0xF7, 8, 3, "JPEG-LS"),
        (0xC1, 12, 3, "12 bits"),
        (0xC0, 8, 2, "2 components"),
    ],
)
def test_jpegs_that_are_refused_with_the_reason(frame, bits, components, reason, files, limits):
    at = files["jpeg"].index(b"\xff\xc0")
    file = bytearray(files["jpeg"])
    file[at + 1], file[at + 4], file[at + 9] = frame, bits, components
    with pytest.raises(UnsupportedImage, match=reason):
        open_picture(bytes(file), limits)


def test_inks_of_a_jpeg_need_no_marker_of_adobe(photo, encode, limits, cosine):
    """0 is full ink with it and without it, as Pillow and browsers read it."""
    marked = encode(photo.convert("CMYK"), "jpeg", quality=95)
    at = marked.index(b"\xff\xee")
    plain = marked[:at] + marked[at + 16 :]
    assert b"Adobe" not in plain
    for file in (marked, plain):
        assert cosine(open_picture(file, limits).rgb(), photo) > 0.999
