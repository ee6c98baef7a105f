"""TIFF: size and orientation of a page, how its pixels are stored, and a check of what it claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sightline.errors import InvalidImage, UnsupportedImage
from sightline.imaging.headers.exif import orientation_in_xmp
from sightline.imaging.headers.header import Header, damaged, truncated
from sightline.imaging.headers.raws import raw_in_tiff
from sightline.imaging.headers.tiff_directory import Directory, Tag, chain, first_directory

# Compressions: what photos and scans use. Codecs that libtiff may also carry (LZMA, Zstandard, WebP,
# JPEG 2000, ...) stay closed.
NONE, LZW, OLD_JPEG, JPEG, PACK_BITS = 1, 5, 6, 7, 32773
FAX = frozenset({2, 3, 4})
DEFLATE = frozenset({8, 32946})
LOSSLESS = frozenset({NONE, LZW, PACK_BITS}) | DEFLATE
# Photometric interpretations.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
_LAB = frozenset({8, 9, 10})
# Sample formats; 4, undefined, is read as unsigned.
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
_BITS = {
    UNSIGNED: frozenset({*range(1, 17), 32, 64}),
    SIGNED: frozenset({8, 16, 32, 64}),
    FLOAT: frozenset({16, 32, 64}),
}
# Differences between neighbours are taken of whole numbers of bytes; floats have a predictor of their own.
_PREDICTED_BITS = frozenset({8, 16, 32, 64})
# Colour and alpha need 5; a few programs add masks. Files of many bands are measurements, not pictures.
_MAX_SAMPLES = 32
# Tiles are padded to multiples of 16; small pictures may sit in one tile of a usual size.
_USUAL_TILE_SIDE = 1024
_REDUCED, _MASK = 1, 4


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pixels of one page are stored. ``bits`` and ``sample_format`` hold for every sample.

    A part is a strip (as wide as the page) or a tile. ``extra`` is what each sample beyond the colours
    means: 1 is premultiplied alpha, 2 plain alpha.
    """

    directory: Directory
    width: int
    height: int
    samples: int
    bits: int
    sample_format: int
    photometric: int
    compression: int
    predictor: int
    is_planar: bool
    is_bit_reversed: bool
    extra: tuple[int, ...]
    is_tiled: bool
    part_width: int
    part_height: int

    @property
    def num_colours(self) -> int:
        return _COLOURS[self.photometric]

    @property
    def alpha(self) -> int | None:
        """Return the index of the alpha sample."""
        wanted = (i for i, meaning in enumerate(self.extra, self.num_colours) if meaning in (1, 2))
        return next(wanted, None)

    def parts(self) -> list[tuple[int, int]]:
        """Return where each strip or tile begins and how many bytes it has.

        Raises:
            InvalidImage: they are missing, or not inside the file.
        """
        tags = (Tag.TILE_OFFSETS, Tag.TILE_BYTES) if self.is_tiled else (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
        offsets, sizes = (self.directory.values(tag) for tag in tags)
        across, down = -(-self.width // self.part_width), -(-self.height // self.part_height)
        wanted = across * down * (self.samples if self.is_planar else 1)
        if not sizes and len(offsets) == 1:  # a few old writers leave the length out where there is one part
            sizes = [len(self.directory.data) - offsets[0]]
        if len(offsets) < wanted or len(sizes) < wanted:
            raise damaged("TIFF", "its pixel data has fewer places or lengths than parts")
        if any(
            offset + size > len(self.directory.data) for offset, size in zip(offsets, sizes, strict=False)
        ):
            raise truncated("TIFF")
        return list(zip(offsets, sizes, strict=False))[:wanted]


def read(data: bytes, page: int = 0) -> Header:
    """Return size and orientation of a page, counted from 0.

    Raises:
        InvalidImage: there is no such page, or its directory does not fit the file.
        UnsupportedImage: a camera raw file, or a page that is stored in a way that is not decoded.
    """
    first = first_directory(data)
    raw = raw_in_tiff(first)
    if raw is not None:
        raise UnsupportedImage(f"This is a {raw}, which is not decoded; send the photo as JPEG or TIFF.")
    directory = _page(first, page)
    layout = _layout(directory)
    orientation = _orientation(directory)
    _require_decoded(layout)
    return Header(layout.width, layout.height, orientation)


def layout(data: bytes, page: int = 0) -> Layout:
    """Return how a page is stored that :func:`read` let through."""
    return _layout(_page(first_directory(data), page))


def num_pages(data: bytes) -> int:
    """Return the number of pages: thumbnails and masks are not counted.

    Raises:
        InvalidImage: the first directory is not inside the file.
    """
    return sum(1 for _ in _pages(first_directory(data)))


def _page(first: Directory, page: int) -> Directory:
    found = next(islice(_pages(first), page, None), None)
    if found is None:
        raise InvalidImage(f"The TIFF has no page {page + 1}.")
    return found


def _pages(first: Directory) -> Iterator[Directory]:
    """Yield pages in full size; where there are none, whatever is first."""
    found = False
    for directory in chain(first):
        if not _subfile_type(directory) & (_REDUCED | _MASK):
            found = True
            yield directory
    if not found:
        yield first


def _subfile_type(directory: Directory) -> int:
    try:
        return directory.value(Tag.SUBFILE_TYPE, 0)
    except InvalidImage:
        return 0


def _orientation(directory: Directory) -> int:
    try:
        found = directory.value(Tag.ORIENTATION, 0)
    except InvalidImage:
        found = 1
    if Tag.ORIENTATION not in directory.entries:
        return orientation_in_xmp(directory.content(Tag.XMP))
    return found if 1 <= found <= 8 else 1


def _layout(directory: Directory) -> Layout:
    width, height = directory.value(Tag.WIDTH, 0), directory.value(Tag.HEIGHT, 0)
    compression = directory.value(Tag.COMPRESSION, NONE)
    samples = directory.value(Tag.SAMPLES, 3 if compression == OLD_JPEG else 1)
    photometric = _photometric(directory, samples, compression)
    # Tile sizes of 0 mean strips: the tags of an editor that stores strips.
    is_tiled = Tag.TILE_OFFSETS in directory.entries
    if is_tiled:
        part_width, part_height = directory.value(Tag.TILE_WIDTH, 0), directory.value(Tag.TILE_HEIGHT, 0)
    else:
        part_width, part_height = width, min(directory.value(Tag.ROWS_PER_STRIP, height) or height, height)
    colours = _COLOURS.get(photometric, samples)
    return Layout(
        directory=directory,
        width=width,
        height=height,
        samples=samples,
        bits=_common(directory, Tag.BITS, samples, 1),
        sample_format=_common(directory, Tag.SAMPLE_FORMAT, samples, UNSIGNED),
        photometric=photometric,
        compression=compression,
        predictor=directory.value(Tag.PREDICTOR, 1) if compression in DEFLATE | {LZW} else 1,
        is_planar=directory.value(Tag.PLANAR, 1) == 2 and samples > 1,
        is_bit_reversed=directory.value(Tag.FILL_ORDER, 1) == 2,
        extra=_extra(directory, photometric, samples, colours),
        is_tiled=is_tiled,
        part_width=part_width,
        part_height=part_height,
    )


def _photometric(directory: Directory, samples: int, compression: int) -> int:
    """Return what values mean, as libtiff guesses where the tag is missing."""
    if compression == OLD_JPEG:
        return YCBCR if samples >= 3 else BLACK_IS_ZERO
    guess = RGB if samples >= 3 else WHITE_IS_ZERO if compression in FAX else BLACK_IS_ZERO
    return directory.value(Tag.PHOTOMETRIC, guess)


def _common(directory: Directory, tag: Tag, samples: int, default: int) -> int:
    """Return the value that all samples share, or 0: they differ."""
    found = set(directory.values(tag)[:samples]) or {default}
    return found.pop() if len(found) == 1 else 0


def _extra(directory: Directory, photometric: int, samples: int, colours: int) -> tuple[int, ...]:
    count = max(samples - colours, 0)
    meanings = [2 if meaning == 999 else meaning for meaning in directory.values(Tag.EXTRA_SAMPLES)]  # Corel
    if not meanings and photometric == RGB and count == 1:
        meanings = [2]  # as Pillow: RGBA of writers that leave the tag out
    return tuple((meanings + [0] * count)[:count])


def _require_decoded(layout: Layout) -> None:
    for reason in _reasons(layout):
        raise UnsupportedImage(f"This TIFF is not decoded: {reason}.")
    if layout.samples < layout.num_colours:
        raise damaged("TIFF", "it has fewer samples than its colours need")
    if layout.photometric == PALETTE and len(layout.directory.values(Tag.COLOUR_MAP)) < 3 << layout.bits:
        raise damaged("TIFF", "its palette is missing or too short")
    if layout.is_tiled:
        for part, side in ((layout.part_width, layout.width), (layout.part_height, layout.height)):
            if not 0 < part <= max(side + 15, _USUAL_TILE_SIDE):
                raise damaged("TIFF", "its tiles are larger than the picture, or empty")


def _reasons(layout: Layout) -> Iterator[str]:
    """Yield what stands in the way of correct pixels, from the coding of the file to that of its values."""
    if layout.compression not in LOSSLESS | FAX | {JPEG, OLD_JPEG}:
        yield f"compression {layout.compression}; none, LZW, Deflate, PackBits, JPEG and fax are"
    if layout.photometric in _LAB:
        yield "Lab colours; RGB, grey, palette, CMYK and YCbCr are"
    if layout.photometric not in _COLOURS:
        yield f"photometric interpretation {layout.photometric}; RGB, grey, palette, CMYK and YCbCr are"
    if layout.samples > _MAX_SAMPLES:
        yield f"{layout.samples} samples per pixel; up to {_MAX_SAMPLES} are"
    if layout.photometric == CMYK and layout.directory.value(Tag.INK_SET, 1) != 1:
        yield "inks other than cyan, magenta, yellow and black"
    yield from _reasons_of_samples(layout)


def _reasons_of_samples(layout: Layout) -> Iterator[str]:
    kind = UNSIGNED if layout.sample_format == UNDEFINED else layout.sample_format
    if layout.bits == 0 or kind == 0:
        yield "samples of different sizes or kinds"
    if kind not in _BITS:
        yield f"sample format {kind}, such as complex numbers"
    if layout.bits not in _BITS[kind]:
        yield f"{layout.bits} bits per sample of this kind"
    is_bounded = kind == UNSIGNED and layout.bits <= 16
    if not is_bounded and layout.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        name = {SIGNED: "signed", FLOAT: "floating"}.get(kind, "wide")
        yield f"colours as {name} {layout.bits}-bit numbers, whose range is not known; grey ones are"
    if not is_bounded and layout.alpha is not None:
        yield "transparency as numbers whose range is not known"
    yield from _reasons_of_coding(layout, kind)


def _reasons_of_coding(layout: Layout, kind: int) -> Iterator[str]:
    is_eight = layout.bits == 8 and kind == UNSIGNED
    if layout.compression in FAX and (layout.bits != 1 or layout.samples != 1):
        yield "fax coding of more than one bit per pixel"
    if layout.compression == JPEG and not (is_eight and layout.photometric != PALETTE):
        yield "JPEG of other than 8 bits"
    if layout.compression == OLD_JPEG and Tag.JPEG_STREAM not in layout.directory.entries:
        yield "old-style JPEG without its stream"
    if layout.predictor == 2 and layout.bits not in _PREDICTED_BITS:
        yield f"a predictor of {layout.bits}-bit samples"
    if (layout.predictor == 3 and kind != FLOAT) or layout.predictor not in (1, 2, 3):
        yield f"predictor {layout.predictor}"
    is_plain = is_eight and layout.samples == 3 and not layout.is_planar and layout.predictor == 1
    if layout.photometric == YCBCR and layout.compression in LOSSLESS and not is_plain:
        yield "YCbCr other than 8-bit, in one plane and without predictor"
