"""One page of a TIFF to RGB pixels.

Pillow reads the common kinds, from a file with one directory of the few tags that say how pixels are stored.
For all others libtiff undoes LZW, Deflate or PackBits and nothing else, and what the bytes mean is
decided here: Pillow has no way from planes, most depths and either byte order to the right values.
"""

from __future__ import annotations

import ctypes
import io
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ImageTooLarge
from sightline.imaging.colours import to_rgb
from sightline.imaging.headers import tiff as header
from sightline.imaging.headers.header import damaged, truncated
from sightline.imaging.headers.tiff import Layout
from sightline.imaging.headers.tiff_directory import Tag
from sightline.imaging.levels import Numbers, levels
from sightline.imaging.raster import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

# Photometric interpretation, samples and meaning of the extra ones that Pillow reads right at 8 bits.
_READ_BY_PILLOW = frozenset(
    {
        (header.BLACK_IS_ZERO, 1, ()), (header.RGB, 3, ()), (header.RGB, 4, (2,)), (header.CMYK, 4, ()),
    }
)  # fmt: skip
_SHORT, _LONG = 3, 4
# Tags of the coding that are handed on as they are.
_CODING_TAGS = (
    Tag.FAX3_OPTIONS, Tag.FAX4_OPTIONS, Tag.JPEG_TABLES, Tag.YCBCR_SUBSAMPLING,
)  # fmt: skip
# 50 million pixels of 16-bit RGBA have 400 MB.
_MAX_SAMPLE_BYTES = 512 * 1024 * 1024
_ROWS = 128
_REVERSED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)
# CCIR 601, the defaults of TIFF 6.0, section 21.
_LUMA = (0.299, 0.587, 0.114)
_BLACK_AND_WHITE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


def decode(data: bytes, page: int) -> Image:
    """Return a page as stored (not yet upright), in mode RGB.

    Raises:
        InvalidImage: its pixels are missing, cut off or damaged.
        ImageTooLarge: its samples take more memory than one picture gets.
    """
    layout = header.layout(data, page)
    if _is_read_by_pillow(layout):
        image = _by_pillow(layout)
        rgb = to_rgb(image)
        return rgb.copy() if rgb is image else rgb  # the decoder is not kept with its file
    num_bytes = layout.width * layout.height * layout.samples * layout.bits // 8
    if num_bytes > _MAX_SAMPLE_BYTES:
        raise ImageTooLarge(
            f"The TIFF image has {num_bytes} bytes of samples; at most {_MAX_SAMPLE_BYTES} are accepted."
        )
    return _from_samples(layout)


def old_jpeg(data: bytes, page: int) -> bytes | None:
    """Return the JPEG stream of a page in the manner of TIFF 6.0, section 22; None for any other page.

    Raises:
        InvalidImage: it is not inside the file.
    """
    layout = header.layout(data, page)
    if layout.compression != header.OLD_JPEG:
        return None
    start = layout.directory.value(Tag.JPEG_STREAM, 0)
    stream = data[start : start + layout.directory.value(Tag.JPEG_STREAM_BYTES, len(data) - start)]
    if not stream.startswith(b"\xff\xd8\xff"):
        raise damaged("TIFF", "its JPEG stream is missing")
    return stream


def _is_read_by_pillow(layout: Layout) -> bool:
    if layout.compression in header.FAX or layout.compression == header.JPEG:
        return True
    if layout.is_planar or layout.is_bit_reversed or layout.sample_format != header.UNSIGNED:
        return False
    if layout.bits == 1:
        return layout.samples == 1 and layout.photometric in (header.WHITE_IS_ZERO, header.BLACK_IS_ZERO)
    return layout.bits == 8 and (layout.photometric, layout.samples, layout.extra) in _READ_BY_PILLOW


