"""What a TIFF may hold besides plain pixels: pages, bit order, old JPEG, BigTIFF, damaged metadata."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from sightline.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from sightline.imaging import ImageLimits, count_pages, open_picture

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
GREY = {256: [16], 257: [16], 258: [8], 259: [1], 262: [1], 277: [1]}


def shown(file, limits, **options):
    return open_picture(file, limits, **options).rgb()[..., 0]


def test_pages_are_counted_and_opened_within_the_limits(encode, limits):
    pages = [Image.new("L", (16 + n, 9), 10 * n) for n in range(4)]
    file = encode(pages[0], "tiff", save_all=True, append_images=pages[1:])
    assert count_pages(file, limits) == 4
    for number in range(1, 5):
        picture = open_picture(file, limits, page=number)
        assert (picture.width, set(picture.rgb().ravel().tolist())) == (15 + number, {10 * number - 10})
    for number in (0, 5):
        with pytest.raises(InvalidImage, match="no page"):
            open_picture(file, limits, page=number)
    with pytest.raises(ImageTooLarge):
        open_picture(file, ImageLimits(10**6, 16 * 9, 100), page=2)
    assert count_pages(encode(pages[0], "png"), limits) == 1
    with pytest.raises(InvalidImage, match="no page 2"):
        open_picture(encode(pages[0], "png"), limits, page=2)


def test_thumbnails_and_masks_are_no_pages(tiff_file, limits):
    small = {256: [4], 257: [4], 258: [8], 259: [1], 262: [1], 254: [1]}
    file = tiff_file(small, RAMP.tobytes(), GREY, small | {254: [4]}, GREY | {262: [0]})
    assert count_pages(file, limits) == 2
    np.testing.assert_array_equal(shown(file, limits), RAMP)
    np.testing.assert_array_equal(shown(file, limits, page=2), 255 - RAMP)


def test_a_chain_without_end_ends(tiff_file, limits):
    file = bytearray(tiff_file(GREY, RAMP.tobytes()))
    (start,) = struct.unpack_from("<I", file, 4)
    at = start + 2 + 12 * 8
    assert file[at : at + 4] == b"\0\0\0\0"
    file[at : at + 4] = struct.pack("<I", start)
    assert count_pages(bytes(file), limits) <= 2
    file[at : at + 4] = b"\xff\xff\xff\x7f"
    np.testing.assert_array_equal(shown(bytes(file), limits), RAMP)


@pytest.mark.parametrize("compression", [1, 32773])
def test_bits_in_reverse_order(compression, tiff_file, limits):
    turned = np.array([int(f"{n:08b}"[::-1], 2) for n in range(256)], np.uint8)[RAMP]
    body = turned.tobytes()
    if compression == 32773:  # a run of 16 literal bytes per row, its length reversed too
        body = b"".join(b"\xf0" + row.tobytes() for row in turned)
    file = tiff_file(GREY | {259: [compression], 266: [2]}, body)
    np.testing.assert_array_equal(shown(file, limits), RAMP)


def test_old_jpeg(photo, encode, tiff_file, limits, difference):
    stream = encode(photo, "jpeg", quality=95)
    tags = {256: [160], 257: [120], 258: [8, 8, 8], 259: [6], 262: [6], 277: [3]}
    file = tiff_file(tags | {513: [8], 514: [len(stream)]}, stream)
    pixels = open_picture(file, limits).rgb()
    np.testing.assert_array_equal(pixels, open_picture(stream, limits).rgb())
    with pytest.raises(UnsupportedImage, match="old-style JPEG"):
        open_picture(tiff_file(tags, stream), limits)
    with pytest.raises(InvalidImage):
        open_picture(tiff_file(tags | {256: [161], 513: [8]}, stream), limits).rgb()


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_fax(compression, encode, limits):
    image = Image.fromarray(RAMP > 100)
    file = encode(image, "tiff", compression=compression)
    np.testing.assert_array_equal(shown(file, limits), (RAMP > 100) * 255)


def test_palette_of_8_bits(tiff_file, limits):
    colours = [*range(256), *range(255, -1, -1), *[7] * 256]
    file = tiff_file(GREY | {262: [3], 320: colours}, RAMP.tobytes())
    expected = np.dstack([RAMP, 255 - RAMP, np.full_like(RAMP, 7)])
    np.testing.assert_array_equal(open_picture(file, limits).rgb(), expected)


def test_metadata_that_makes_no_sense_is_skipped(tiff_file, limits):
    """EXIF, GPS and profile point outside the file; XMP is noise; there are unknown tags."""
    broken = {34665: [65535], 34853: [65535], 34675: [9, 9, 9], 700: b"\xff" * 9, 65001: [1], 305: b"x" * 40}
    np.testing.assert_array_equal(shown(tiff_file(GREY | broken, RAMP.tobytes()), limits), RAMP)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_orientation(orientation, kind, limits):
    buffer = io.BytesIO()
    values = (
        (RAMP[:8] / 255).astype(kind)
        if kind == "f4"
        else RAMP[:8].astype(kind) * (257 if kind == "u2" else 1)
    )
    tifffile.imwrite(buffer, values, photometric="minisblack", extratags=[(274, 3, 1, orientation, True)])
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    np.testing.assert_array_equal(shown(buffer.getvalue(), limits), np.rot90(RAMP[:8], turns))


def test_orientation_in_xmp(tiff_file, limits):
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    np.testing.assert_array_equal(
        shown(tiff_file(GREY | {700: xmp}, RAMP.tobytes()), limits), np.rot90(RAMP, 3)
    )


def test_lzw_damage_writes_no_line_beside_the_log(encode):
    """libtiff speaks on the standard error stream of the process unless it is told not to."""
    file = bytearray(encode(Image.fromarray(RAMP), "tiff", compression="tiff_lzw"))
    file[8:40] = b"\xff" * 32
    program = (
        "import sys; from sightline.errors import ImageError; "
        "from sightline.imaging import ImageLimits, open_picture\n"
        "try: open_picture(sys.stdin.buffer.read(), ImageLimits(10**6, 10**6, 10**4)).rgb()\n"
        "except ImageError: print('refused')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], input=bytes(file), capture_output=True, check=True
    )
    assert (ended.stdout.strip(), ended.stderr) == (b"refused", b"")
