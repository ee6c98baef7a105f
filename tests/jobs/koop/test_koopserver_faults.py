"""Faults on the way and odd publications, as the loopback servers play them."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator
from datetime import date

import httpx2
import pypdfium2
import pytest
from koopserver import Decision, KoopServer, faults, pdf, pictures, quirks
from lxml import etree
from PIL import Image

DAY = date(2024, 6, 3)
QUERY = {"query": 'dt.type any "verkeersbesluit" AND dt.available=="2024-06-03"'}


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=5, trust_env=False) as client:
        yield client


def raw(http: httpx2.Client, url: str) -> bytes:
    """The body as it is on the wire."""
    with http.stream("GET", url, params=QUERY) as answer:
        return b"".join(answer.iter_raw())


# -- programming -------------------------------------------------------------------------------------------


def test_a_fault_strikes_so_often_and_only_where_it_was_told(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail(r"/sru\?.*2024-06-03", faults.status(503), times=2)
    other = {"query": "dt.available==2024-06-04"}
    assert http.get(koop.search_url, params=other).status_code == 200
    assert [http.get(koop.search_url, params=QUERY).status_code for _ in range(3)] == [503, 503, 200]
    assert [each.status for each in koop.log] == [200, 503, 503, 200]


def test_faults_come_one_after_the_other_until_all_is_healed(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("/sru", faults.status(500))
    koop.fail("/sru", faults.status(502), times=math.inf)
    assert [http.get(koop.search_url, params=QUERY).status_code for _ in range(3)] == [500, 502, 502]
    koop.heal()
    assert http.get(koop.search_url, params=QUERY).status_code == 200


# -- answers that are wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [500, 502, 503, 403])
def test_errors_are_pages_of_html(code: int, koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.status(code))
    answer = http.get(koop.search_url, params=QUERY)
    assert (answer.status_code, answer.headers["content-type"][:9]) == (code, "text/html")
    assert etree.fromstring(answer.content).tag == "{http://www.w3.org/1999/xhtml}html"


@pytest.mark.parametrize("retry_after", [None, "5", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "86400"])
def test_too_many_requests_says_when_to_come_back_if_told(
    retry_after: str | None, koop: KoopServer, http: httpx2.Client
) -> None:
    koop.fail("", faults.too_many(retry_after))
    answer = http.get(koop.search_url, params=QUERY)
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, retry_after)


def test_a_page_not_found_and_an_empty_one(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.not_found)
    koop.fail("", faults.empty)
    missing, empty = http.get(koop.search_url, params=QUERY), http.get(koop.search_url, params=QUERY)
    assert (missing.status_code, b"niet gevonden" in missing.content) == (404, True)
    assert (empty.status_code, empty.content) == (200, b"")


def test_html_instead_of_xml_well_formed_or_not(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.html)
    koop.fail("", faults.tag_soup)
    formed, soup = http.get(koop.search_url, params=QUERY), http.get(koop.search_url, params=QUERY)
    assert formed.status_code == soup.status_code == 200
    assert etree.fromstring(formed.content).tag.endswith("html")
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(soup.content)


def test_a_cut_page_has_the_right_length_and_no_end(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.cut(0.5))
    answer = http.get(koop.search_url, params=QUERY)
    whole = http.get(koop.search_url, params=QUERY)
    assert int(answer.headers["content-length"]) == len(answer.content) == len(whole.content) // 2
    assert whole.content.startswith(answer.content)


def test_a_short_body_ends_before_its_length(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.short())
    with pytest.raises(httpx2.RemoteProtocolError, match=r"incomplete|peer closed"):
        http.get(koop.search_url, params=QUERY)
    assert http.get(koop.search_url, params=QUERY).status_code == 200


@pytest.mark.parametrize("after_bytes", [0, 100])
def test_a_connection_can_be_reset(after_bytes: int, koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.reset(after_bytes))
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        http.get(koop.search_url, params=QUERY)
    assert http.get(koop.search_url, params=QUERY).status_code == 200


def test_a_slow_first_byte_and_a_slow_drip(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.slow_first_byte(0.3))
    with pytest.raises(httpx2.ReadTimeout):
        http.get(koop.search_url, params=QUERY, timeout=0.05)
    koop.packs = False
    koop.fail("", faults.drip(1000, 0.002))
    with http.stream("GET", koop.search_url, params=QUERY) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 3
    assert etree.fromstring(b"".join(pieces)).tag.endswith("searchRetrieveResponse")


def test_a_slow_answer_does_not_hold_up_the_others(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("/sru", faults.slow_first_byte(60))
    with pytest.raises(httpx2.ReadTimeout):
        http.get(koop.search_url, params=QUERY, timeout=0.05)
    assert http.get(koop.search_url, params=QUERY).status_code == 200


def test_broken_gzip_and_a_bomb_of_it(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.bad_gzip)
    with pytest.raises((gzip.BadGzipFile, zlib.error, EOFError)):
        gzip.decompress(raw(http, koop.search_url))
    koop.fail("", faults.gzip_bomb(megabytes=20))
    packed = raw(http, koop.search_url)
    assert len(packed) < 100_000
    assert len(gzip.decompress(packed)) == 20 * 1024 * 1024


def test_a_wrong_charset_is_no_utf8(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.wrong_charset)
    with pytest.raises(UnicodeDecodeError):
        http.get(koop.search_url, params=QUERY).content.decode()


def test_redirects_lead_elsewhere_or_nowhere(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.redirect_to("https://example.org/x", 302))
    koop.fail("", faults.redirect_to_itself)
    away, circle = http.get(koop.search_url, params=QUERY), http.get(koop.search_url, params=QUERY)
    assert (away.status_code, away.headers["location"]) == (302, "https://example.org/x")
    assert circle.status_code == 301
    assert koop.search_url.endswith("/sru")
    assert circle.headers["location"].startswith("/sru?query=")


@pytest.mark.parametrize(("version", "counts"), [("2.0", []), ("1.2", ["0"])])
def test_diagnostics_come_in_both_dresses(
    version: str, counts: list[str], koop: KoopServer, http: httpx2.Client
) -> None:
    koop.fail("", faults.diagnostic(2, "temporarily <unavailable>", version=version))
    answer = http.get(koop.search_url, params=QUERY)
    root = etree.fromstring(answer.content)
    assert answer.status_code == 200
    assert [each.text for each in root.iter("{*}uri")] == ["info:srw/diagnostic/1/2"]
    assert [each.text for each in root.iter("{*}message")] == ["temporarily <unavailable>"]
    assert [each.text for each in root.iter("{*}numberOfRecords")] == counts


def test_an_entity_bomb_is_one(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.entity_bomb)
    answer = http.get(koop.search_url, params=QUERY)
    assert answer.content.count(b"<!ENTITY") == 11
    assert answer.content.count(b">&boom;") == 1
    assert len(answer.content) < 30_000
    with pytest.raises(etree.XMLSyntaxError, match="amplification"):
        etree.fromstring(answer.content)


def test_other_bytes_can_be_served(koop: KoopServer, http: httpx2.Client) -> None:
    koop.fail("", faults.content(b"%PDF-nonsense", "application/pdf"))
    assert http.get(koop.search_url, params=QUERY).content == b"%PDF-nonsense"


# -- odd publications --------------------------------------------------------------------------------------


class Odd:
    """The first decision of a day, altered, and what is served of it."""

    def __init__(
        self, koop: KoopServer, http: httpx2.Client, alteration: Callable[[Decision], Decision]
    ) -> None:
        koop.alter("gmb-2024-1550001", alteration)
        self._koop, self._http = koop, http
        (self.decision, *others) = koop.decisions(DAY)
        assert len(others) == 2
        self.page = http.get(koop.search_url, params=QUERY).content
        self.record = next(etree.fromstring(self.page).iter("{*}record"))

    def texts(self, name: str) -> list[str]:
        return [each.text or "" for each in self.record.iter(f"{{*}}{name}")]

    def publication(self) -> bytes:
        return self._http.get(f"{self._koop.reader_url}/{self.decision.identifier}.xml").content

    def illustration(self) -> httpx2.Response:
        return self._http.get(f"{self._koop.reader_url}/{self.decision.illustrations[0].name}")

    def listing(self, which: int = 0) -> httpx2.Response:
        exb_id = self.decision.attachments[which].exb_id
        return self._http.get(f"{self._koop.attachments_folder}/{exb_id}/1/")

    def attachment(self, which: int = 0) -> bytes:
        each = self.decision.attachments[which]
        url = f"{self._koop.attachments_folder}/{each.exb_id}/1/{each.label}/{each.item}"
        return self._http.get(url).raise_for_status().content


@pytest.fixture
def odd(koop: KoopServer, http: httpx2.Client) -> Callable[[Callable[[Decision], Decision]], Odd]:
    return lambda alteration: Odd(koop, http, alteration)


Alter = Callable[[Callable[[Decision], Decision]], Odd]


def test_records_can_be_odd(odd: Alter) -> None:
    found = odd(quirks.pdf_only)
    assert [each.get("manifestation") for each in found.record.iter("{*}itemUrl")] == ["metadata", "pdf"]
    assert found.texts("url")[0].endswith(".pdf")
    assert odd(quirks.repeated_type).texts("type") == ["mededeling", "verkeersbesluit of -mededeling"]
    titled = odd(quirks.ampersand_in_title)
    assert titled.texts("title") == ['Bakker & Zonen <hoek> "Proefweg"']
    assert b"Bakker &amp; Zonen &lt;hoek>" in titled.page or b"Bakker &amp; Zonen &lt;hoek&gt;" in titled.page
    assert odd(quirks.without_available).texts("available") == []
    dressed = odd(quirks.default_namespace)
    assert b"<searchRetrieveResponse" in dressed.page
    assert b"sru:" not in dressed.page
    assert len(dressed.texts("itemUrl")) == 2


def test_publications_can_be_odd(odd: Alter) -> None:
    marked = odd(quirks.byte_order_mark).publication()
    assert marked.startswith(b"\xef\xbb\xbf<?xml")
    assert etree.fromstring(marked).tag == "officiele-publicatie"
    capitals = odd(lambda decision: quirks.capitals(quirks.illustrated("map")(decision)))
    assert b"<s:Illustratie " in capitals.publication()
    assert b"&boom;" in odd(quirks.entity_bomb).publication()
    bare = odd(quirks.bare)
    assert b"illustratie" not in bare.publication().lower()
    assert bare.texts("externeBijlage") == []


def test_pictures_can_be_odd(odd: Alter) -> None:
    assert odd(quirks.missing_picture).illustration().status_code == 404
    disguised = odd(quirks.png_called_jpg).illustration()
    assert disguised.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(disguised.content)).format == "PNG"
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(odd(quirks.truncated_png).illustration().content)).load()
    climbing = odd(quirks.climbing_name)
    assert b'naam="../../x.png"' in climbing.publication()
    huge = odd(quirks.huge_picture).illustration().content
    assert huge[16:24] == (60_000).to_bytes(4, "big") * 2
    assert len(huge) < 1000


def test_exact_pictures_can_be_asked_for(odd: Alter) -> None:
    found = odd(quirks.illustrated("map", "sign", "aerial"))
    assert [each.name[-6:] for each in found.decision.illustrations] == ["-1.png", "-2.png", "-3.png"]
    assert len({each.content() for each in found.decision.illustrations}) == 3


def test_attachments_can_be_odd(odd: Alter) -> None:
    assert b'label="pdf"' in odd(quirks.old_label).listing().content
    assert b'.PDF"' in odd(quirks.capital_suffix).listing().content
    assert odd(quirks.pipe_in_filename).texts("externeBijlage") == ["advies|politie.PDF|exb-2024-15500011"]
    both = odd(quirks.two_attachments)
    assert len(both.texts("externeBijlage")) == 2
    assert both.attachment(0) != both.attachment(1)
    assert odd(quirks.listing_broken).listing().status_code == 500
    assert odd(quirks.listing_missing).listing().status_code == 404
    assert not odd(quirks.not_a_pdf).attachment().startswith(b"%PDF")


def test_pages_of_a_pdf_are_what_they_were_told_to_be(odd: Alter) -> None:
    document = pypdfium2.PdfDocument(odd(quirks.map_on_page_two).attachment())
    greys = [document[number].render(scale=0.3).to_numpy().mean() for number in range(len(document))]
    document.close()
    assert len(greys) == 3
    # Text leaves a page nearly white, a map covers it.
    assert greys[1] < 245 < min(greys[0], greys[2])


def test_a_pdf_can_have_thousands_of_pages() -> None:
    data = pdf.many_pages(2000)
    document = pypdfium2.PdfDocument(data)
    assert len(document) == 2000
    document.close()
    assert pdf.pdf("map", seed=3) == pdf.pdf("map", seed=3) != pdf.pdf("map", seed=4)


@pytest.mark.parametrize("kind", pictures.KINDS)
@pytest.mark.parametrize("file_format", ["png", "jpg"])
def test_pictures_of_every_kind_open(kind: str, file_format: str) -> None:
    one = Image.open(io.BytesIO(pictures.picture(kind, 3, file_format)))
    assert (one.size, one.format) == ((160, 110), {"png": "PNG", "jpg": "JPEG"}[file_format])
    assert len(set(one.convert("L").resize((8, 8)).tobytes())) > 1