def _by_pillow(layout: Layout) -> Image:
    directory = layout.directory
    parts = layout.parts()
    tags: dict[Tag, tuple[int, Sequence[int] | bytes]] = {
        Tag.WIDTH: (_LONG, [layout.width]),
        Tag.HEIGHT: (_LONG, [layout.height]),
        Tag.BITS: (_SHORT, [layout.bits] * layout.samples),
        Tag.COMPRESSION: (_SHORT, [layout.compression]),
        Tag.PHOTOMETRIC: (_SHORT, [layout.photometric]),
        Tag.FILL_ORDER: (_SHORT, [2 if layout.is_bit_reversed else 1]),
        Tag.SAMPLES: (_SHORT, [layout.samples]),
        Tag.PLANAR: (_SHORT, [2 if layout.is_planar else 1]),
        Tag.PREDICTOR: (_SHORT, [layout.predictor]),
    }
    if layout.extra:
        tags[Tag.EXTRA_SAMPLES] = (_SHORT, layout.extra)
    offsets, sizes = [offset for offset, _ in parts], [size for _, size in parts]
    if layout.is_tiled:
        tags[Tag.TILE_WIDTH] = (_LONG, [layout.part_width])
        tags[Tag.TILE_HEIGHT] = (_LONG, [layout.part_height])
        tags |= {Tag.TILE_OFFSETS: (_LONG, offsets), Tag.TILE_BYTES: (_LONG, sizes)}
    else:
        tags[Tag.ROWS_PER_STRIP] = (_LONG, [layout.part_height])
        tags |= {Tag.STRIP_OFFSETS: (_LONG, offsets), Tag.STRIP_BYTES: (_LONG, sizes)}
    for tag in _CODING_TAGS:
        kind, *_ = directory.entries.get(tag, (0, 0, 0))
        if kind:
            tags[tag] = (7, _jpeg_tables(layout)) if tag == Tag.JPEG_TABLES else (kind, directory.values(tag))
    return _loaded(_file(directory.order, directory.data[8:], tags))


def _jpeg_tables(layout: Layout) -> bytes:
    _, count, _ = layout.directory.entries[Tag.JPEG_TABLES]
    tables = layout.directory.content(Tag.JPEG_TABLES)
    if len(tables) != count:
        raise truncated("TIFF")
    return tables


