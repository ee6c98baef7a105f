"""Containers built to waste time or memory before or while pixels are decoded."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib

import pytest
from PIL import Image

from sightline.errors import ImageError, InvalidImage, UnsupportedImage
from sightline.imaging import ImageLimits, open_picture

LIMITS = ImageLimits(max_bytes=25 * 1024 * 1024, max_pixels=50_000_000, max_side=30_000)
MIB = 1024 * 1024


def refused(data, max_seconds=0.5):
    """The error, after a check that it came soon and without much memory beyond the file itself."""
    started = time.process_time()
    with pytest.raises(ImageError) as caught:
        open_picture(data, LIMITS).rgb()
    assert time.process_time() - started < max_seconds
    tracemalloc.start()
    try:
        with pytest.raises(type(caught.value)):
            open_picture(data, LIMITS).rgb()
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + 20 * MIB
    finally:
        tracemalloc.stop()
    return caught.value


def test_jpeg_of_nothing_but_segments(files):
    refused(files["jpeg"][:2] + b"\xff\xe5\x00\x02" * (2 * MIB) + files["jpeg"][2:])
    refused(b"\xff\xd8\xff" + b"\xff" * (8 * MIB))
    refused(b"\xff\xd8\xff" + b"\xd0\xff" * (4 * MIB))


def test_jpeg_with_more_scans_than_sense(photo, encode):
    file = encode(photo, "jpeg", progressive=True)
    last = file.rindex(b"\xff\xda")
    scan = file[last:-2]
    assert "scans" in str(refused(file[:-2] + scan * 500 + b"\xff\xd9"))


def test_jpeg_kinds_that_are_not_decoded(files):
    at = files["jpeg"].index(b"\xff\xc0")
    lossless = files["jpeg"][:at] + b"\xff\xc3" + files["jpeg"][at + 2 :]
    deep = files["jpeg"][: at + 4] + b"\x0c" + files["jpeg"][at + 5 :]
    for data in (lossless, deep):
        with pytest.raises(UnsupportedImage, match="baseline and progressive"):
            open_picture(data, LIMITS)


def test_png_of_nothing_but_chunks(files):
    chunk = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    refused(files["png"][:33] + chunk * (MIB // 2) + files["png"][33:])


def test_png_with_a_text_bomb_is_read_past_it(files):
    body = b"key\0\0" + zlib.compress(b"\0" * (64 * MIB), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    tracemalloc.start()
    try:
        picture = open_picture(files["png"][:33] + chunk + files["png"][33:], LIMITS)
        assert picture.rgb().shape == (120, 160, 3)
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()


def test_png_checksums_count(files):
    at = files["png"].index(b"IDAT") + 40
    data = files["png"][:at] + bytes([files["png"][at] ^ 1]) + files["png"][at + 1 :]
    with pytest.raises(InvalidImage, match="checksum"):
        open_picture(data, LIMITS).rgb()


def test_gif_of_comments(files):
    at = 13 + 768
    short = b"!\xfe" + b"\x01x" * 200_000 + b"\0"
    assert open_picture(files["gif"][:at] + short + files["gif"][at:], LIMITS).rgb().shape == (120, 160, 3)
    refused(files["gif"][:at] + b"!\xfe\0" * (3 * MIB) + files["gif"][at:])
    refused(files["gif"][:at] + b"!\xfe" + b"\x01x" * (3 * MIB))


def test_run_length_bitmaps_are_small():
    data = (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 5000, 5000, 1, 8, 1, 0, 0, 0, 0, 0)
    )
    assert isinstance(refused(data + b"\x01\x01" * MIB), UnsupportedImage)


def tiff(*entries, tail=b""):
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0\0\0\0" + tail


GREY = ((256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1))


def test_tiff_whose_entries_share_one_large_value():
    shared = [(1000 + n, 1, 4 * MIB, 0) for n in range(5000)]
    refused(tiff(*GREY, *shared, tail=b"\0" * (5 * MIB)))
    refused(tiff(*GREY, (347, 7, 4 * MIB, 8), (320, 3, 2 * MIB, 8), tail=b"\0" * (5 * MIB)))


def test_tiff_with_millions_of_strips():
    strips = ((273, 4, MIB, 200), (279, 4, MIB, 200))
    assert "directory" in str(refused(tiff(*GREY, *strips, tail=b"\0" * (9 * MIB))))


def test_tiff_tiles_larger_than_the_picture():
    tiles = ((322, 4, 1, 30_000), (323, 4, 1, 30_000), (324, 4, 1, 8), (325, 4, 1, 100))
    assert "tiles" in str(refused(tiff(*GREY, *tiles, tail=b"\0" * 200)))


def test_tiff_strips_outside_the_file():
    assert "truncated" in str(refused(tiff(*GREY, (273, 4, 1, 10), (279, 4, 1, 4096))))


def test_tiff_codecs_are_on_a_list():
    other = [entry for entry in GREY if entry[0] != 259]
    for compression in (34712, 34925, 50000, 50001):
        data = tiff(*other, (259, 3, 1, compression), (273, 4, 1, 8), (279, 4, 1, 8))
        assert isinstance(refused(data), UnsupportedImage)


def test_only_the_first_page_of_a_tiff_counts(encode):
    pages = [Image.new("L", (16, 16), 7), Image.new("L", (4000, 4000), 9)]
    file = encode(pages[0], "tiff", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    picture = open_picture(file, ImageLimits(10**6, 256, 16))
    assert set(picture.rgb().ravel().tolist()) == {7}


def test_webp_frame_larger_than_its_canvas(encode):
    large = encode(Image.new("RGB", (64, 64)), "webp")
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\x07\0\0\x07\0\0"
    body = b"WEBP" + canvas + large[12:]
    assert isinstance(refused(b"RIFF" + struct.pack("<I", len(body)) + body), InvalidImage)
