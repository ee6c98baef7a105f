"""PDFs by the real pdfium in its own process: good ones, large ones, and those that mean harm."""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.errors import ConfigurationError, ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from sightline.imaging import ImageLimits, Picture, View, pdf_renderer, picture_from_pixels
from sightline.imaging.pdf import DrawingEnded, Pdf, PdfLimits, is_pdf, open_pdf

A4 = (595, 842)
# Points of an A0 sheet: 841 × 1189 mm.
A0 = (2384, 3370)


def renderers() -> list[psutil.Process]:
    """The processes that draw, of this one's children."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # a zombie has no command line
            if any("pdf_renderer" in part for part in child.cmdline()):
                found.append(child)
    return found


def write_pdf(objects: list[bytes], trailer: bytes = b"") -> bytes:
    """A PDF file of these objects, numbered from 1; the first is the catalogue."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        out += b"%010d 00000 n \n" % offset
    out += b"trailer\n<< /Size %d /Root 1 0 R %b >>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        trailer,
        start,
    )
    return bytes(out)


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), entries, content)


def pdf_of(*contents: bytes, size: tuple[float, float] = A4, trailer: bytes = b"") -> bytes:
    """A PDF with a page for each content stream."""
    kids = b" ".join(b"%d 0 R" % (3 + 2 * index) for index in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, len(contents)),
    ]
    for index, content in enumerate(contents):
        box = b"[0 0 %g %g]" % size
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox %b /Contents %d 0 R >>" % (box, 4 + 2 * index)
        objects += [page, stream(content)]
    return write_pdf(objects, trailer)


def filled(red: float, green: float, blue: float) -> bytes:
    """All of an A4 page in one colour."""
    return b"%g %g %g rg 0 0 600 900 re f" % (red, green, blue)


# Form A draws B ten times, B draws C ten times, and so on: ten billion rectangles.
LEVELS = 10


def endless() -> bytes:
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
        b"/Resources << /XObject << /F 6 0 R >> >> >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>",
        stream(b"/F Do"),
    ]
    for level in range(LEVELS):
        following = 7 + level
        last = level == LEVELS - 1
        content = b"0 0 500 800 re f " * 10 if last else b"/F Do " * 10
        resources = b"" if last else b"/Resources << /XObject << /F %d 0 R >> >>" % following
        entries = b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] " + resources
        objects.append(stream(content, entries))
    return write_pdf(objects)


LOCK = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%b> /U <%b> >> /ID [<00> <00>]" % (
    b"11" * 32,
    b"22" * 32,
)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> None:
    before = set(renderers())
    yield
    assert set(renderers()) <= before


# -- pages -------------------------------------------------------------------------------------------------


def page_of_unit(entries: bytes) -> list[bytes]:
    return [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 300 200] >>",
        b"<< /Type /Page /Parent 2 0 R /Resources << >> %b >>" % entries,
    ]


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        (b"/MediaBox [0 0 100 50]", (100, 50)),
        (b"/MediaBox [0 0 100 50] /UserUnit 4", (400, 200)),
        (b"/UserUnit 1.5 /MediaBox [0 0 100 50]", (150, 75)),
        (b"/UserUnit 2", (600, 400)),
        (b"/MediaBox [0 0 100 50] /UserUnit 0", (100, 50)),
    ],
)
def test_units_of_a_page_are_as_long_as_it_says(entries: bytes, size: tuple[int, int]) -> None:
    with open_pdf(write_pdf(page_of_unit(entries))) as pdf:
        page = pdf.render(1, 72)
        assert page.pixels.shape[1::-1] == size
        assert page.dpi == 72


def test_a_page_of_large_units_is_drawn_within_the_limits() -> None:
    file = write_pdf(page_of_unit(b"/MediaBox [0 0 1000 1000] /UserUnit 10"))
    with open_pdf(file, PdfLimits(max_page_pixels=1_000_000)) as pdf:
        page = pdf.render(1, 72)
        assert page.pixels.shape == (1000, 1000, 3)
        assert page.dpi == pytest.approx(7.2)


