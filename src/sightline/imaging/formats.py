"""The image formats that are opened, told apart by their first bytes."""

from __future__ import annotations

from enum import StrEnum

from sightline.errors import InvalidImage, UnsupportedImage


class UnknownFormat(UnsupportedImage):
    """Not an image, or not in a format of the list."""


class Format(StrEnum):
    """Formats on the allow-list. Anything else is refused, whatever it is called."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    TIFF = "tiff"
    AVIF = "avif"
    HEIF = "heif"


_ACCEPTED = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC"
_PREFIXES = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"BM", Format.BMP),
    (b"II*\x00", Format.TIFF),
    (b"MM\x00*", Format.TIFF),
    (b"II+\x00\x08\x00\x00\x00", Format.TIFF),  # BigTIFF with offsets of 8 bytes
    (b"MM\x00+\x00\x08\x00\x00", Format.TIFF),
)
_RAW_PREFIXES = (
    (b"FUJIFILMCCD-RAW", "Fujifilm raw (RAF)"),
    (b"IIRO", "Olympus raw (ORF)"),
    (b"IIRS", "Olympus raw (ORF)"),
    (b"MMOR", "Olympus raw (ORF)"),
    (b"IIU\x00", "Panasonic raw (RW2)"),
    (b"FOVb", "Sigma raw (X3F)"),
    (b"\x00MRM", "Minolta raw (MRW)"),
)
# ISO/IEC 23000-22 (MIAF), 23008-12 (HEIF) and the AV1 image format name these brands.
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_CONTAINER_BRANDS = frozenset({b"mif1", b"msf1", b"miaf"})


def sniff(data: bytes) -> Format:
    """The format of a file, by content.

    Raises:
        InvalidImage: no bytes at all.
        UnsupportedImage: none of the accepted formats.
    """
    if not data:
        raise InvalidImage("The image is empty: no bytes were received.")
    for prefix, image_format in _PREFIXES:
        if data.startswith(prefix):
            return image_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if data[4:8] == b"ftyp":
        image_format_of_brand = _sniff_brands(data)
        if image_format_of_brand is not None:
            return image_format_of_brand
    raw = _raw(data)
    if raw is not None:
        raise UnsupportedImage(f"This is a {raw}, which is not decoded; send the photo as JPEG or TIFF.")
    raise UnknownFormat(f"This is not an image in an accepted format; {_ACCEPTED} are.")


def _raw(data: bytes) -> str | None:
    """Return the format of a camera raw file that is not a TIFF."""
    for prefix, name in _RAW_PREFIXES:
        if data.startswith(prefix):
            return name
    if data[4:12] == b"ftypcrx ":
        return "Canon raw (CR3)"
    return "Canon raw (CRW)" if data[6:14] == b"HEAPCCDR" else None


def _sniff_brands(data: bytes) -> Format | None:
    """Return the coding of an ISO base media file: its major brand, else the first compatible one."""
    box_size = min(int.from_bytes(data[:4], "big"), 512)
    major, compatible = data[8:12], data[16:box_size]
    brands = [major]
    if major in _CONTAINER_BRANDS:
        brands += [compatible[i : i + 4] for i in range(0, len(compatible), 4)]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return Format.AVIF
        if brand in _HEIF_BRANDS:
            return Format.HEIF
    return None
