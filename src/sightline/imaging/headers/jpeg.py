"""JPEG (ITU-T T.81): size, orientation, and the bytes that matter for pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from sightline.errors import UnsupportedImage
from sightline.imaging.headers.exif import orientation_of
from sightline.imaging.headers.header import Header, Truncated, damaged, truncated

# Any number of 0xFF may fill the space before a marker; only the last one counts, so that a long run costs
# no more than its length.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SOI, _EOI, _SOS, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_APP1 = 0xE1
# JFIF (APP0) and Adobe (APP14) say how colours are coded; no other application segment does.
_METADATA = frozenset({*range(0xE1, 0xF0), _COMMENT}) - {0xEE}
_STANDALONE = frozenset({0x01, _SOI, *range(0xD0, 0xD8)})
# In a scan, 0xFF is followed by 0 (a literal 0xFF) or a restart marker; only these end or interrupt it.
_INTERRUPTS = np.isin(np.arange(256), [*range(0xC0, 0xD0), *range(_EOI, 0xF0), _COMMENT])
# What libjpeg-turbo decodes: baseline, extended and progressive, Huffman or arithmetic.
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_JPEG_LS_FRAME = 0xF7
_ALL_FRAMES = frozenset({*range(0xC0, 0xD0), _JPEG_LS_FRAME}) - {0xC4, 0xC8, 0xCC}
_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
# Grey, colour, CMYK.
_COMPONENTS = frozenset({1, 3, 4})
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"

# A photo has some tens of segments; a large ICC profile or XMP adds some hundreds.
_MAX_SEGMENTS = 5_000
# Every scan of a progressive file passes over the whole picture. Encoders write about ten of them;
# libjpeg-turbo's own -maxscans example is 100.
_MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 1_000_000_000


def read(data: bytes) -> Header:
    """Raises InvalidImage without a frame header, UnsupportedImage for a coding that is not decoded."""
    exif: list[bytes] = []
    xmp = b""
    for marker, start, end in _segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start):
            # A second segment continues the first.
            exif.append(data[start + len(_EXIF) if exif else start : end])
        elif marker == _APP1 and data.startswith(_XMP, start):
            xmp = data[start:end]
        elif marker in _ALL_FRAMES:
            _require_decoded(marker, data[start:end])
            # A frame header comes after all metadata that cameras write, so orientation is known by now.
            height, width = _u16(data, start + 1), _u16(data, start + 3)
            return Header(width, height, orientation_of(b"".join(exif), xmp))
        elif marker == _SOS:
            break
    raise damaged("JPEG", "it has no frame header")


def exif(data: bytes) -> bytes:
    """Return the EXIF block; empty where there is none.

    Raises:
        InvalidImage: the file has no scan.
    """
    found: list[bytes] = []
    for marker, start, end in _segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start):
            found.append(data[start + len(_EXIF) if found else start : end])
    return b"".join(found)


def _require_decoded(marker: int, frame: bytes) -> None:
    """Raises UnsupportedImage naming what the frame header says."""
    bits = frame[0] if frame else 0
    components = frame[5] if len(frame) > 5 else 0
    if marker == _JPEG_LS_FRAME:
        kind = "JPEG-LS"
    elif marker in _LOSSLESS_FRAMES:
        kind = "lossless JPEG"
    elif marker not in _DECODED_FRAMES:
        kind = "hierarchical JPEG"
    elif bits != 8:
        kind = f"JPEG with {bits} bits per sample"
    elif components not in _COMPONENTS:
        kind = f"JPEG with {components} components"
    else:
        return
    raise UnsupportedImage(
        f"This is a {kind}, which is not decoded; 8-bit baseline and progressive JPEG are."
    )


def essentials(data: bytes) -> bytes:
    """The first picture of the file without metadata, previews, further pictures or anything behind it.

    Raises:
        InvalidImage: it does not reach its end-of-image marker, or is built to waste time.
    """
    kept: list[bytes | memoryview] = [data[:2]]
    view = memoryview(data)
    num_pixels = 0
    for marker, start, end in _segments(data):
        if marker == _SOS:
            stop = _end_of_image(data, start - 4, num_pixels)
            return b"".join([*kept, view[start - 4 : stop]])
        if marker in _ALL_FRAMES:
            num_pixels = _u16(data, start + 1) * _u16(data, start + 3)
        if marker not in _METADATA:
            kept.append(view[start - 4 : end])
    raise damaged("JPEG", "it has no scan")


def filled(data: bytes) -> bytes:
    """Return a truncated file with an end-of-image marker, at which libjpeg makes up what is missing.

    A segment between two scans of a progressive file that is cut off is left out.

    Raises:
        InvalidImage: it ends before its first scan.
    """
    for marker, start, _ in _segments(data):
        if marker == _SOS:
            return data[: _end_of_scans(data, start - 4)] + b"\xff\xd9"
    raise truncated("JPEG")


def _end_of_scans(data: bytes, position: int) -> int:
    """Where the last whole segment or the scan behind it ends, for a scan header at ``position``."""
    first = np.frombuffer(data, np.uint8, offset=position)
    places = np.flatnonzero(first[:-1] == 0xFF)
    places = places[_INTERRUPTS[first[places + 1]]] + position
    for _ in range(_MAX_SEGMENTS):
        index = int(np.searchsorted(places, position))
        if index == len(places):
            return len(data)
        start = int(places[index])
        if data[start + 1] == _EOI:
            return start
        try:
            position = _segment_end(data, start + 2)
        except Truncated:
            return start
    raise damaged("JPEG", f"it has more than {_MAX_SEGMENTS} segments")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's payload, up to and including the first scan's header."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(data, position)
        if match is None:
            raise truncated("JPEG")
        marker, position = match[1][0], match.end()
        if marker in _STANDALONE:
            continue
        if marker == _EOI:
            raise damaged("JPEG", "it ends before its first scan")
        end = _segment_end(data, position)
        yield marker, position + 2, end
        if marker == _SOS:
            return
        position = end
    raise damaged("JPEG", f"it has more than {_MAX_SEGMENTS} segments")


def _end_of_image(data: bytes, position: int, num_pixels: int) -> int:
    """Where the end-of-image marker ends, for a scan header at ``position``."""
    first = np.frombuffer(data, np.uint8, offset=position)
    places = np.flatnonzero(first[:-1] == 0xFF)
    places = places[_INTERRUPTS[first[places + 1]]] + position
    num_scans = 0
    for _ in range(_MAX_SEGMENTS):
        index = int(np.searchsorted(places, position))
        if index == len(places):
            raise truncated("JPEG")
        position = int(places[index]) + 2
        marker = data[position - 1]
        if marker == _EOI:
            return position
        if marker == _SOS:
            num_scans += 1
            if num_scans > _MAX_SCANS or num_scans * num_pixels > _MAX_SCANNED_PIXELS:
                raise damaged("JPEG", "it has more scans than any encoder writes")
        position = _segment_end(data, position)
    raise damaged("JPEG", f"it has more than {_MAX_SEGMENTS} segments")


def _segment_end(data: bytes, position: int) -> int:
    length = _u16(data, position)
    if length < 2:
        raise damaged("JPEG", "a segment has an impossible length")
    if position + length > len(data):
        raise truncated("JPEG")
    return position + length


def _u16(data: bytes, position: int) -> int:
    if position + 2 > len(data):
        raise truncated("JPEG")
    return int.from_bytes(data[position : position + 2], "big")