def test_units_in_compressed_objects_are_found() -> None:
    pages = [
        b"<< /Type /Page /MediaBox [0 0 100 50] /UserUnit 4 >>",
        b"<< /Type /Page /MediaBox [0 0 9 9] >>",
    ]
    head = b"7 0 8 %d " % len(pages[0])
    packed = zlib.compress(head + b"".join(pages))
    entries = b"/Type /ObjStm /N 2 /First %d /Filter /FlateDecode" % len(head)
    file = b"%PDF-1.7\n5 0 obj\n" + stream(packed, entries) + b"\nendobj\n"
    assert pdf_renderer.user_units(file) == {(0, 0, 100, 50): 4.0}


def with_annotation(annotation: bytes, *, catalogue: bytes = b"") -> bytes:
    """An empty page of 200 × 200 points with a red annotation of 160 × 160."""
    return write_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R %b >>" % catalogue,
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Annots [4 0 R] >>",
            b"<< /Type /Annot /F 4 /Rect [20 20 180 180] /AP << /N 5 0 R >> %b >>" % annotation,
            stream(
                b"1 0 0 rg 0 0 160 160 re f",
                b"/Type /XObject /Subtype /Form /BBox [0 0 160 160] /Resources << >>",
            ),
        ]
    )


@pytest.mark.parametrize(
    ("annotation", "catalogue"),
    [
        (b"/Subtype /Widget /FT /Tx /T (name) /V (text)", b"/AcroForm << /Fields [4 0 R] >>"),
        (b"/Subtype /Stamp", b""),
    ],
    ids=["form field", "stamp"],
)
def test_fields_of_forms_and_annotations_are_drawn(annotation: bytes, catalogue: bytes) -> None:
    with open_pdf(with_annotation(annotation, catalogue=catalogue)) as pdf:
        pixels = pdf.render(1, 72).pixels
    assert pixels[100, 100].tolist() == [255, 0, 0]
    assert pixels[5, 5].tolist() == [255, 255, 255]


def test_pages_come_as_pixels_on_white(tmp_path: Path) -> None:
    with open_pdf(pdf_of(b"", filled(1, 0, 0), filled(0, 0.5, 1))) as pdf:
        assert (pdf.num_pages, list(pdf.numbers)) == (3, [1, 2, 3])
        pages = [pdf.render(number, dpi=72) for number in pdf.numbers]
    assert [page.number for page in pages] == [1, 2, 3]
    for page, colour in zip(pages, [(255, 255, 255), (255, 0, 0), (0, 128, 255)], strict=True):
        assert page.pixels.shape == (842, 595, 3)
        assert page.pixels.dtype == np.uint8
        assert np.abs(page.pixels.astype(int) - colour).max() <= 1
        assert not page.pixels.flags.writeable
        assert page.dpi == 72


def test_up_is_up_and_left_is_left() -> None:
    with open_pdf(pdf_of(b"0 g 0 421 297 421 re f")) as pdf:
        pixels = pdf.render(1, dpi=72).pixels
    assert pixels[:400, :290].max() == 0
    assert pixels[430:].min() == 255
    assert pixels[:, 300:].min() == 255


@pytest.mark.parametrize(("dpi", "shape"), [(72, (842, 595)), (100, (1170, 827)), (36, (421, 298))])
def test_dots_per_inch_make_the_size(dpi: float, shape: tuple[int, int]) -> None:
    with open_pdf(pdf_of(b"")) as pdf:
        assert pdf.render(1, dpi).pixels.shape == (*shape, 3)


def test_pages_can_be_drawn_again_and_in_any_order() -> None:
    with open_pdf(pdf_of(filled(1, 0, 0), filled(0, 1, 0))) as pdf:
        assert pdf.render(2, 20).pixels[0, 0].tolist() == [0, 255, 0]
        assert pdf.render(1, 20).pixels[0, 0].tolist() == [255, 0, 0]
        assert pdf.render(2, 40).pixels[0, 0].tolist() == [0, 255, 0]


