"""The pictures in a publication, and what stands around them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sightline.errors import DocumentRefused
from sightline.jobs.koop.archive import publication
from sightline.jobs.koop.archive.markup import local_name
from sightline.jobs.koop.archive.publication import (
    MAX_PICTURES,
    Illustration,
    clean_name,
    illustration_url,
    read_publication,
)
from sightline.jobs.koop.polite import BadDocument

PAGE_URL = "https://pages.example/gmb-2098-17.html"
TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<officiele-publicatie>
 <metadata><meta name="x" content="y"/></metadata>
 <kop><titel>GEMEENTEBLAD</titel></kop>
 <gemeenteblad>
  <kop>
   <plaatje><illustratie type="lijn" naam="gmb-2098-17-1.png" alt="Wapen" breedte="4,00cm"/></plaatje>
   <titel>Proefweg</titel>
  </kop>
  <regeling><tekst>
   <al>Gelet op de <nadruk type="vet">Wegen</nadruk>verkeerswet;</al>
   <al><plaatje><illustratie naam="gmb-2098-17-2.png" alt="logo  van
     Modelstad" breedte="15mm" hoogte="15mm"/></plaatje></al>
   <al/>
   <al>Situatie op de <nadruk>kadastrale</nadruk>
     kaart</al>
   <!-- a remark --><al> </al>
   <al><plaatje><illustratie type="foto" naam="gmb-2098-17-3.jpg" alt="" breedte="160mm" hoogte="1in"/>
     <bijschrift>Figuur 1: <nadruk>de</nadruk> weg</bijschrift></plaatje></al>
   <al>Zie ook <plaatje><illustratie naam="stb-2098-1-001.png" hoogte="50%"/></plaatje> en verder.</al>
   <al><plaatje><illustratie naam="gmb-2098-17-3.jpg" alt="the same again"/></plaatje></al>
  </tekst></regeling>
 </gemeenteblad>
</officiele-publicatie>
"""


def pictures(text: str = TEXT) -> list[Illustration]:
    return list(read_publication(text.encode()).illustrations)


def one(**attributes: str) -> Illustration:
    """The only picture of a publication whose element has these attributes."""
    written = " ".join(f'{name}="{value}"' for name, value in {"naam": "a.png", **attributes}.items())
    (picture,) = pictures(f"<stcrt><al><plaatje><illustratie {written}/></plaatje></al></stcrt>")
    return picture


def test_pictures_come_in_the_order_of_the_text_and_once():
    names = ["gmb-2098-17-1.png", "gmb-2098-17-2.png", "gmb-2098-17-3.jpg", "stb-2098-1-001.png"]
    assert [each.name for each in pictures()] == names


def test_what_is_known_of_a_picture():
    assert pictures()[2] == Illustration(
        name="gmb-2098-17-3.jpg",
        alt="",
        caption="Figuur 1: de weg",
        text_before="Situatie op de kadastrale kaart",
        width_mm=160.0,
        height_mm=25.4,
        in_heading=False,
    )


def test_the_line_before_is_the_last_one_with_text():
    assert [each.text_before for each in pictures()] == [
        "GEMEENTEBLAD",
        "Gelet op de Wegenverkeerswet;",
        "Situatie op de kadastrale kaart",
        "Zie ook",
    ]


def test_a_very_long_line_before_is_shown_from_its_end():
    (picture,) = pictures(f"<a><al>{'lang ' * 500}einde</al><illustratie naam='a.png'/></a>")
    assert len(picture.text_before) == 300
    assert picture.text_before.endswith("lang einde")


def test_logos_are_known_by_their_place_or_by_their_words():
    assert [each.is_logo for each in pictures()] == [True, True, False, False]
    assert [each.in_heading for each in pictures()] == [True, False, False, False]


@pytest.mark.parametrize(
    ("written", "width_mm"),
    [
        ("54mm", 54.0),
        ("4.00cm", 40.0),
        ("4,5 CM", 45.0),
        ("1in", 25.4),
        ("72pt", 25.4),
        ("95%", None),
        ("300px", None),
        ("", None),
        ("-5mm", None),
        ("1e3mm", None),
        ("9" * 400 + "mm", None),
    ],
)
def test_printed_sizes_are_lengths_or_unknown(written, width_mm):
    assert one(breedte=written).width_mm == (None if width_mm is None else pytest.approx(width_mm))


