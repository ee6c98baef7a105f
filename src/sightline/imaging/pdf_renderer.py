"""Draws pages of one PDF: the program of a process of its own, which may crash, hang and be killed.

``imaging.pdf`` starts it as a script and talks to it over pipes. ``HELLO`` comes out when all is ready. The
document's length and bytes go in, and an ``ANSWER`` with the number of pages comes out; then for each
``QUESTION`` an ``ANSWER`` and, if that is OK, ``stride × height`` bytes. It ends with its input. It imports
nothing of Sightline, so that it starts fast.
"""

from __future__ import annotations

import math
import re
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from typing import Any, BinaryIO

HELLO = b"!"
LENGTH = struct.Struct("<Q")
# Page number from 1, dots per inch, most pixels, longest side.
QUESTION = struct.Struct("<IdQI")
# Code, width (or pages), height, stride in bytes, dots per inch.
ANSWER = struct.Struct("<BIIId")

OK, LOCKED, DAMAGED, NO_PAGES, NO_AREA = range(5)

# PDF 32000-1, 8.3.2.3: a unit of user space is 1/72 inch.
_UNITS_PER_INCH = 72.0
# PDF 32000-1, annex C: the largest unit that Acrobat takes.
_MAX_UNIT = 75_000.0
_PAGE_UNIT = re.compile(rb"/UserUnit\s+(\d*\.?\d+)")
_NUMBER = rb"\s*(-?\d*\.?\d+)"
_MEDIA_BOX = re.compile(rb"/MediaBox\s*\[" + _NUMBER * 4)
_OBJECT_STREAM = re.compile(rb"/Type\s*/ObjStm[^\x00]{0,400}?stream\r?\n")
_FIRST = re.compile(rb"/First\s+(\d+)")
_MAX_OBJECTS = 1_000
_MAX_PAGE_BYTES = 64 * 1024
_MAX_STREAM_BYTES = 16 * 1024 * 1024


def main() -> None:
    """``pdf_renderer.py MAX_MEMORY_BYTES MAX_CPU_S``"""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever a library prints must not get among the pixels
    _limit_self(int(sys.argv[1]), int(sys.argv[2]))
    import pypdfium2  # noqa: F401 - what is missing is told before there is a document to blame

    sink.write(HELLO)
    sink.flush()
    (length,) = LENGTH.unpack(source.read(LENGTH.size))
    data = source.read(length)
    code, document = _opened(data)
    units = user_units(data) if document is not None else {}
    sink.write(ANSWER.pack(code, len(document) if document is not None else 0, 0, 0, 0.0))
    sink.flush()
    while document is not None and len(question := source.read(QUESTION.size)) == QUESTION.size:
        _answer(document, units, sink, *QUESTION.unpack(question))
        sink.flush()


