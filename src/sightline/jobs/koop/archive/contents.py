"""What a file is, by its content; and whether what came with status 200 is the file that was asked for.

A host that is not well answers with a page or a line of text in place of a file. Files are known by their
first bytes and errors are text, so what should be a file and is of no known kind is asked for again.
"""

from __future__ import annotations

import re

from sightline.errors import ImageError
from sightline.imaging.formats import Format, sniff
from sightline.imaging.pdf import is_pdf
from sightline.jobs.koop.polite import BadDocument, Document

# Media types of files that have pages.
PDF_TYPE = "application/pdf"
TIFF_TYPE = "image/tiff"
PAGED_TYPES = frozenset({PDF_TYPE, TIFF_TYPE})

_EXTENSIONS = {Format.JPEG: "jpg", Format.TIFF: "tif", Format.HEIF: "heic"}
_UNKNOWN = "application/octet-stream"
# Files that are no pictures to us, but no errors of a host either: ZIP (which Office's are), the older
# Office's (and Outlook's), RTF, PostScript, WMF, JPEG 2000, Photoshop, AutoCAD, 7z, RAR.
_OTHER_FILES = (
    b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"{\\rtf", b"%!PS", b"\xd7\xcd\xc6\x9a",
    b"\x00\x00\x00\x0cjP", b"8BPS", b"AC10", b"7z\xbc\xaf\x27\x1c", b"Rar!",
)  # fmt: skip
# A Windows metafile of the newer kind has its name behind its header.
_EMF, _EMF_AT = b" EMF", 40
# Ends of names that promise a file of a known kind, and those of web pages.
_PROMISES = frozenset(
    {
        "pdf", "jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp", "doc", "docx", "xls", "xlsx", "ppt",
        "pptx", "odt", "ods", "odp", "rtf", "zip", "7z", "rar", "msg", "dwg",
    }
)  # fmt: skip
_WEB_PAGES = frozenset({"htm", "html", "xhtml"})
_WEB_PAGE = (b"<html", b"<!doctype html", b"<head", b"<body")
# Declarations and remarks may stand before the first element.
_SVG = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->|<!(?!--)[^>]*>)*+<(?:[\w.-]+:)?svg[\s>/]", re.DOTALL)
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_LOOKED_AT_BYTES = 4096


def kind_of(data: bytes) -> tuple[str, str]:
    """Media type and extension of a file, by its content."""
    if is_pdf(data):
        return PDF_TYPE, "pdf"
    try:
        found = sniff(data)
    except ImageError:
        return _UNKNOWN, "bin"
    return f"image/{found.value}", _EXTENSIONS.get(found, found.value)


def require_picture(document: Document) -> Document:
    """An illustration.

    Raises:
        BadDocument: it is empty, or text that is no picture, such as a web page.
    """
    return _require(_is_file(document.body) or _is_svg(document.body), document)


def require_pdf(document: Document) -> Document:
    """Raises BadDocument: it is no PDF."""
    return _require(is_pdf(document.body), document)


def require_attachment(document: Document, name: str) -> Document:
    """An attachment, which may be a file of any kind; ``name`` is the one that the archive has for it.

    Raises:
        BadDocument: it is empty, a web page by another name, or text where the name promises a file.
    """
    suffix = name.rpartition(".")[2].lower()
    if suffix in _PROMISES:
        return _require(_is_file(document.body), document)
    is_page = is_web_page(document.body) and not _is_svg(document.body)
    return _require(suffix in _WEB_PAGES or not is_page, document)


def is_web_page(data: bytes) -> bool:
    """Whether it begins like one."""
    start = _start(data).lower()
    return start.startswith(b"<") and any(mark in start for mark in _WEB_PAGE)


def _require(is_good: bool, document: Document) -> Document:
    if not document.body:
        raise BadDocument("an empty answer came instead of a file")
    if not is_good:
        what = "a web page" if is_web_page(document.body) else "something else"
        said = f" ({document.media_type})" if document.media_type else ""
        raise BadDocument(f"{what} came instead of a file{said}")
    return document


def _is_file(data: bytes) -> bool:
    """Of a kind that no error message is."""
    if kind_of(data)[0] != _UNKNOWN:
        return True
    return data.startswith(_OTHER_FILES) or data[_EMF_AT : _EMF_AT + len(_EMF)] == _EMF


def _is_svg(data: bytes) -> bool:
    return _SVG.match(_start(data)) is not None


def _start(data: bytes) -> bytes:
    """Its beginning as UTF-8, without a byte order mark and white space."""
    start = data[:_LOOKED_AT_BYTES]
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            start = start[len(mark) :].decode(encoding, "ignore").encode()
            break
    return start.lstrip()