def test_newer_documents_write_the_element_large_and_in_a_namespace():
    (picture,) = pictures(
        '<Regeling xmlns="urn:stop" xmlns:t="urn:tekst"><t:Kop><t:Opschrift>Kaarten</t:Opschrift></t:Kop>'
        '<t:Figuur><t:Illustratie naam="kaart.png" formaat="image/png" breedte="10cm"/>'
        "<t:Bijschrift>De kaart</t:Bijschrift></t:Figuur></Regeling>"
    )
    assert (picture.name, picture.width_mm) == ("kaart.png", 100.0)
    assert (picture.text_before, picture.caption, picture.in_heading) == ("Kaarten", "De kaart", False)


def test_a_picture_in_a_heading_written_large():
    (picture,) = pictures("<a><Kop><Illustratie naam='a.png'/></Kop></a>")
    assert picture.is_logo


def test_a_byte_order_mark_and_other_encodings():
    assert len(read_publication(b"\xef\xbb\xbf" + TEXT.encode()).illustrations) == 4
    latin = TEXT.replace("UTF-8", "ISO-8859-1").replace("Proefweg", "Proefstraße").encode("latin-1")
    assert len(read_publication(latin).illustrations) == 4


def test_a_publication_without_pictures():
    assert (
        read_publication(b"<officiele-publicatie><al>Niets</al></officiele-publicatie>").illustrations == ()
    )


def test_names_that_are_none_are_reported_and_the_rest_is_read():
    text = TEXT.replace("gmb-2098-17-2.png", "../../x.png").replace("stb-2098-1-001.png", "y" * 500)
    found = read_publication(text.encode())
    assert [each.name for each in found.illustrations] == ["gmb-2098-17-1.png", "gmb-2098-17-3.jpg"]
    assert found.refused == ("../../x.png", "y" * 100)


def test_a_picture_without_a_name_is_refused_too():
    assert read_publication(b"<a><illustratie alt='x'/></a>").refused == ("",)


@pytest.mark.parametrize(
    "data",
    [b"", TEXT.encode()[:700], b"<html><body>Niet gevonden</body></html>", b"<html><p>open", b"%PDF-1.7"],
    ids=["empty", "cut", "web page", "broken web page", "pdf"],
)
def test_what_is_no_publication_may_come_another_time(data):
    with pytest.raises(BadDocument):
        read_publication(data)


@pytest.mark.parametrize(
    "root",
    [
        "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>",
        '<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>SlowDown</Code></Error>',
        "<error><kop>Fout</kop></error>",
        '<searchRetrieveResponse xmlns="x"><diagnostics/></searchRetrieveResponse>',
        '<metadata_gegevens><metadata name="DC.title" content="x"/></metadata_gegevens>',
        '<work label="exb-2099-1"><expression label="1"/></work>',
        "<rss><channel><title>x</title></channel></rss>",
        '<s:Envelope xmlns:s="x"><s:Body><s:Fault><code>x</code></s:Fault></s:Body></s:Envelope>',
        "<ok/>",
    ],
)
def test_xml_of_other_kinds_is_no_publication(root):
    with pytest.raises(BadDocument, match="instead of a publication"):
        read_publication(root.encode())


@pytest.mark.parametrize(
    "root",
    [
        "<officiele-publicatie/>",
        '<officielePublicatie xmlns="https://standaarden.overheid.nl/stop"><meta/></officielePublicatie>',
        "<stcrt><al>Besluit</al></stcrt>",
        "<gemeenteblad><kop><titel>x</titel></kop></gemeenteblad>",
        '<BesluitKlassiek xmlns="urn:stop"><Lichaam><Al>Besluit</Al></Lichaam></BesluitKlassiek>',
    ],
)
def test_publications_of_every_age_are_some(root):
    assert read_publication(root.encode()).illustrations == ()


