"""Orientation wherever Pillow's ``exif_transpose`` finds it, and metadata that makes no sense."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from sightline.imaging import open_picture

XMP = b"<x:xmpmeta><rdf:Description tiff:Orientation%s/></x:xmpmeta>"
NOISE = b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xee" * 60


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def pillows(file):
    """What a loader that calls ``exif_transpose`` sees."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB"))


def segment(payload):
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def with_segments(jpeg, *payloads):
    return jpeg[:2] + b"".join(segment(payload) for payload in payloads) + jpeg[2:]


def in_text(block, name):
    digits = block.hex()
    return f"\n{name}\n{len(block):8}\n" + "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))


@pytest.mark.parametrize("orientation", [1, 2, 6, 8])
def test_jpeg(orientation, photo, encode, limits):
    plain, block = encode(photo, "jpeg", quality=95), exif(orientation)
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + XMP % f'="{orientation}"'.encode()
    element = b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>%d</tiff:Orientation>" % orientation
    split = len(block) - 10
    for payloads in (
        [b"Exif\0\0" + block],
        [xmp],
        [element],
        [exif(1), b"http://ns.adobe.com/xap/1.0/\0" + XMP % b'="3"'],  # EXIF has one, so XMP does not count
        [block[:split], b"Exif\0\0" + block[split:]],  # the second segment continues the first
    ):
        file = with_segments(plain, *payloads)
        np.testing.assert_array_equal(open_picture(file, limits).rgb(), pillows(file))


@pytest.mark.parametrize("orientation", [1, 2, 6, 8])
@pytest.mark.parametrize("compressed", [False, True])
def test_png(orientation, compressed, photo, encode, limits):
    infos = [PngInfo(), PngInfo(), PngInfo()]
    infos[0].add_text("Raw profile type exif", in_text(exif(orientation), "exif"), zip=compressed)
    infos[1].add_itxt("XML:com.adobe.xmp", (XMP % f'="{orientation}"'.encode()).decode(), zip=compressed)
    infos[2].add_text("Comment", 'tiff:Orientation="3"')
    for info in infos:
        file = encode(photo, "png", pnginfo=info)
        np.testing.assert_array_equal(open_picture(file, limits).rgb(), pillows(file))
    # ImageMagick's other name, which Pillow does not read.
    info = PngInfo()
    info.add_text("Raw profile type APP1", in_text(exif(orientation), "APP1"), zip=compressed)
    expected = pillows(encode(photo, "png", exif=exif(orientation)))
    np.testing.assert_array_equal(open_picture(encode(photo, "png", pnginfo=info), limits).rgb(), expected)


@pytest.mark.parametrize("orientation", [1, 2, 6, 8])
def test_webp(orientation, photo, encode, limits):
    for options in ({"exif": exif(orientation)}, {"xmp": XMP % f'="{orientation}"'.encode()}):
        file = encode(photo, "webp", lossless=True, **options)
        np.testing.assert_array_equal(open_picture(file, limits).rgb(), pillows(file))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif(orientation, photo, encode, limits):
    """Its boxes say how it is turned; EXIF is not asked."""
    file = encode(photo, "avif", quality=95, exif=exif(orientation))
    np.testing.assert_array_equal(open_picture(file, limits).rgb(), pillows(file))


def test_broken_text_of_a_png_means_upright(photo, encode, limits):
    plain = encode(photo, "png")
    for kind, body in (
        (b"zTXt", b"Raw profile type exif\0\0" + b"\xff" * 40),
        (b"tEXt", b"Raw profile type exif\0\nexif\n 8\nzz"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + b"\xff" * 40),
        (b"eXIf", NOISE),
    ):
        chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        file = plain[:33] + chunk + plain[33:]
        np.testing.assert_array_equal(open_picture(file, limits).rgb(), np.asarray(photo))


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "heif", "tiff"])
def test_broken_metadata_is_not_a_reason_to_refuse(name, photo, encode, limits, cosine):
    plain = encode(photo, name)
    block = exif(1)
    for options in ({"exif": block}, {"xmp": b"\xff\xfe<broken"}, {"icc_profile": b"\xff" * 300}):
        if name == "tiff" and "xmp" in options:
            continue
        file = encode(photo, name, **options)
        broken = file.replace(block, b"\xee" * len(block)).replace(block[6:], b"\xee" * (len(block) - 6))
        pixels = open_picture(broken, limits).rgb()
        assert cosine(pixels, open_picture(plain, limits).rgb()) > 0.9999