def _limit_self(max_memory_bytes: int, max_cpu_s: int) -> None:
    """Bounds that hold even if whoever started this is gone. Where the system has none, time still counts."""
    if sys.platform == "win32":
        return
    import resource

    for kind, limit in (
        (resource.RLIMIT_AS, max_memory_bytes),
        (resource.RLIMIT_CPU, max_cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):  # macOS refuses some of them
            continue


def _opened(data: bytes) -> tuple[int, Any]:
    from pypdfium2 import PdfDocument, PdfiumError, raw

    try:
        document = PdfDocument(data)
    except PdfiumError as error:
        locked = (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
        if error.err_code in locked:
            return LOCKED, None
        return (NO_PAGES if error.err_code == raw.FPDF_ERR_SUCCESS else DAMAGED), None
    with suppress(PdfiumError):  # pages are drawn without the fields of a form that is damaged
        document.init_forms()
    return OK, document


def _answer(
    document: Any,
    units: Mapping[tuple[int, ...] | None, float],
    sink: BinaryIO,
    number: int,
    dpi: float,
    max_pixels: int,
    max_side: int,
) -> None:
    from pypdfium2 import PdfiumError

    try:
        page = document[number - 1]
        width, height = page.get_size()
        if not (0 < width < math.inf and 0 < height < math.inf):
            sink.write(ANSWER.pack(NO_AREA, 0, 0, 0, 0.0))
            return
        unit = units.get(_box(page.get_mediabox()), units.get(None, 1.0))
        scale = fitting_scale(width * unit, height * unit, dpi / _UNITS_PER_INCH, max_pixels, max_side)
        bitmap = page.render(scale=scale * unit, rev_byteorder=True)
    except PdfiumError:
        sink.write(ANSWER.pack(DAMAGED, 0, 0, 0, 0.0))
        return
    sink.write(ANSWER.pack(OK, bitmap.width, bitmap.height, bitmap.stride, scale * _UNITS_PER_INCH))
    sink.write(memoryview(bitmap.buffer).cast("B")[: bitmap.stride * bitmap.height])
    bitmap.close()
    page.close()


def user_units(data: bytes) -> dict[tuple[int, ...] | None, float]:
    """How many points a unit of a page is (``UserUnit``), by the page's media box; None: of inherited boxes.

    pdfium does not tell. Pages are found by their text, also in compressed object streams. Of two pages with
    the same box and different units the larger unit counts: drawn too large, nothing is lost.
    """
    units: dict[tuple[int, ...] | None, float] = {}
    for text in (*_plain_objects(data), *_packed_objects(data)):
        unit, box = _PAGE_UNIT.search(text), _MEDIA_BOX.search(text)
        if unit is None or not 0 < float(unit[1]) <= _MAX_UNIT:
            continue
        key = None if box is None else _box([float(side) for side in box.groups()])
        units[key] = max(float(unit[1]), units.get(key, 0.0))
    return units


def _plain_objects(data: bytes) -> Iterator[bytes]:
    """Objects with a unit that stand in the file as they are."""
    for found in islice(_PAGE_UNIT.finditer(data), _MAX_OBJECTS):
        start = max(data.rfind(b" obj", max(found.start() - _MAX_PAGE_BYTES, 0), found.start()), 0)
        end = data.find(b"endobj", found.end(), found.end() + _MAX_PAGE_BYTES)
        yield data[start : end if end >= 0 else found.end()]


def _packed_objects(data: bytes) -> Iterator[bytes]:
    """Objects with a unit inside compressed streams of objects (PDF 32000-1, 7.5.7)."""
    for found in islice(_OBJECT_STREAM.finditer(data), _MAX_OBJECTS):
        first = _FIRST.search(data, max(data.rfind(b" obj", 0, found.start()), 0), found.end())
        end = data.find(b"endstream", found.end())
        if first is None or end < 0:
            continue
        try:
            text = zlib.decompressobj().decompress(data[found.end() : end], _MAX_STREAM_BYTES)
            numbers = [int(word) for word in text[: int(first[1])].split()]
        except (zlib.error, ValueError):
            continue
        places = [int(first[1]) + offset for offset in numbers[1::2]]
        if b"/UserUnit" in text:
            yield from (text[place:after] for place, after in pairwise([*places, len(text)]))


def _box(sides: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(side) for side in sides)


def fitting_scale(width: float, height: float, scale: float, max_pixels: int, max_side: int) -> float:
    """``scale``, or less where a page of that size (in units) would be drawn larger than allowed."""
    scale = min(scale, max_side / max(width, height))
    if width * height * scale * scale > max_pixels:
        scale = math.sqrt(max_pixels / (width * height))
    while _too_large(math.ceil(width * scale), math.ceil(height * scale), max_pixels, max_side):
        scale *= 0.999  # sides are rounded up
    return scale


def _too_large(width: int, height: int, max_pixels: int, max_side: int) -> bool:
    return width * height > max_pixels or max(width, height) > max_side


if __name__ == "__main__":
    main()