def test_a_page_becomes_a_picture_that_models_can_look_at() -> None:
    with open_pdf(pdf_of(filled(1, 0, 0))) as pdf:
        pixels = pdf.render(1, 72).pixels
    picture = picture_from_pixels(pixels, ImageLimits(1, 10**6, 10**4), source="pdf")
    assert isinstance(picture, Picture)
    assert (picture.facts.format, picture.width, picture.height) == ("pdf", 595, 842)
    assert View(picture).reduced(224).shape == (842, 595, 3)
    assert picture.rgb() is not None
    assert np.shares_memory(picture.rgb(), pixels)


# -- limits ------------------------------------------------------------------------------------------------


def test_two_thousand_pages_are_counted_and_the_first_fifty_drawn() -> None:
    with open_pdf(pdf_of(*[b""] * 2000)) as pdf:
        assert pdf.num_pages == 2000
        assert pdf.numbers == range(1, 51)
        assert pdf.render(50, 10).number == 50
        with pytest.raises(ImageTooLarge, match="Page 51 of the PDF is past the 50 pages"):
            pdf.render(51, 10)


@pytest.mark.parametrize("number", [0, -1, 3])
def test_a_page_that_is_not_there(number: int) -> None:
    with (
        open_pdf(pdf_of(b"", b"")) as pdf,
        pytest.raises(InvalidImage, match=f"2 pages and no page {number}"),
    ):
        pdf.render(number, 10)


@pytest.mark.parametrize("dpi", [0, -1, float("nan"), float("inf")])
def test_dots_per_inch_that_make_no_sense(dpi: float) -> None:
    with open_pdf(pdf_of(b"")) as pdf, pytest.raises(ValueError, match="dpi"):
        pdf.render(1, dpi)


def test_an_a0_drawing_is_drawn_at_fewer_dots_per_inch() -> None:
    with open_pdf(pdf_of(filled(1, 0, 0), size=A0), PdfLimits(max_page_pixels=2_000_000)) as pdf:
        page = pdf.render(1, dpi=300)
        assert 1_990_000 < page.pixels.shape[0] * page.pixels.shape[1] <= 2_000_000
        assert page.dpi == pytest.approx(300 * (2_000_000 / (9934 * 14042)) ** 0.5, rel=0.01)
        assert pdf.render(1, dpi=20).dpi == 20


def test_a_strip_is_no_longer_than_a_side_may_be() -> None:
    with open_pdf(pdf_of(b"", size=(1, 14_000))) as pdf:
        assert pdf.render(1, dpi=300).pixels.shape == (30_000, 3, 3)


@given(
    width=st.floats(1e-3, 1e9),
    height=st.floats(1e-3, 1e9),
    scale=st.floats(1e-3, 1e3),
    most=st.integers(1, 10**8),
)
def test_the_scale_always_fits(width: float, height: float, scale: float, most: int) -> None:
    fitting = pdf_renderer.fitting_scale(width, height, scale, most, 30_000)
    assert 0 < fitting <= scale
    sides = [int(np.ceil(side * fitting)) for side in (width, height)]
    assert max(sides) <= 30_000
    assert sides[0] * sides[1] <= most


def test_bytes_are_limited() -> None:
    data = pdf_of(b"")
    with open_pdf(data, PdfLimits(max_bytes=len(data))) as pdf:
        assert pdf.num_pages == 1
    with pytest.raises(ImageTooLarge, match=f"{len(data)} bytes; at most {len(data) - 1}"):
        open_pdf(data, PdfLimits(max_bytes=len(data) - 1))


# -- no good -----------------------------------------------------------------------------------------------


