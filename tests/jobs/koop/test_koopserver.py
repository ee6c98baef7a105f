"""The loopback servers themselves: what they play is what the tests of the downloader rest on."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import date

import httpx2
import pypdfium2
import pytest
from koopserver import KoopServer
from lxml import etree
from PIL import Image

DAY = date(2024, 6, 3)
TRAFFIC_DAY = 'c.product-area==officielepublicaties AND dt.type any "verkeersbesluit" AND dt.available=="{}"'

Search = Callable[..., etree._Element]


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=5, trust_env=False, headers={"User-Agent": "a test"}) as client:
        yield client


@pytest.fixture
def search(http: httpx2.Client) -> Search:
    def ask(koop: KoopServer, query: str, **params: object) -> etree._Element:
        answer = http.get(koop.search_url, params={"query": query, **params})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/xml;charset=UTF-8"
        return etree.fromstring(answer.content)

    return ask


def texts(root: etree._Element, name: str) -> list[str]:
    return [each.text or "" for each in root.iter(f"{{*}}{name}")]


def count(root: etree._Element) -> int:
    (said,) = texts(root, "numberOfRecords")
    return int(said)


def test_a_day_has_its_decisions(koop: KoopServer, search: Search) -> None:
    page = search(koop, TRAFFIC_DAY.format(DAY))
    assert count(page) == 3
    assert texts(page, "identifier") == [each.identifier for each in koop.decisions(DAY)]
    assert texts(page, "nextRecordPosition") == []


def test_what_a_record_names_is_there(koop: KoopServer, search: Search, http: httpx2.Client) -> None:
    koop.archive.per_day = 8
    page = search(koop, TRAFFIC_DAY.format(DAY))
    for url in texts(page, "itemUrl") + texts(page, "preferredUrl"):
        assert http.get(url).status_code == 200, url
    images = attachments = 0
    for record in page.iter("{*}recordData"):
        (xml_url,) = (each.text for each in record.iter("{*}itemUrl") if each.get("manifestation") == "xml")
        for illustration in etree.fromstring(http.get(xml_url).content).iter("illustratie"):
            answer = http.get(f"{koop.reader_url}/{illustration.get('naam')}")
            assert Image.open(io.BytesIO(answer.content)).size[0] > 0
            images += 1
        for text in texts(record, "externeBijlage"):
            listing = etree.fromstring(
                http.get(f"{koop.attachments_url}/externebijlagen/{text.split('|')[-1]}/1/").content
            )
            path = "/".join(
                (
                    listing.get("label"),
                    "1",
                    listing.find(".//manifestation").get("label"),
                    listing.find(".//item").get("label"),
                )
            )
            document = pypdfium2.PdfDocument(
                http.get(f"{koop.attachments_url}/externebijlagen/{path}").content
            )
            assert len(document) > 0
            document.close()
            attachments += 1
    assert images > 3
    assert attachments > 1


def test_every_request_is_logged(koop: KoopServer, search: Search) -> None:
    search(koop, TRAFFIC_DAY.format(DAY))
    (entry,) = koop.log
    assert (entry.role, entry.path, entry.status, entry.user_agent) == ("search", "/sru", 200, "a test")
    assert re.search('dt.available=="2024-06-03"', entry.url)
