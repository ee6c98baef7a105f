"""Files and what hosts send in their place."""

from __future__ import annotations

import pytest
from koopserver.pdf import pdf
from koopserver.pictures import picture

from sightline.jobs.koop.archive.contents import (
    is_web_page,
    kind_of,
    require_attachment,
    require_pdf,
    require_picture,
)
from sightline.jobs.koop.polite import BadDocument, Document

MAP = picture("map", 1, "png", (160, 110))
PDF = pdf("text", seed=1)
PAGE = b"<!DOCTYPE html><html><body>Onderhoud</body></html>"
BOM = b"\xef\xbb\xbf"
SVG = b'<?xml version="1.0"?><!-- <html> in a remark --><svg xmlns="http://www.w3.org/2000/svg"/>'
ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code></Error>'
PLAIN = b"503 upstream not available"
# Of other programs: an archive, an older Office's, WordPerfect's successor, and two of Windows' drawings.
OTHERS = [b"PK\x03\x04 docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 doc", b"{\\rtf1}", b"\xd7\xcd\xc6\x9a wmf",
          b"\1\0\0\0" + bytes(36) + b" EMF"]  # fmt: skip


def document(body: bytes) -> Document:
    return Document("https://host.example/x", body, "text/html", None, None, len(body))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (MAP, ("image/png", "png")),
        (picture("aerial", 1, "jpg", (160, 110)), ("image/jpeg", "jpg")),
        (b"II*\0", ("image/tiff", "tif")),
        (b"%PDF-1.4", ("application/pdf", "pdf")),
        (b"PK\3\4", ("application/octet-stream", "bin")),
        (b"", ("application/octet-stream", "bin")),
    ],
)
def test_files_are_known_by_content(data: bytes, kind: tuple[str, str]) -> None:
    assert kind_of(data) == kind


@pytest.mark.parametrize(
    "body",
    [
        MAP,
        PDF,
        SVG,
        BOM + b"\n <svg:svg xmlns:svg='x'>",
        SVG.replace(b"<svg", b"<!DOCTYPE svg>\n<svg"),
        *OTHERS,
    ],
)
def test_pictures_and_other_files_pass(body: bytes) -> None:
    given = document(body)
    assert require_picture(given) is given


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "an empty answer"),
        (PAGE, r"a web page came instead of a file \(text/html\)"),
        (BOM + b"\r\n\r\n" + PAGE, "a web page"),
        ((BOM + PAGE).decode("utf-8-sig").encode("utf-16"), "a web page"),
        (PLAIN, "something else"),
        (BOM + PLAIN, "something else"),
        (ERROR, "something else"),
        (b'{"error": "overloaded"}', "something else"),
        (b"<!-- x -->" * 5000, "something else"),
    ],
)
def test_what_is_no_picture_is_asked_for_again(body: bytes, what: str) -> None:
    with pytest.raises(BadDocument, match=what):
        require_picture(document(body))


def test_a_pdf_is_one() -> None:
    assert require_pdf(document(PDF)).body == PDF
    for body in (b"", PAGE, PLAIN, MAP):
        with pytest.raises(BadDocument):
            require_pdf(document(body))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("exb-1.pdf", PDF),
        ("exb-1.PDF", b"\n" + PDF),
        ("exb-1.pdf", MAP),  # of another kind than its name says, and a file all the same
        *(("exb-1.pdf", other) for other in OTHERS),
        ("exb-1.html", PAGE),
        ("exb-1.HTM", BOM + PAGE),
        ("exb-1.txt", PLAIN),
        ("exb-1.xml", ERROR),
        ("exb-1.svg", SVG),
        ("exb-1", b"\0\1\2"),
    ],
)
def test_attachments_may_be_anything_that_their_names_allow(name: str, body: bytes) -> None:
    assert require_attachment(document(body), name).body == body


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("exb-1.pdf", PAGE),
        ("exb-1.PDF", BOM + PAGE),
        ("exb-1.pdf", PLAIN),
        ("exb-1.pdf", ERROR),
        ("exb-1.jpg", PLAIN),
        ("exb-1.docx", PAGE),
        ("exb-1.txt", PAGE),
        ("exb-1", b"  <HTML><p>open"),
        ("exb-1.html", b""),
    ],
)
def test_attachments_that_are_none_are_asked_for_again(name: str, body: bytes) -> None:
    with pytest.raises(BadDocument):
        require_attachment(document(body), name)


def test_a_page_is_known_by_its_beginning() -> None:
    assert is_web_page(b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC 'x'>")
    assert is_web_page(b"<head><title>x")
    assert not is_web_page(b"a text about <html>")
    assert not is_web_page(b"")