def frames(number, of_frame):
    """A text with so many pictures, so many to a frame."""
    frame = "".join(f'<illustratie naam="{{0}}-{n}.png"/>' for n in range(of_frame))
    text = "".join(
        "<plaatje>" + frame.replace("{0}", f"a{n}") + f"<bijschrift>Kaart {n}</bijschrift></plaatje>"
        for n in range(number // of_frame)
    )
    return f"<stcrt><al>{text}</al></stcrt>".encode()


def test_many_pictures_side_by_side_take_no_longer_than_apart(monkeypatch):
    asked = 0

    def counted(element):
        nonlocal asked
        asked += 1
        return local_name(element)

    monkeypatch.setattr(publication, "local_name", counted)
    costs = []
    for of_frame in (1, 1000):
        asked = 0
        assert len(read_publication(frames(1000, of_frame)).illustrations) == 1000
        costs.append(asked)
    assert costs[1] <= costs[0]


def test_pictures_of_one_frame_share_its_caption():
    found = read_publication(frames(4, 2)).illustrations
    assert [each.caption for each in found] == ["Kaart 0", "Kaart 0", "Kaart 1", "Kaart 1"]


def test_only_so_many_pictures_of_a_text_are_looked_at():
    found = read_publication(frames(MAX_PICTURES, 10))
    assert (len(found.illustrations), found.left_out) == (MAX_PICTURES, 0)
    found = read_publication(frames(MAX_PICTURES + 30, 10))
    assert (len(found.illustrations), found.left_out) == (MAX_PICTURES, 30)
    found = read_publication(
        b"<a><kop/>" + b"".join(b"<illustratie naam='/%d'/>" % n for n in range(2500)) + b"</a>"
    )
    assert (len(found.refused), found.left_out) == (MAX_PICTURES, 500)


def test_an_entity_bomb_is_refused():
    bomb = TEXT.replace("?>", '?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>', 1)
    with pytest.raises(DocumentRefused):
        read_publication(bomb.encode())


@given(st.integers(0, len(TEXT.encode().rstrip()) - 1))
def test_a_publication_cut_anywhere_has_no_pictures(length):
    with pytest.raises(BadDocument):
        read_publication(TEXT.encode()[:length])


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gmb-2098-17-1.png", "gmb-2098-17-1.png"),
        (" a.png\n", "a.png"),
        ("images/a.png", "a.png"),
        ("./images/a.png", "a.png"),
        ("a", "a"),
    ],
)
def test_names_are_plain_file_names(written, name):
    assert clean_name(written) == name


@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "..",
        "../a.png",
        "../../x.png",
        "a/../b.png",
        "/etc/passwd",
        "//elsewhere.example/a.png",
        "https://elsewhere.example/a.png",
        "javascript:x",
        "C:\\a.png",
        "a\\b.png",
        "%2e%2e%2fa.png",
        "a b.png",
        "a?b.png",
        "a#b.png",
        "a.png\x00.txt",
        "a\nb.png",
        ".htaccess",
        "-rf",
        "images/",
        "é.png",
        "a" * 201,
        "file:a.png",
        "host:80/a.png",
    ],
)
def test_anything_else_is_no_name(written):
    assert clean_name(written) is None


@given(
    st.text()
    | st.lists(st.sampled_from(["..", ".", "/", "\\", "a", ":", "%2e", "x.png", "@", "?"])).map("".join)
)
@example("//x/a.png")
def test_no_name_leads_to_another_host_or_folder(written):
    name = clean_name(written)
    if name is None:
        return
    url = urlsplit(illustration_url(PAGE_URL, name))
    assert (url.scheme, url.netloc, url.path) == ("https", "pages.example", f"/{name}")
    assert not url.query
    assert "/" not in name
    assert ".." not in name
    assert len(name) <= 200


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (PAGE_URL, "https://pages.example/a.png"),
        ("https://pages.example", "https://pages.example/a.png"),
        ("http://127.0.0.1:8099/deep/page.html?x=1#y", "http://127.0.0.1:8099/deep/a.png"),
    ],
)
def test_a_picture_lies_beside_its_page(base_url, url):
    assert illustration_url(base_url, "a.png") == url
