"""Where attachments lie, by their listings."""

from __future__ import annotations

import math
from datetime import date

import pytest
from koopclient import client_of
from koopserver import KoopServer, faults, quirks

from sightline.errors import DocumentGone, DocumentRefused, DocumentUnavailable
from sightline.jobs.koop.archive.attachments import AttachmentItem, find_attachment, listing_url, read_listing
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.polite import BadDocument

BASE = "https://files.example/externebijlagen/"
EXB = "exb-2098-5"
DAY = date(2024, 6, 3)


def item(label: str = f"{EXB}.pdf", more: str = "") -> str:
    return f'<item label="{label}" {more}/>'


def manifestation(*items: str, label: str = "bijlage", size: str = "") -> str:
    metadata = f"<metadata><size>{size}</size></metadata>" if size else ""
    return f'<manifestation label="{label}">{metadata}{"".join(items)}</manifestation>'


def expression(*manifestations: str, label: str = "1", more: str = "") -> str:
    return f'<expression label="{label}" {more}>{"".join(manifestations)}</expression>'


def work(*expressions: str, label: str = EXB, more: str = "") -> bytes:
    return f'<?xml version="1.0"?><work label="{label}" {more}>{"".join(expressions)}</work>'.encode()


def read(data: bytes) -> AttachmentItem | None:
    return read_listing(data, BASE, EXB)


def path_of(data: bytes) -> str:
    found = read(data)
    assert found is not None
    return found.url.removeprefix(f"{BASE}{EXB}/")


def test_a_listing_lies_in_the_attachments_folder():
    assert listing_url(BASE, EXB) == listing_url(BASE.rstrip("/"), EXB) == f"{BASE}{EXB}/1/"


def test_the_path_is_made_of_the_listings_labels():
    found = read(work(expression(manifestation(item(), size="1234"))))
    assert found == AttachmentItem(f"{BASE}{EXB}/1/bijlage/{EXB}.pdf", f"{EXB}.pdf", 1234)


@pytest.mark.parametrize(
    ("label", "name"), [("pdf", f"{EXB}.pdf"), ("bijlage", f"{EXB}.PDF"), ("bijlage", "Tekening 1.pdf")]
)
def test_labels_differ_by_age(label, name):
    found = read(work(expression(manifestation(item(name), label=label))))
    assert (found.name, found.size_bytes) == (name, None)
    assert found.url == f"{BASE}{EXB}/1/{label}/{name.replace(' ', '%20')}"


def test_namespaces_and_case_of_the_id_do_not_matter():
    data = work(expression(manifestation(item())), label=EXB.upper(), more='xmlns="urn:frbr"')
    assert path_of(data) == f"1/bijlage/{EXB}.pdf"


def test_the_listing_says_which_file_is_the_latest():
    both = expression(manifestation(item("a.pdf"), item("b.pdf")))
    assert path_of(work(both, more='_latestItem="1/bijlage/a.pdf"')) == "1/bijlage/a.pdf"
    assert path_of(work(both, more='_latestItem="1/bijlage/c.pdf"')) == "1/bijlage/b.pdf"
    assert path_of(work(both, more='_latestItem="../../x"')) == "1/bijlage/b.pdf"


def test_without_that_it_is_the_newest_expressions():
    tenth = expression(manifestation(item("new.pdf")), label="10")
    second = expression(manifestation(item("old.pdf")), label="2")
    assert path_of(work(tenth, second)) == "10/bijlage/new.pdf"


@pytest.mark.parametrize("said", ["true", "True", " 1 "])
def test_deleted_files_are_not_there(said):
    deleted = f'_deleted="{said}"'
    data = work(
        expression(manifestation(item("a.pdf"), item("b.pdf", deleted))), more='_latestItem="1/bijlage/b.pdf"'
    )
    assert path_of(data) == "1/bijlage/a.pdf"
    assert read(work(expression(manifestation(item("a.pdf", deleted))))) is None
    assert read(work(expression(manifestation(item()), more=deleted))) is None


