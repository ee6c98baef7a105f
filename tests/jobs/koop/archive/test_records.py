"""A record is read by local names, with everything that repeats."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from sightline.jobs.koop.archive.records import AttachmentName, Record, read_attachment_name, read_record

URL = "https://repository.example/frbr/op/gmb/2098/gmb-2098-17/1"
RECORD = f"""
<s:recordData xmlns:s="urn:sru" xmlns:g="urn:gzd" xmlns:d="urn:dc" xmlns:w="urn:wet">
 <g:gzd>
  <g:originalData><w:meta>
   <w:owmskern>
    <d:identifier>gmb-2098-17</d:identifier>
    <d:title>Proefweg &amp; Schetsplein,
      eenrichtingsverkeer</d:title>
    <d:type scheme="A">mededeling</d:type>
    <d:type scheme="B">verkeersbesluit of -mededeling</d:type>
    <d:creator>Modelstad</d:creator>
    <d:modified>2098-03-09</d:modified>
   </w:owmskern>
   <w:owmsmantel><d:available>2098-03-08</d:available></w:owmsmantel>
   <w:tpmeta>
    <w:externeBijlage>Tekening.pdf|exb-2098-5</w:externeBijlage>
    <w:externeBijlage>advies|politie|2.PDF|EXB-2098-6</w:externeBijlage>
    <w:externeBijlage>Tekening.pdf|exb-2098-5</w:externeBijlage>
    <w:externeBijlage>zonder nummer.pdf</w:externeBijlage>
    <w:typeVerkeersbesluit>tijdelijke maatregel</w:typeVerkeersbesluit>
    <w:verkeersbordcode>C2</w:verkeersbordcode>
    <w:verkeersbordcode>C3</w:verkeersbordcode>
    <w:verkeersbordcode>C2</w:verkeersbordcode>
   </w:tpmeta>
  </w:meta></g:originalData>
  <g:enrichedData>
   <g:url>{URL}/xml/gmb-2098-17.xml</g:url>
   <g:preferredUrl>https://pages.example/gmb-2098-17.html</g:preferredUrl>
   <g:itemUrl manifestation="html">{URL}/html/gmb-2098-17.html</g:itemUrl>
   <g:itemUrl manifestation="pdf">{URL}/pdf/gmb-2098-17.pdf</g:itemUrl>
   <g:itemUrl manifestation="xml">{URL}/xml/gmb-2098-17.xml</g:itemUrl>
   <g:timestamp>2098-03-09T08:00:00+01:00</g:timestamp>
  </g:enrichedData>
 </g:gzd>
</s:recordData>
"""


def read(text: str = RECORD) -> Record | None:
    return read_record(etree.fromstring(text))


def without(name: str) -> str:
    """The record without the elements of this name."""
    root = etree.fromstring(RECORD)
    for element in list(root.iterdescendants(f"{{*}}{name}")):
        element.getparent().remove(element)
    return etree.tostring(root, encoding="unicode")


def test_everything_there_is_to_know():
    record = read()
    assert record is not None
    assert record == Record(
        identifier="gmb-2098-17",
        title="Proefweg & Schetsplein, eenrichtingsverkeer",
        types=("mededeling", "verkeersbesluit of -mededeling"),
        creator="Modelstad",
        available=date(2098, 3, 8),
        modified=date(2098, 3, 9),
        changed_at="2098-03-09T08:00:00+01:00",
        type_verkeersbesluit=("tijdelijke maatregel",),
        sign_codes=("C2", "C3"),
        page_url="https://pages.example/gmb-2098-17.html",
        xml_url=f"{URL}/xml/gmb-2098-17.xml",
        html_url=f"{URL}/html/gmb-2098-17.html",
        pdf_url=f"{URL}/pdf/gmb-2098-17.pdf",
        attachments=(
            AttachmentName("Tekening.pdf", "exb-2098-5"),
            AttachmentName("advies|politie|2.PDF", "exb-2098-6"),
        ),
        unreadable_attachments=("zonder nummer.pdf",),
        sha256=record.sha256,
    )


def test_a_record_without_an_identifier_is_none():
    assert read(without("identifier")) is None


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("available", "available", None),
        ("title", "title", "gmb-2098-17"),
        ("creator", "creator", None),
        ("type", "types", ()),
        ("timestamp", "changed_at", None),
        ("externeBijlage", "attachments", ()),
        ("preferredUrl", "page_url", None),
    ],
)
def test_a_record_that_lacks_something_is_read_without_it(name, attribute, value):
    assert getattr(read(without(name)), attribute) == value


def test_a_publication_that_is_a_pdf_and_nothing_else():
    text = without("itemUrl").replace("xml/gmb-2098-17.xml", "pdf/gmb-2098-17.PDF")
    record = read(text)
    assert (record.xml_url, record.html_url, record.pdf_url) == (None, None, f"{URL}/pdf/gmb-2098-17.PDF")


def test_the_moment_of_the_last_change_comes_before_that_of_indexing():
    changed = "<g:datumTijdstipWijzigingExpression>2098-03-08T07:00</g:datumTijdstipWijzigingExpression>"
    record = read(RECORD.replace("<g:enrichedData>", f"<g:enrichedData>{changed}"))
    assert record.changed_at == "2098-03-08T07:00"


@pytest.mark.parametrize("day", ["", "gisteren", "2098-13-01", "8 maart 2098"])
def test_a_date_that_is_none_is_not_made_up(day):
    assert read(RECORD.replace("2098-03-08", day)).available is None


def test_prefixes_and_namespaces_may_change():
    renamed = (
        RECORD.replace("d:", "dcterms:").replace("xmlns:d=", "xmlns:dcterms=").replace("urn:dc", "urn:dc2")
    )
    record, before = read(renamed), read()
    assert (record.identifier, record.types, record.available) == (
        before.identifier,
        before.types,
        before.available,
    )
    bare = RECORD.replace("g:", "").replace("s:recordData", "recordData").replace("xmlns:", "xmlns:x")
    assert read(bare.replace("d:", "").replace("w:", "")).attachments == before.attachments


def test_the_digest_tells_whether_the_record_changed():
    digest = read().sha256
    assert read(RECORD.replace("xmlns:g=", "xmlns:q=").replace("g:", "q:")).sha256 == digest
    assert read(RECORD.replace("T08:00:00", "T09:30:00")).sha256 == digest
    assert read(RECORD.replace("\n", "\n  ")).sha256 == digest
    assert read(RECORD.replace("Modelstad", "Proefdam")).sha256 != digest
    assert read(RECORD.replace('scheme="A"', 'scheme="C"')).sha256 != digest
    assert read(without("verkeersbordcode")).sha256 != digest


@given(st.text(), st.integers(1000, 9999), st.integers(0, 10**8))
def test_an_attachments_name_is_split_at_the_last_bar(filename, year, number):
    name = read_attachment_name(f"{filename}|exb-{year}-{number}")
    assert name == AttachmentName(filename.strip(), f"exb-{year}-{number}")


@pytest.mark.parametrize(
    "text",
    ["", "|", "a.pdf", "a.pdf|", "exb-2098-5|a.pdf", "a|exb-98-5", "a|exb-2098-5/../..", "a|exb-2098-5\n|"],
)
def test_an_entry_without_a_proper_id_is_kept_as_written(text):
    assert read_attachment_name(text) == text
