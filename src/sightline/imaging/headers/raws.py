"""Camera raw files: recognised so that they can be refused by name.

Many are TIFF files whose first page is a thumbnail. Decoding that page would answer for a photo that was
never looked at.
"""

from __future__ import annotations

from itertools import islice

from sightline.imaging.headers.tiff_directory import Directory, Tag, chain, sub_directories

# CFA and LinearRaw (DNG 1.6, chapter 4): the values of a sensor.
_SENSOR_PHOTOMETRICS = frozenset({32803, 34892})
# Sony, Nikon, Samsung (two), Pentax, Nikon's lossless one of DNG 1.0 times, Kodak.
_CAMERA_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 65000, 65535, 32867, 65536})
# A camera's files have up to four directories in their chain.
_DIRECTORIES = 8
# First words of the camera's maker → what its raw files are called.
_MAKERS = (
    ("NIKON", "Nikon raw (NEF)"),
    ("CANON", "Canon raw (CR2)"),
    ("SONY", "Sony raw (ARW)"),
    ("OLYMPUS", "Olympus raw (ORF)"),
    ("OM DIGITAL", "Olympus raw (ORF)"),
    ("PANASONIC", "Panasonic raw (RW2)"),
    ("PENTAX", "Pentax raw (PEF)"),
    ("RICOH", "Pentax raw (PEF)"),
    ("SAMSUNG", "Samsung raw (SRW)"),
    ("FUJIFILM", "Fujifilm raw (RAF)"),
    ("HASSELBLAD", "Hasselblad raw (3FR)"),
    ("PHASE ONE", "Phase One raw (IIQ)"),
    ("LEAF", "Leaf raw (MOS)"),
    ("MAMIYA", "Mamiya raw (MEF)"),
    ("EASTMAN KODAK", "Kodak raw (DCR)"),
    ("KODAK", "Kodak raw (DCR)"),
    ("EPSON", "Epson raw (ERF)"),
    ("SEIKO EPSON", "Epson raw (ERF)"),
)


def raw_in_tiff(first: Directory) -> str | None:
    """Return what a TIFF is called that holds the values of a camera's sensor; None for any other."""
    data = first.data
    if data[8:10] == b"CR":
        return "Canon raw (CR2)"
    if data[8:12] in (b"IIII", b"MMMM"):
        return "Phase One raw (IIQ)"
    if Tag.DNG_VERSION in first.entries:
        return "digital negative (DNG)"
    maker = first.content(Tag.MAKE).split(b"\0")[0].decode("latin-1").strip().upper()
    named = next((name for start, name in _MAKERS if maker.startswith(start)), None)
    if _holds_sensor_values(first) or (named is not None and _shows_thumbnail(first)):
        return named or "camera raw file"
    return None


def _holds_sensor_values(first: Directory) -> bool:
    for directory in islice(chain(first), _DIRECTORIES):
        for each in (directory, *sub_directories(directory)):
            if _number(each, Tag.PHOTOMETRIC) in _SENSOR_PHOTOMETRICS:
                return True
            if _number(each, Tag.COMPRESSION) in _CAMERA_COMPRESSIONS:
                return True
    return False


def _shows_thumbnail(first: Directory) -> bool:
    """Whether the first page is a reduced copy of something below it, or beside it in a maker's own tag."""
    if Tag.SR2_PRIVATE in first.entries:
        return True
    return bool(_number(first, Tag.SUBFILE_TYPE) & 1) and Tag.SUB_DIRECTORIES in first.entries


def _number(directory: Directory, tag: Tag) -> int:
    """Return an integer entry, 0 where it is absent or malformed: a bad directory is refused elsewhere."""
    kind, count, position = directory.entries.get(tag, (0, 0, 0))
    size = {3: 2, 4: 4}.get(kind)
    if size is None or count != 1:
        return 0
    return int.from_bytes(
        directory.data[position : position + size], "little" if directory.order == "<" else "big"
    )
