"""Every way to store a TIFF's pixels that is decoded, written by tifffile and imagecodecs, which share no
code with Pillow and libtiff."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
import tifffile

from sightline.errors import UnsupportedImage
from sightline.imaging import open_picture

WIDTH, HEIGHT = 45, 37  # no multiple of a tile or of a byte
ACROSS, DOWN = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
SHARES = np.stack([(ACROSS + DOWN) / 2, ACROSS, 1 - DOWN, (1 + ACROSS * DOWN) / 2], axis=-1)
LAYOUTS = list(product([False, True], [None, (16, 16)], [None, "lzw", "deflate", "packbits"], "<>"))


def written(values, *, order="<", big=False, **options):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=big, byteorder=order) as target:
        target.write(values, **options)
    return buffer.getvalue()


def variants(values, channels, *, predictors=(False, True)):
    """``values`` in every byte order, layout, compression, with and without predictor."""
    for planar, tile, compression, order in LAYOUTS:
        for predictor in predictors:
            if (planar and channels == 1) or (predictor and compression not in ("lzw", "deflate")):
                continue
            stored = np.ascontiguousarray(np.moveaxis(values, -1, 0)) if planar else values
            options = {"tile": tile, "compression": compression, "predictor": predictor}
            if channels > 1:
                options["planarconfig"] = "separate" if planar else "contig"
            if tile is None:
                options["rowsperstrip"] = 10
            yield stored, options | {"order": order, "big": predictor}


def of_grey(levels):
    return np.repeat(levels[..., None], 3, axis=2)


def stored_as(shares, kind):
    return np.rint(shares * np.iinfo(kind).max).astype(kind)


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey(kind, photometric, limits):
    values = stored_as(SHARES[..., 0], kind)
    levels = values * (255 / np.iinfo(kind).max)
    expected = of_grey(255 - levels if photometric == "miniswhite" else levels)
    for stored, options in variants(values, 1):
        pixels = open_picture(written(stored, photometric=photometric, **options), limits).rgb()
        np.testing.assert_allclose(pixels, expected, atol=0.51, err_msg=str(options))


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_colour(kind, limits):
    values = stored_as(SHARES[..., :3], kind)
    for stored, options in variants(values, 3):
        pixels = open_picture(written(stored, photometric="rgb", **options), limits).rgb()
        np.testing.assert_allclose(
            pixels, values * (255 / np.iinfo(kind).max), atol=0.51, err_msg=str(options)
        )


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("meaning", ["unassalpha", "assocalpha", "unspecified"])
def test_extra_sample(kind, meaning, limits):
    shares = SHARES.copy()
    expected = 255 * shares[..., :3]
    if meaning != "unspecified":
        alpha = shares[..., 3:]
        expected = expected * alpha + 255 * (1 - alpha)
    if meaning == "assocalpha":
        shares[..., :3] *= shares[..., 3:]
    for stored, options in variants(stored_as(shares, kind), 4):
        file = written(stored, photometric="rgb", extrasamples=[meaning], **options)
        pixels = open_picture(file, limits).rgb()
        np.testing.assert_allclose(pixels, expected, atol=1.6, err_msg=str(options))


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i2", "i4", "u4"])
def test_grey_numbers_of_every_kind(kind, limits):
    """Floats from 0 to 1, and whole numbers by their own range or that of 16 bits."""
    shares = SHARES[..., 0]
    if kind == "u4":
        values = np.rint(shares * 65535).astype(kind)
    else:
        values = (shares if kind[0] == "f" else np.rint(shares * 200 - 100)).astype(kind)
    for stored, options in variants(values, 1):
        pixels = open_picture(written(stored, photometric="minisblack", **options), limits).rgb()
        np.testing.assert_allclose(pixels, of_grey(255 * shares), atol=1.2, err_msg=str(options))


# tifffile packs 10 bits and more in the machine's byte order only.
@pytest.mark.parametrize(
    ("bits", "order"), [(2, "<"), (2, ">"), (4, "<"), (4, ">"), (10, "<"), (12, "<"), (14, "<")]
)
def test_depths_that_share_bytes(bits, order, limits):
    top = (1 << bits) - 1
    values = np.rint(SHARES[..., 0] * top).astype("u1" if bits <= 8 else "u2")
    file = written(values, order=order, photometric="minisblack", bitspersample=bits)
    np.testing.assert_allclose(open_picture(file, limits).rgb(), of_grey(values * (255 / top)), atol=0.51)
    colours = np.rint(SHARES[..., :3] * top).astype(values.dtype)
    file = written(colours, order=order, photometric="rgb", bitspersample=bits, rowsperstrip=10)
    np.testing.assert_allclose(open_picture(file, limits).rgb(), colours * (255 / top), atol=0.51)


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_palette(kind, limits):
    bits = 8 * np.dtype(kind).itemsize
    colours = np.random.default_rng(7).integers(0, 65536, (3, 1 << bits)).astype("u2")
    values = stored_as(SHARES[..., 0], kind)
    expected = (colours >> 8).T[values]
    for stored, options in variants(values, 1):
        file = written(stored, photometric="palette", colormap=colours, **options)
        np.testing.assert_array_equal(open_picture(file, limits).rgb(), expected, err_msg=str(options))


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_inks(kind, limits):
    values = stored_as(SHARES * 0.8, kind)
    levels = values * (255 / np.iinfo(kind).max)
    expected = (255 - levels[..., :3]) * (255 - levels[..., 3:]) / 255
    for stored, options in variants(values, 4):
        pixels = open_picture(written(stored, photometric="separated", **options), limits).rgb()
        np.testing.assert_allclose(pixels, expected, atol=1.6, err_msg=str(options))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_jpeg(planar, tile, subsampling, limits, cosine):
    values = stored_as(SHARES[..., :3], "u1")
    options = {"photometric": "rgb", "tile": tile, "planarconfig": planar, "compressionargs": {"level": 98}}
    if planar == "contig":
        options |= {"compression": "jpeg", "subsampling": subsampling}
        stored = values
    else:
        options |= {"compression": "jpeg"}
        stored = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    pixels = open_picture(written(stored, **options), limits).rgb()
    assert np.abs(pixels - values.astype(float)).mean() < 3
    assert cosine(pixels, values) > 0.998


@pytest.mark.parametrize(
    "values",
    [
        SHARES[..., :3].astype("f4"),
        SHARES[..., :3].astype("f2"),
        stored_as(SHARES[..., :3], "u4"),
        stored_as(SHARES[..., :3], "i2"),
        SHARES[..., 0].astype("c8"),
    ],
    ids=["f4", "f2", "u4", "i2", "c8"],
)
def test_what_has_no_known_range_is_refused_with_the_reason(values, limits):
    photometric = "rgb" if values.ndim == 3 else "minisblack"
    with pytest.raises(UnsupportedImage, match=r"range|sample format"):
        open_picture(written(values, photometric=photometric), limits)


@pytest.mark.parametrize("compression", ["zstd", "lzma", "webp", "jpeg2000", "lerc"])
def test_codecs_that_stay_closed(compression, limits):
    file = written(stored_as(SHARES[..., :3], "u1"), photometric="rgb", compression=compression)
    with pytest.raises(UnsupportedImage, match="compression"):
        open_picture(file, limits)


def test_chroma_of_uncompressed_files_is_repeated(tiff_file, limits):
    """8-bit YCbCr in units of 2 × 2 luma values and one of each chroma (TIFF 6.0, section 21)."""
    luma = stored_as(SHARES[:36, :44, 0], "u1")
    units = luma.reshape(18, 2, 22, 2).swapaxes(1, 2).reshape(18, 22, 4)
    chroma = np.stack([np.full((18, 22), 90), np.tile(np.linspace(60, 200, 22), (18, 1))], -1).astype("u1")
    body = np.concatenate([units, chroma], axis=2).tobytes()
    file = tiff_file(
        {256: [44], 257: [36], 258: [8] * 3, 259: [1], 262: [6], 277: [3], 278: [36], 530: [2, 2]}, body
    )
    wide = chroma.repeat(2, axis=0).repeat(2, axis=1).astype(float) - 128
    red, blue = luma + 1.402 * wide[..., 1], luma + 1.772 * wide[..., 0]
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    expected = np.clip(np.dstack([red, green, blue]), 0, 255)
    np.testing.assert_allclose(open_picture(file, limits).rgb(), expected, atol=0.51)
