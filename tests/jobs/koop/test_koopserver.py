"""The loopback servers themselves: what they play is what the tests of the downloader rest on."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import httpx2
import pypdfium2
import pytest
from koopserver import KoopServer, Rate, quirks
from koopserver.archive import KNOWN_DAY, standard_annex
from lxml import etree
from PIL import Image

DAY = date(2024, 6, 3)
TRAFFIC_DAY = 'c.product-area==officielepublicaties AND dt.type any "verkeersbesluit" AND dt.available=="{}"'

Search = Callable[..., etree._Element]
Start = Callable[..., KoopServer]


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


# -- searching ---------------------------------------------------------------------------------------------


def test_a_day_has_its_decisions(koop: KoopServer, search: Search) -> None:
    page = search(koop, TRAFFIC_DAY.format(DAY))
    assert count(page) == 3
    assert texts(page, "identifier") == [each.identifier for each in koop.decisions(DAY)]
    assert texts(page, "nextRecordPosition") == []


def test_without_a_number_ten_records_are_shown_and_none_when_only_counting(
    koop_server: Start, search: Search
) -> None:
    koop = koop_server(decisions_per_day=25)
    page = search(koop, TRAFFIC_DAY.format(DAY))
    assert (count(page), len(texts(page, "identifier"))) == (25, 10)
    assert texts(page, "nextRecordPosition") == ["11"]
    counted = search(koop, TRAFFIC_DAY.format(DAY), maximumRecords=0)
    assert (count(counted), texts(counted, "identifier")) == (25, [])
    assert texts(counted, "nextRecordPosition") == []


@pytest.mark.parametrize(
    ("decisions", "pages"), [(0, [0]), (1, [1]), (900, [900]), (901, [900, 1]), (2150, [900, 900, 350])]
)
def test_pages_follow_each_other_to_the_end(
    decisions: int, pages: list[int], koop_server: Start, search: Search
) -> None:
    koop = koop_server(decisions_per_day={DAY: decisions})
    start, sizes, identifiers = 1, [], set[str]()
    while True:
        page = search(koop, TRAFFIC_DAY.format(DAY), maximumRecords=900, startRecord=start)
        assert count(page) == decisions
        found = texts(page, "identifier")
        assert texts(page, "recordPosition") == [str(start + at) for at in range(len(found))]
        sizes.append(len(found))
        identifiers |= set(found)
        following = texts(page, "nextRecordPosition")
        if not following:
            break
        start = int(following[0])
    assert sizes == pages
    assert len(identifiers) == decisions


def test_no_page_is_longer_than_a_thousand(koop_server: Start, search: Search) -> None:
    koop = koop_server(decisions_per_day={DAY: 1001})
    page = search(koop, TRAFFIC_DAY.format(DAY), maximumRecords=5000)
    assert len(texts(page, "identifier")) == 1000


def test_out_of_range_is_a_diagnostic_or_an_empty_page(koop: KoopServer, search: Search) -> None:
    page = search(koop, TRAFFIC_DAY.format(DAY), startRecord=4)
    assert texts(page, "uri") == ["info:srw/diagnostic/1/61"]
    assert texts(page, "numberOfRecords") == []
    koop.out_of_range = "empty"
    page = search(koop, TRAFFIC_DAY.format(DAY), startRecord=4)
    assert (count(page), texts(page, "identifier")) == (3, [])


def test_deep_paging_breaks_the_service(koop: KoopServer, http: httpx2.Client) -> None:
    answer = http.get(koop.search_url, params={"query": "dt.language==nl", "startRecord": 15_000})
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")


def test_the_count_can_be_off_by_one(koop: KoopServer, search: Search) -> None:
    koop.count_error = 1
    page = search(koop, TRAFFIC_DAY.format(DAY))
    assert (count(page), len(texts(page, "identifier"))) == (4, 3)


def test_records_can_drift_between_pages(koop_server: Start, search: Search) -> None:
    koop = koop_server(decisions_per_day={DAY: 5})
    koop.drifting = True
    first = texts(search(koop, TRAFFIC_DAY.format(DAY), maximumRecords=3), "identifier")
    second = texts(search(koop, TRAFFIC_DAY.format(DAY), maximumRecords=3, startRecord=4), "identifier")
    assert second[0] == first[-1]
    assert len({*first, *second}) == 5


def test_the_next_position_can_be_missing_or_stuck(koop_server: Start, search: Search) -> None:
    koop = koop_server(decisions_per_day={DAY: 5})
    koop.without_next = True
    assert texts(search(koop, TRAFFIC_DAY.format(DAY), maximumRecords=2), "nextRecordPosition") == []
    koop.without_next, koop.stuck_next = False, True
    page = search(koop, TRAFFIC_DAY.format(DAY), maximumRecords=2, startRecord=3)
    assert texts(page, "nextRecordPosition") == ["3"]


def test_the_known_day_is_there_when_days_are_listed(koop_server: Start, search: Search) -> None:
    koop = koop_server(decisions_per_day={DAY: 1})
    assert count(search(koop, TRAFFIC_DAY.format(KNOWN_DAY), maximumRecords=0)) == 95
    assert count(search(koop, TRAFFIC_DAY.format(DAY + timedelta(days=1)), maximumRecords=0)) == 0


# -- documents ---------------------------------------------------------------------------------------------


def test_what_a_record_names_is_there(koop_server: Start, search: Search, http: httpx2.Client) -> None:
    koop = koop_server(decisions_per_day=8)
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
            document = pypdfium2.PdfDocument(attached(http, koop, text.split("|")[-1]))
            assert len(document) > 0
            document.close()
            attachments += 1
    assert images > 3
    assert attachments > 1


def attached(http: httpx2.Client, koop: KoopServer, exb_id: str) -> bytes:
    folder = f"{koop.attachments_folder}/{exb_id}"
    listing = etree.fromstring(http.get(f"{folder}/1/").content)
    label, item = listing.find(".//manifestation").get("label"), listing.find(".//item").get("label")
    return http.get(f"{folder}/1/{label}/{item}").raise_for_status().content


def test_equal_seeds_give_equal_bytes(koop_server: Start, http: httpx2.Client) -> None:
    def bodies(koop: KoopServer) -> list[str]:
        decisions = koop.decisions(DAY, DAY + timedelta(days=3))
        urls = [f"{koop.reader_url}/{image.name}" for each in decisions for image in each.illustrations]
        return [hashlib.sha256(http.get(url).content).hexdigest() for url in urls]

    one, same, other = bodies(koop_server(1)), bodies(koop_server(1)), bodies(koop_server(2))
    assert len(one) > 3
    assert one == same
    assert set(one).isdisjoint(other)
    assert len(set(one)) == len(one)


def test_some_attachments_are_the_same_file(koop_server: Start) -> None:
    koop = koop_server(decisions_per_day=60)
    files = [each.content() for decision in koop.decisions(DAY) for each in decision.attachments]
    assert files.count(standard_annex(0)()) > 1
    assert len(set(files)) > len(files) / 2


def test_a_wrong_path_of_an_attachment_leads_to_itself(koop: KoopServer, http: httpx2.Client) -> None:
    koop.alter("gmb-2024", quirks.old_label)
    exb_id = koop.decisions(DAY)[0].attachments[0].exb_id
    wrong = f"{koop.attachments_folder}/{exb_id}/1/bijlage/{exb_id}.pdf"
    answer = http.get(wrong)
    assert answer.status_code == 301
    assert wrong.endswith(answer.headers["location"])
    assert attached(http, koop, exb_id).startswith(b"%PDF")


@pytest.mark.parametrize(
    "path", ["/gmb-2024-9990001.html", "/gmb-2024-1550999-1.png", "/../etc/passwd", "/x"]
)
def test_nothing_else_is_there(path: str, koop: KoopServer, http: httpx2.Client) -> None:
    for host in (koop.repository_url, koop.reader_url, koop.attachments_url):
        answer = http.get(host + path)
        assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html")


def test_robots_are_told_apart_by_host(koop: KoopServer, http: httpx2.Client) -> None:
    assert http.get(f"{koop.repository_url}/robots.txt").text.splitlines()[-1] == "Disallow: /"
    assert http.get(f"{koop.reader_url}/robots.txt").text.splitlines()[-1] == "Disallow:"


# -- limits and the log ------------------------------------------------------------------------------------


def test_each_host_lets_through_a_burst_and_then_a_rate(koop_server: Start, http: httpx2.Client) -> None:
    now = 0.0
    koop = koop_server(rate=Rate(burst=3, per_s=0.5), clock=lambda: now)
    urls = [koop.search_url + "?query=dt.available==2024-06-03", f"{koop.reader_url}/robots.txt"]
    for url in urls:
        assert [http.get(url).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = http.get(urls[0])
    assert "retry-after" not in refused.headers
    assert refused.headers["content-type"].startswith("text/html")
    now = 2.0
    assert [http.get(urls[0]).status_code for _ in range(2)] == [200, 429]
    now = 1000.0
    assert [http.get(urls[0]).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_every_request_is_logged(koop: KoopServer, search: Search, http: httpx2.Client) -> None:
    search(koop, TRAFFIC_DAY.format(DAY))
    (entry,) = koop.log
    assert (entry.role, entry.path, entry.status, entry.user_agent) == ("search", "/sru", 200, "a test")
    assert re.search('dt.available=="2024-06-03"', entry.url)
    http.get(f"{koop.reader_url}/nothing.png")
    assert [each.role for each in koop.requests(status=404)] == ["reader"]
    assert len(koop.requests("/sru")) == 1


def test_text_is_packed_for_those_who_take_it(koop: KoopServer, http: httpx2.Client) -> None:
    decision = koop.decisions(DAY)[0]
    url = f"{koop.reader_url}/{decision.identifier}.xml"
    assert http.get(url).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in http.get(url, headers={"Accept-Encoding": "identity"}).headers
    koop.packs = False
    assert "content-encoding" not in http.get(url).headers
