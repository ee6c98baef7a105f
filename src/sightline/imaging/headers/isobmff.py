"""The boxes of AVIF and HEIF (ISO/IEC 14496-12, 23008-12) that their decoding libraries do not apply."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sightline.imaging.headers.header import Placement

_MAX_BOXES = 1_000
_METADATA_ITEMS = frozenset({b"Exif", b"mime", b"uri "})
# An item type that no library knows, so that it skips the item.
_UNKNOWN_ITEM = b"skip"


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    end: int


def clean_aperture(data: bytes) -> tuple[tuple[int, int], Placement] | None:
    """Return the size of the visible part of the primary item, and where the coded picture is around it.

    ``(96, 64), Placement(-16, 0, 128, 64)``: what is decoded is 128 × 64, and 16 columns at the left are
    hidden. None where nothing is hidden, or where the box says something impossible.
    """
    try:
        properties = _primary_properties(data)
        if b"clap" not in properties or b"ispe" not in properties:
            return None
        width, height = struct.unpack_from(">II", data, properties[b"ispe"].start + 4)
        fractions = struct.unpack_from(">IIIIiIiI", data, properties[b"clap"].start)
    except (struct.error, IndexError):
        return None
    across = _visible(width, *fractions[0:2], *fractions[4:6])
    down = _visible(height, *fractions[2:4], *fractions[6:8])
    if across is None or down is None or (across[1], down[1]) == (width, height):
        return None
    return (across[1], down[1]), Placement(-across[0], -down[0], width, height)


def without_metadata(data: bytes) -> bytes:
    """Return the file with its EXIF and XMP under a name that decoders skip; same length, same offsets."""
    changed = bytearray(data)
    try:
        for position in _metadata_types(data):
            changed[position : position + 4] = _UNKNOWN_ITEM
    except (struct.error, IndexError):
        return data
    return bytes(changed)


def exif_item(data: bytes) -> bytes:
    """Return the EXIF block of the file, from its TIFF header on; empty if there is none that can be read."""
    try:
        for meta in (box for box in _boxes(data, 0, len(data)) if box.kind == b"meta"):
            inside = {box.kind: box for box in _boxes(data, meta.start + 4, meta.end)}
            if b"iinf" in inside and b"iloc" in inside:
                items = [number for number, kind in _item_types(data, inside[b"iinf"]) if kind == b"Exif"]
                block = b"".join(
                    data[start : start + length]
                    for start, length in _extents(data, inside[b"iloc"], frozenset(items[:1]))
                )
                # The block begins with how far its TIFF header is from there (ISO/IEC 23008-12, A.2.1).
                (skipped,) = struct.unpack_from(">I", block) if len(block) > 4 else (0,)
                return block[4 + skipped :]
    except (struct.error, IndexError):
        pass
    return b""


def _visible(
    size: int, length: int, divisor: int, offset: int, offset_divisor: int
) -> tuple[int, int] | None:
    """Return where the visible part of a side begins and how long it is, in whole pixels.

    ISO/IEC 14496-12, 12.1.4.1: ``offset`` is how far its centre is from the centre of the picture.
    """
    if divisor == 0 or offset_divisor == 0 or length % divisor:
        return None
    visible = length // divisor
    doubled, rest = divmod(2 * offset, offset_divisor)
    begin, odd = divmod(doubled + size - visible, 2)
    is_inside = visible > 0 and 0 <= begin <= size - visible
    return (begin, visible) if is_inside and not rest and not odd else None


def _primary_properties(data: bytes) -> dict[bytes, _Box]:
    """Raises struct.error, IndexError: a box is cut off."""
    meta = next((box for box in _boxes(data, 0, len(data)) if box.kind == b"meta"), None)
    if meta is None:
        return {}
    inside = {box.kind: box for box in _boxes(data, meta.start + 4, meta.end)}
    if b"pitm" not in inside or b"iprp" not in inside:
        return {}
    pitm = inside[b"pitm"]
    (primary,) = struct.unpack_from(">I" if data[pitm.start] else ">H", data, pitm.start + 4)
    iprp = list(_boxes(data, inside[b"iprp"].start, inside[b"iprp"].end))
    known = [
        box for container in iprp if container.kind == b"ipco"
        for box in _boxes(data, container.start, container.end)
    ]  # fmt: skip
    indices = [
        index for box in iprp if box.kind == b"ipma"
        for item, indices_of_item in _associations(data, box) if item == primary
        for index in indices_of_item
    ]  # fmt: skip
    return {known[index - 1].kind: known[index - 1] for index in indices if 0 < index <= len(known)}


def _associations(data: bytes, box: _Box) -> Iterator[tuple[int, list[int]]]:
    """Each item and the properties that it has, counted from 1."""
    version, is_wide = data[box.start], bool(data[box.start + 3] & 1)
    (num_items,) = struct.unpack_from(">I", data, box.start + 4)
    position = box.start + 8
    item_code, index_code, mask = (
        ">I" if version else ">H",
        ">H" if is_wide else ">B",
        0x7FFF if is_wide else 0x7F,
    )
    for _ in range(min(num_items, _MAX_BOXES)):
        (item,) = struct.unpack_from(item_code, data, position)
        position += struct.calcsize(item_code)
        (count,) = struct.unpack_from(">B", data, position)
        indices = struct.unpack_from(f">{count}{index_code[1]}", data, position + 1)
        position += 1 + count * struct.calcsize(index_code)
        yield item, [index & mask for index in indices]


def _metadata_types(data: bytes) -> Iterator[int]:
    """Where the types of metadata items stand in the file."""
    for meta in (box for box in _boxes(data, 0, len(data)) if box.kind == b"meta"):
        for iinf in (box for box in _boxes(data, meta.start + 4, meta.end) if box.kind == b"iinf"):
            for entry, position in _item_entries(data, iinf):
                if entry.kind == b"infe" and data[position : position + 4] in _METADATA_ITEMS:
                    yield position


def _item_entries(data: bytes, iinf: _Box) -> Iterator[tuple[_Box, int]]:
    """Each entry of a list of items, and where its type stands."""
    for entry in _boxes(data, iinf.start + (6 if data[iinf.start] == 0 else 8), iinf.end):
        # Version 2 has item numbers of 16 bits, version 3 of 32; a protection index follows them.
        yield entry, entry.start + (8 if data[entry.start] == 2 else 10)


def _item_types(data: bytes, iinf: _Box) -> Iterator[tuple[int, bytes]]:
    """Number and type of each item."""
    for entry, position in _item_entries(data, iinf):
        code = ">H" if data[entry.start] == 2 else ">I"
        (number,) = struct.unpack_from(code, data, entry.start + 4)
        yield number, data[position : position + 4]


def _extents(data: bytes, iloc: _Box, wanted: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Where in the file the bytes of the ``wanted`` items are (ISO/IEC 14496-12, 8.11.3)."""
    version = data[iloc.start]
    sizes = struct.unpack_from(">BB", data, iloc.start + 4)
    offset_size, length_size = divmod(int(sizes[0]), 16)
    base_size, index_size = divmod(int(sizes[1]), 16)
    position = iloc.start + 6
    num_items, position = _number(data, position, 4 if version == 2 else 2)
    for _ in range(min(num_items, _MAX_BOXES)):
        item, position = _number(data, position, 4 if version == 2 else 2)
        method, position = _number(data, position, 2) if version else (0, position)
        base, position = _number(data, position + 2, base_size)  # behind a reference to another file
        num_extents, position = _number(data, position, 2)
        for _ in range(min(num_extents, _MAX_BOXES)):
            position += index_size if version else 0
            offset, position = _number(data, position, offset_size)
            length, position = _number(data, position, length_size)
            if item in wanted and method & 15 == 0:
                yield base + offset, length


def _number(data: bytes, position: int, size: int) -> tuple[int, int]:
    """An unsigned number of ``size`` bytes, and where the next one begins."""
    if position + size > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size], "big"), position + size


def _boxes(data: bytes, position: int, end: int) -> Iterator[_Box]:
    """Boxes from a position on, up to the first that does not fit."""
    for _ in range(_MAX_BOXES):
        if position + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = end if size == 0 else position + size
        if not start <= stop <= end:
            return
        yield _Box(kind, start, stop)
        position = stop