def _file(order: str, body: bytes, tags: dict[Tag, tuple[int, Sequence[int] | bytes]]) -> bytes:
    """A TIFF of ``body``, which begins at its ninth byte, and one directory of ``tags``."""
    body += b"\0" * (len(body) % 2)
    start = 8 + len(body)
    place = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, content) in sorted(tags.items()):
        count = len(content)
        if not isinstance(content, bytes):
            content = struct.pack(f"{order}{count}{'H' if kind == _SHORT else 'I'}", *content)
        if len(content) > 4:
            pointer = struct.pack(order + "I", place + len(values))
            values += content + b"\0" * (len(content) % 2)
        else:
            pointer = content.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, kind, count) + pointer
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return b"".join([head, body, struct.pack(order + "H", len(tags)), entries, b"\0\0\0\0", values])


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing lines to the standard error stream, beside the log: errors are raised.

    Its symbols are found through the module of Pillow that was linked to it. Where they are not (a build
    that hides them) nothing changes.
    """
    from PIL import _imaging

    with suppress(OSError, AttributeError):
        libtiff = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(libtiff, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)


def _loaded(file: bytes) -> Image:
    from PIL.TiffImagePlugin import TiffImageFile

    _silence_libtiff()
    image = TiffImageFile(io.BytesIO(file))
    image.load()
    return image


def _from_samples(layout: Layout) -> Image:
    from PIL.Image import fromarray, merge

    if layout.photometric == header.YCBCR:
        return fromarray(_from_ycbcr(layout))
    samples = _samples(layout)
    colours = samples[: layout.num_colours]
    if layout.photometric == header.PALETTE:
        shown = _palette(layout)[colours[0]]
    elif layout.photometric == header.CMYK:
        inks = [fromarray(band) for band in levels(colours, layout.bits)]
        shown = np.asarray(to_rgb(merge("CMYK", inks)))
    else:
        bands = levels(colours, layout.bits)
        if layout.photometric == header.WHITE_IS_ZERO:
            bands = [255 - band for band in bands]
        shown = np.dstack(bands if len(bands) == 3 else bands * 3)
    if layout.alpha is not None:
        is_premultiplied = layout.extra[layout.alpha - layout.num_colours] == 1
        shown = _over_white(shown, levels([samples[layout.alpha]], layout.bits)[0], is_premultiplied)
    return fromarray(np.ascontiguousarray(shown))


def _over_white(colours: Pixels, alpha: Pixels, is_premultiplied: bool) -> Pixels:
    result = np.empty_like(colours)
    for first in range(0, len(colours), _ROWS):
        some = slice(first, first + _ROWS)
        share = alpha[some, :, None].astype(np.uint32)
        wide = colours[some].astype(np.uint32) * (255 if is_premultiplied else share)
        result[some] = np.minimum((wide + 255 * (255 - share) + 127) // 255, 255)
    return result


def _palette(layout: Layout) -> Pixels:
    """The colours [2 ** bits, 3]. They have 16 bits; old writers stored 8, as libtiff notices too."""
    stored = np.array(layout.directory.values(Tag.COLOUR_MAP)[: 3 << layout.bits], np.uint16)
    return (stored >> 8 if stored.max() > 255 else stored).astype(np.uint8).reshape(3, -1).T


def _samples(layout: Layout) -> list[Numbers]:
    """Every sample as an array [height, width], as it is stored."""
    parts = layout.parts()
    each = 1 if layout.is_planar else layout.samples
    planes = layout.samples if layout.is_planar else 1
    num_parts = len(parts) // planes
    row_bytes = -(-layout.part_width * each * layout.bits // 8)
    across = -(-layout.width // layout.part_width)
    samples: list[Numbers] = []
    for plane in range(planes):
        some = parts[plane * num_parts : (plane + 1) * num_parts]
        rows = num_parts * layout.part_height if layout.is_tiled else layout.height
        raw = _decompressed(layout, some, row_bytes, rows, layout.part_height)
        values = _values(layout, raw, each)
        if layout.is_tiled:
            values = _joined(values.reshape(-1, across, layout.part_height, layout.part_width, each))
        samples += [values[: layout.height, : layout.width, i] for i in range(each)]
    return samples


def _joined(tiles: NDArray[Any]) -> NDArray[Any]:
    """[down, across, height, width, n] → [down * height, across * width, n]"""
    down, across, height, width, each = tiles.shape
    return tiles.swapaxes(1, 2).reshape(down * height, across * width, each)


def _decompressed(
    layout: Layout, parts: list[tuple[int, int]], row_bytes: int, rows: int, part_rows: int
) -> Pixels:
    """The bytes of parts below each other, [rows, row_bytes]; all but the last have ``part_rows`` rows."""
    data = layout.directory.data
    if layout.compression != header.NONE:
        return np.asarray(_loaded(_as_grey(layout, parts, row_bytes, rows, part_rows)))
    wanted = [min(part_rows, rows - first) * row_bytes for first in range(0, rows, part_rows)]
    if any(size < num_bytes for (_, size), num_bytes in zip(parts, wanted, strict=True)):
        raise truncated("TIFF")
    stored = [
        np.frombuffer(data, np.uint8, num_bytes, offset)
        for (offset, _), num_bytes in zip(parts, wanted, strict=True)
    ]
    raw = np.concatenate(stored).reshape(rows, row_bytes)
    return _REVERSED[raw] if layout.is_bit_reversed else raw


def _as_grey(
    layout: Layout, parts: list[tuple[int, int]], row_bytes: int, rows: int, part_rows: int
) -> bytes:
    """A file whose grey levels are the bytes of the parts, so that libtiff decompresses and does no more."""
    data = layout.directory.data
    offsets, place = [], 8
    for _, size in parts:
        offsets.append(place)
        place += size
    tags: dict[Tag, tuple[int, Sequence[int] | bytes]] = {
        Tag.WIDTH: (_LONG, [row_bytes]),
        Tag.HEIGHT: (_LONG, [rows]),
        Tag.BITS: (_SHORT, [8]),
        Tag.COMPRESSION: (_SHORT, [layout.compression]),
        Tag.PHOTOMETRIC: (_SHORT, [header.BLACK_IS_ZERO]),
        Tag.FILL_ORDER: (_SHORT, [2 if layout.is_bit_reversed else 1]),
        Tag.STRIP_OFFSETS: (_LONG, offsets),
        Tag.SAMPLES: (_SHORT, [1]),
        Tag.ROWS_PER_STRIP: (_LONG, [part_rows]),
        Tag.STRIP_BYTES: (_LONG, [size for _, size in parts]),
    }
    return _file("<", b"".join(data[offset : offset + size] for offset, size in parts), tags)


def _values(layout: Layout, raw: Pixels, each: int) -> NDArray[Any]:
    """Bytes [rows, row_bytes] as numbers [rows, columns, each], with the predictor undone."""
    bits = layout.bits
    kind = {header.SIGNED: "i", header.FLOAT: "f"}.get(layout.sample_format, "u")
    if bits not in (8, 16, 32, 64):
        return _unpacked(raw, layout.part_width * each, bits).reshape(len(raw), -1, each)
    size = bits // 8
    if layout.predictor == 3:
        return _float_sums(raw, each, size).reshape(len(raw), -1, each)
    order = layout.directory.order
    numbers = raw.view(f"{order}u{size}").reshape(len(raw), -1, each)
    if layout.predictor == 2:
        numbers = np.cumsum(numbers.astype(f"u{size}"), axis=1, dtype=f"u{size}")
        return numbers.view(f"{kind}{size}")
    return numbers.view(f"{order}{kind}{size}")


def _float_sums(raw: Pixels, each: int, size: int) -> NDArray[Any]:
    """Undo predictor 3 (Adobe Photoshop TIFF Technical Note 3): differences of bytes, highest bytes first."""
    sums = np.cumsum(raw.reshape(len(raw), -1, each), axis=1, dtype=np.uint8)
    planes = sums.reshape(len(raw), size, -1)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).view(f">f{size}")[..., 0]


def _unpacked(raw: Pixels, count: int, bits: int) -> NDArray[Any]:
    """``count`` numbers of ``bits`` bits in each row, highest bit first whatever the byte order."""
    result = np.empty((len(raw), count), np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    for first in range(0, len(raw), _ROWS):
        single = np.unpackbits(raw[first : first + _ROWS], axis=1, count=count * bits)
        result[first : first + _ROWS] = single.reshape(-1, count, bits) @ weights
    return result


def _from_ycbcr(layout: Layout) -> Pixels:
    """Units of some luma values and two of chroma, as TIFF 6.0, section 21 packs them."""
    across, down = (layout.directory.values(Tag.YCBCR_SUBSAMPLING) or [2, 2])[:2]
    parts = layout.parts()
    if across not in (1, 2, 4) or down not in (1, 2, 4):
        raise damaged("TIFF", "its chroma subsampling is impossible")
    part_rows = -(-layout.part_height // down)
    if len(parts) > 1 and layout.part_height % down:
        raise damaged("TIFF", "its strips do not end between rows of chroma")
    units = -(-layout.part_width // across)
    unit_bytes = across * down + 2
    rows = len(parts) * part_rows if layout.is_tiled else -(-layout.height // down)
    raw = _decompressed(layout, parts, units * unit_bytes, rows, part_rows).reshape(rows, units, unit_bytes)
    luma = (
        raw[..., :-2].reshape(rows, units, down, across).swapaxes(1, 2).reshape(rows * down, units * across)
    )
    chroma = [raw[..., i].repeat(down, axis=0).repeat(across, axis=1) for i in (-2, -1)]
    values = np.dstack([luma, *chroma])
    if layout.is_tiled:
        values = values[:, : layout.part_width] if units * across > layout.part_width else values
        tiles = -(-layout.width // layout.part_width)
        values = _joined(values.reshape(-1, tiles, part_rows * down, values.shape[1], 3))
    return _ycbcr_to_rgb(layout, values[: layout.height, : layout.width])


def _ycbcr_to_rgb(layout: Layout, values: Pixels) -> Pixels:
    red, green, blue = (layout.directory.numbers(Tag.YCBCR_COEFFICIENTS) + [0.0] * 3)[:3]
    if min(red, green, blue) <= 0:
        red, green, blue = _LUMA
    ends = tuple(layout.directory.numbers(Tag.REFERENCE_BLACK_WHITE))
    if len(ends) != 6 or any(white <= black for black, white in zip(ends[::2], ends[1::2], strict=True)):
        ends = _BLACK_AND_WHITE
    result = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), _ROWS):
        luma, cb, cr = (
            (values[first : first + _ROWS, :, i] - ends[2 * i]) * (top / (ends[2 * i + 1] - ends[2 * i]))
            for i, top in enumerate((255, 127, 127))
        )
        r, b = luma + cr * (2 - 2 * red), luma + cb * (2 - 2 * blue)
        g = (luma - red * r - blue * b) / green
        result[first : first + _ROWS] = np.clip(np.rint(np.dstack([r, g, b])), 0, 255)
    return result