def test_what_is_no_pdf() -> None:
    for data in (b"<html>", b"\x89PNG\r\n\x1a\n", b"x" * 2000 + b"%PDF-1.7"):
        assert not is_pdf(data)
        with pytest.raises(UnsupportedImage, match="not a PDF"):
            open_pdf(data)
    with pytest.raises(InvalidImage, match="empty"):
        open_pdf(b"")


def test_a_locked_pdf_says_so() -> None:
    with pytest.raises(UnsupportedImage, match="locked with a password"):
        open_pdf(pdf_of(b"", trailer=LOCK))


def test_a_pdf_without_pages() -> None:
    with pytest.raises(InvalidImage, match="no pages"):
        open_pdf(pdf_of())


def test_a_truncated_pdf() -> None:
    data = pdf_of(filled(1, 0, 0))
    with pytest.raises(InvalidImage, match="truncated or damaged"):
        open_pdf(data[:60])


def test_a_damaged_page_costs_only_itself() -> None:
    data = pdf_of(b"", filled(0, 1, 0)).replace(b"3 0 obj\n<< /Type /Page ", b"3 0 obj\n<< /Type /Cage ")
    with open_pdf(data) as pdf:
        outcomes: list[object] = []
        for number in pdf.numbers:
            try:
                outcomes.append(pdf.render(number, 20).pixels[0, 0].tolist())
            except ImageError as error:
                outcomes.append(type(error))
        assert outcomes[-1] == [0, 255, 0]


def test_a_page_without_area() -> None:
    with open_pdf(pdf_of(b"", size=(0, 0))) as pdf:
        # pdfium takes letter size for such a page.
        assert pdf.render(1, 72).pixels.shape == (792, 612, 3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_changed_the_outcome_is_pages_or_an_error_of_ours(data: st.DataObject) -> None:
    whole = bytearray(pdf_of(filled(1, 0, 0), b"0 g 10 10 100 100 re f", trailer=b"/Info << >>"))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(9, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(20, len(whole)))])
    try:
        with open_pdf(cut, PdfLimits(page_timeout_s=5)) as pdf:
            for number in pdf.numbers[:3]:
                assert pdf.render(number, 10).pixels.ndim == 3
    except ImageError:
        return


# -- harm --------------------------------------------------------------------------------------------------


def test_a_page_that_never_ends_is_given_up_and_the_next_one_drawn() -> None:
    with open_pdf(endless(), PdfLimits(page_timeout_s=0.3)) as pdf:
        with pytest.raises(DrawingEnded, match=r"page 1\) took longer than 0\.3 s"):
            pdf.render(1, 100)
        assert pdf.render(2, 72).pixels.mean() == 255