@pytest.mark.parametrize("name", ["avif", "heif"])
@pytest.mark.parametrize("place", [(0, 0, 0), (16, 8, 0), (-32, 4, 6)])
def test_clean_aperture(name, place, photo, encode, limits, cosine):
    """96 × 64 of 160 × 120 pixels are visible: ``place`` is how far their centre is from the picture's."""
    across, down, orientation = place
    image = photo.crop((0, 0, 160, 120))
    file = encode(image, name, quality=95, **({"exif": exif(orientation)} if orientation else {}))
    clap = struct.pack(">I4sIIIIiIiI", 40, b"clap", 96, 1, 64, 1, across, 1, down, 1)
    picture = open_picture(with_property(file, clap), limits)
    left, top = (160 - 96) // 2 + across, (120 - 64) // 2 + down
    expected = image.crop((left, top, left + 96, top + 64))
    if orientation:
        expected.getexif()[0x0112] = orientation
        expected = ImageOps.exif_transpose(expected)
    assert (picture.width, picture.height) == expected.size
    assert cosine(picture.rgb(), expected) > 0.995


@pytest.mark.parametrize(
    "ratios",
    [
        (0, 1, 64, 1, 0, 1, 0, 1),
        (96, 0, 64, 1, 0, 1, 0, 1),
        (96, 1, 64, 1, 99, 1, 0, 1),
        (97, 2, 64, 1, 0, 1, 0, 1),
    ],
)
def test_an_impossible_aperture_does_not_count(ratios, photo, encode, limits):
    file = with_property(encode(photo, "avif"), struct.pack(">I4sIIIIiIiI", 40, b"clap", *ratios))
    picture = open_picture(file, limits)
    assert (picture.width, picture.height) == (160, 120)


def with_property(file, box):
    """``file`` with one more property of its first item. What follows the boxes moves back, and says so."""
    data = bytearray(file)
    ipco, ipma = data.index(b"ipco") - 4, data.index(b"ipma") - 4
    (ipco_size,), (ipma_size,) = struct.unpack_from(">I", data, ipco), struct.unpack_from(">I", data, ipma)
    number, position = 0, ipco + 8
    while position < ipco + ipco_size:
        number, position = number + 1, position + struct.unpack_from(">I", data, position)[0]
    # In front of irot and imir, as the standard wants it: those of the item are listed last.
    count_at = ipma + 8 + 8 + 2
    count = data[count_at]
    associations = bytes(data[count_at + 1 : count_at + 1 + count])
    kinds, position = [], ipco + 8
    while position < ipco + ipco_size:
        kinds.append(bytes(data[position + 4 : position + 8]))
        position += struct.unpack_from(">I", data, position)[0]
    turns = [index for index in associations if kinds[(index & 0x7F) - 1] in (b"irot", b"imir")]
    others = [index for index in associations if index not in turns]
    data[count_at : count_at + 1 + count] = bytes([count + 1, *others, 0x80 | (number + 1), *turns])
    data[ipma : ipma + 4] = struct.pack(">I", ipma_size + 1)
    data[ipco + ipco_size : ipco + ipco_size] = box
    data[ipco : ipco + 4] = struct.pack(">I", ipco_size + len(box))
    grown = len(box) + 1
    for name in (b"iprp", b"meta"):
        at = data.index(name) - 4
        data[at : at + 4] = struct.pack(">I", struct.unpack_from(">I", data, at)[0] + grown)
    moved(data, grown, data.index(b"mdat"))
    return bytes(data)


def moved(data, grown, first):
    """Adds ``grown`` to the offsets of iloc (version 0 or 1, 4-byte offsets and lengths)."""
    at = data.index(b"iloc") + 4
    version, sizes = data[at], data[at + 4]
    assert sizes == 0x44
    base_bytes = data[at + 5] >> 4
    (num_items,) = struct.unpack_from(">H", data, at + 6)
    position = at + 8
    for _ in range(num_items):
        position += 2 + (2 if version == 1 else 0) + 2 + base_bytes
        (num_extents,) = struct.unpack_from(">H", data, position)
        position += 2
        for _ in range(num_extents):
            (offset,) = struct.unpack_from(">I", data, position)
            data[position : position + 4] = struct.pack(">I", offset + grown)
            position += 8