def test_a_listing_of_nothing():
    assert read(work()) is None
    assert read(work(expression())) is None


def test_a_size_of_several_files_is_of_none_of_them():
    assert read(work(expression(manifestation(item("a.pdf"), item(), size="1234")))).size_bytes is None


@pytest.mark.parametrize("size", ["", "-1", "veel", "9" * 40])
def test_a_size_that_is_none(size):
    assert read(work(expression(manifestation(item(), size=size)))).size_bytes is None


@pytest.mark.parametrize("label", ["", ".", "..", "../x.pdf", "a/b.pdf", "a\\b.pdf", "x" * 300])
def test_a_label_that_is_no_name_is_refused(label):
    with pytest.raises(DocumentRefused, match="no name"):
        read(work(expression(manifestation(item(label)))))


def test_labels_cannot_lead_to_another_host_or_add_a_query():
    assert (
        path_of(work(expression(manifestation(item("a?b#c@d:e.pdf"))))) == "1/bijlage/a%3Fb%23c%40d%3Ae.pdf"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        work(expression(manifestation(item())))[:-5],
        work(expression(manifestation(item())), label="exb-2098-6"),
        b"<html><body>Onderhoud</body></html>",
        b"<work/>",
    ],
    ids=["empty", "cut", "another attachment", "web page", "no label"],
)
def test_what_is_no_listing_of_it_may_come_another_time(data):
    with pytest.raises(BadDocument):
        read(data)


# -- asked of the loopback servers -------------------------------------------------------------------------


@pytest.mark.parametrize("quirk", [quirks.old_label, quirks.capital_suffix, quirks.pipe_in_filename])
async def test_an_attachment_is_found_and_fetched(quirk, koop: KoopServer):
    koop.alter("gmb", quirk)
    async with client_of(koop) as client:
        found = await Search(client, koop.search_url).day(DAY)
        (name,) = found.records[0].attachments
        there = await find_attachment(client, koop.attachments_folder, name.exb_id)
        document = await client.fetch(there.url, max_bytes=10_000_000)
    assert document.body.startswith(b"%PDF")
    assert document.url == there.url
    assert len(koop.requests("/externebijlagen/", status=301)) == 0


async def first_attachment(koop: KoopServer, client) -> AttachmentItem:
    found = await Search(client, koop.search_url).day(DAY)
    return await find_attachment(client, koop.attachments_folder, found.records[0].attachments[0].exb_id)


async def test_the_wrong_path_redirects_to_itself_and_is_asked_once(koop: KoopServer):
    koop.alter("gmb", quirks.old_label)
    async with client_of(koop) as client:
        there = await first_attachment(koop, client)
        with pytest.raises(DocumentRefused, match="circle"):
            await client.fetch(there.url.replace("/pdf/", "/bijlage/"), max_bytes=10_000_000)
    assert len(koop.requests("/1/bijlage/")) == 1


async def test_an_attachment_without_a_listing_is_gone(koop: KoopServer):
    koop.alter("gmb", quirks.listing_missing)
    async with client_of(koop) as client:
        with pytest.raises(DocumentGone):
            await first_attachment(koop, client)


async def test_a_listing_that_fails_is_asked_for_again(koop: KoopServer):
    koop.alter("gmb", quirks.attached(b"%PDF-"))
    koop.fail("/externebijlagen/.*/1/$", faults.status(500), times=2)
    koop.fail("/externebijlagen/.*/1/$", faults.html, times=2)
    async with client_of(koop) as client:
        assert (await first_attachment(koop, client)).name.endswith(".pdf")
    assert len(koop.requests("/externebijlagen/")) == 5


async def test_a_listing_that_keeps_failing_is_not_there_for_now(koop: KoopServer):
    koop.alter("gmb", quirks.attached(b"%PDF-"))
    koop.fail("/externebijlagen/", faults.cut(), times=math.inf)
    async with client_of(koop) as client:
        with pytest.raises(DocumentUnavailable):
            await first_attachment(koop, client)
