"""Camera raw files are refused by name: what could be decoded of them is a thumbnail."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import UnsupportedImage
from sightline.imaging import open_picture

THUMBNAIL = np.full((12, 16, 3), 90, np.uint8).tobytes()
RGB = {256: [16], 257: [12], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3]}
SENSOR = {256: [16], 257: [12], 258: [8], 259: [1], 262: [32803], 277: [1]}
SMALL = RGB | {254: [1]}


@pytest.mark.parametrize(
    ("tags", "sub", "name"),
    [
        (SMALL | {50706: b"\1\4\0\0"}, None, "DNG"),
        (RGB | {50706: b"\1\4\0\0"}, None, "DNG"),
        (SMALL | {271: b"NIKON CORPORATION\0"}, SENSOR, "NEF"),
        (SMALL | {271: b"NIKON CORPORATION\0"}, SENSOR | {259: [34713]}, "NEF"),
        (SMALL | {271: b"NIKON\0"}, RGB | {254: [0]}, "NEF"),
        (SMALL | {271: b"SONY\0"}, SENSOR | {259: [32767]}, "ARW"),
        (RGB | {271: b"SONY\0", 50740: [1]}, None, "ARW"),
        (SENSOR | {259: [65535], 271: b"PENTAX Corporation\0"}, None, "PEF"),
        (SMALL | {271: b"SAMSUNG\0"}, SENSOR | {259: [32770]}, "SRW"),
        (RGB | {271: b"Somebody\0"}, SENSOR, "camera raw"),
        (RGB, SENSOR | {262: [34892]}, "camera raw"),
    ],
)
def test_raw_in_tiff(tags, sub, name, tiff_file, limits):
    file = tiff_file(tags, THUMBNAIL, sub=sub)
    with pytest.raises(UnsupportedImage, match=name):
        open_picture(file, limits)


def test_canon_says_so_in_its_header(tiff_file, limits):
    file = tiff_file(RGB, b"CR\2\0" + THUMBNAIL[4:])
    with pytest.raises(UnsupportedImage, match="CR2"):
        open_picture(file, limits)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIRS\x08\0\0\0", "ORF"),
        (b"MMOR\0\0\0\x08", "ORF"),
        (b"IIU\0\x18\0\0\0", "RW2"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "CR3"),
        (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
        (b"FOVb\0\0\3\0", "X3F"),
        (b"\0MRM\0\0\0\0", "MRW"),
    ],
)
def test_raw_of_its_own_kind(start, name, limits):
    with pytest.raises(UnsupportedImage, match=name):
        open_picture(start + b"\0" * 100, limits)


def test_a_photo_of_the_same_camera_is_no_raw(tiff_file, limits):
    for tags in (RGB | {271: b"NIKON CORPORATION\0"}, SMALL | {271: b"SONY\0"}):
        assert open_picture(tiff_file(tags, THUMBNAIL), limits).rgb().shape == (12, 16, 3)