def test_a_document_has_so_much_time_for_all_its_pages() -> None:
    with open_pdf(endless(), PdfLimits(page_timeout_s=30, document_timeout_s=0.6)) as pdf:
        with pytest.raises(InvalidImage, match="took longer than"):
            pdf.render(1, 100)
        with pytest.raises(ImageTooLarge, match=r"all of the 0\.6 s"):
            pdf.render(2, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its memory")
def test_a_page_that_needs_too_much_memory_is_an_error() -> None:
    limits = PdfLimits(max_memory_bytes=200 * 1024 * 1024, max_page_pixels=100_000_000)
    with open_pdf(pdf_of(b"", b"", size=A0), limits) as pdf:
        with pytest.raises(DrawingEnded):
            pdf.render(1, 250)
        assert pdf.render(2, 10).pixels.mean() == 255


def test_a_process_that_dies_costs_one_page() -> None:
    with open_pdf(pdf_of(filled(1, 0, 0))) as pdf:
        (child,) = renderers()
        child.kill()
        child.wait()
        with pytest.raises(DrawingEnded, match="damaged, or needs more memory"):
            pdf.render(1, 20)
        assert pdf.render(1, 20).pixels[0, 0].tolist() == [255, 0, 0]


@pytest.fixture
def renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces the drawing process by a program that has been taken over."""

    def replace(body: str) -> None:
        script = tmp_path / "taken_over.py"
        head = "import os, struct, sys, time\nsource, sink = sys.stdin.buffer, sys.stdout.buffer\n"
        head += "sink.write(b'!'); sink.flush()\n"
        read = "source.read(struct.unpack('<Q', source.read(8))[0])\n"
        script.write_text(head + read + body)
        monkeypatch.setattr(pdf_renderer, "__file__", str(script))

    return replace


ANSWERS = "sink.write(struct.pack('<BIIId', 0, 5, 0, 0, 0)); sink.flush(); source.read(24)\n"


@pytest.mark.parametrize(
    "claim",
    [
        "4_000_000_000, 4_000_000_000, 4_000_000_000",  # gigabytes
        "30_000, 30_000, 90_000",  # more pixels than allowed
        "0, 10, 30",
        "10, 0, 30",
        "10, 10, 29",  # rows overlap
        "10, 10, 4_000_000_000",
    ],
)
def test_what_the_process_claims_is_not_believed(renderer: Callable[[str], None], claim: str) -> None:
    renderer(ANSWERS + f"sink.write(struct.pack('<BIIId', 0, {claim}, 72)); sink.flush(); time.sleep(60)")
    with open_pdf(pdf_of(b"")) as pdf:
        assert pdf.num_pages == 5
        with pytest.raises(InvalidImage, match="Page 1 of the PDF cannot be drawn"):
            pdf.render(1, 72)


def test_pixels_that_stop_coming_are_waited_for_no_longer_than_a_page(
    renderer: Callable[[str], None],
) -> None:
    renderer(
        ANSWERS
        + "sink.write(struct.pack('<BIIId', 0, 9, 9, 27, 72) + bytes(9)); sink.flush(); time.sleep(60)"
    )
    with (
        open_pdf(pdf_of(b""), PdfLimits(page_timeout_s=0.2)) as pdf,
        pytest.raises(InvalidImage, match=r"took longer than 0\.2 s"),
    ):
        pdf.render(1, 72)


def test_the_process_knows_no_secrets(
    renderer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_API_KEYS", "a secret")
    assert "SIGHTLINE_API_KEYS" in os.environ
    renderer(
        "count = sum('a secret' in value for value in os.environ.values())\n"
        "sink.write(struct.pack('<BIIId', 0, 1 + count, 0, 0, 0)); sink.flush(); source.read()"
    )
    with open_pdf(pdf_of(b"")) as pdf:
        assert pdf.num_pages == 1


def test_a_process_that_does_not_start_is_not_the_documents_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(3)")
    monkeypatch.setattr(pdf_renderer, "__file__", str(script))
    with pytest.raises(ConfigurationError, match="does not start"):
        open_pdf(pdf_of(b""))


def test_closing_twice_is_no_error_and_drawing_afterwards_is() -> None:
    pdf = open_pdf(pdf_of(b""))
    assert isinstance(pdf, Pdf)
    pdf.close()
    pdf.close()
    with pytest.raises(ValueError, match="closed"):
        pdf.render(1, 72)


def test_closing_ends_a_page_that_is_being_drawn_elsewhere() -> None:
    pdf = open_pdf(endless(), PdfLimits(page_timeout_s=60))
    (child,) = renderers()
    with ThreadPoolExecutor(1) as threads:
        drawing = threads.submit(pdf.render, 1, 100)
        while child.cpu_times().user < 0.2:  # it is at it
            time.sleep(0.01)
        pdf.close()
        with pytest.raises(InvalidImage):
            drawing.result(timeout=10)


def test_threads_wait_for_each_other() -> None:
    with (
        open_pdf(pdf_of(*[filled(0.1 * n, 0, 0) for n in range(10)])) as pdf,
        ThreadPoolExecutor(4) as threads,
    ):
        pages = list(threads.map(lambda number: pdf.render(number, 20), pdf.numbers))
    for page in pages:
        assert abs(int(page.pixels[0, 0, 0]) - 25.5 * (page.number - 1)) <= 1
