"""Publications and files fetched from the loopback servers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from koopclient import client_of
from koopserver import KoopServer, faults, quirks
from koopserver.pictures import picture
from koopserver.wire import Response
from stored import MONDAY, record

from sightline.errors import DocumentUnavailable
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.archive.publication import MAX_PICTURES
from sightline.jobs.koop.archive.records import AttachmentName
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState
from sightline.jobs.koop.run.fetcher import Fetcher
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.documents import Documents, Placement, PublicationState, StoredPublication
from sightline.jobs.koop.store.locks import KeyedLock
from sightline.jobs.koop.store.state import State

MAP = picture("map", 1, "png", (160, 110))


class Bench:
    """A gathering and what it writes to."""

    def __init__(self, koop: KoopServer, root: Path, state: State, **options: object) -> None:
        self.koop = koop
        self.documents = Documents(state)
        self.blobs = Blobs(root)
        self.blobs.prepare()
        self.client = client_of(koop, burst=1000)
        chosen = Options(
            MONDAY, MONDAY, attachments_at=koop.attachments_folder, reader_at=koop.reader_url, **options
        )
        self.gathering = Fetcher(self.client, self.documents, self.blobs, KeyedLock(), chosen)

    async def publications(self) -> list[StoredPublication]:
        """The day's, as the search describes them."""
        found = await Search(self.client, self.koop.search_url).day(MONDAY)
        self.documents.add(MONDAY, found.records)
        return [self.documents.publication(each) for each in self.documents.identifiers(MONDAY)]

    async def read(self, publication: StoredPublication) -> tuple[StoredPublication, list[Placement]]:
        await self.gathering.read(publication)
        identifier = publication.record.identifier
        return self.documents.publication(identifier), self.documents.placements(identifier)


@pytest.fixture
async def bench(koop: KoopServer, tmp_path: Path) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []
    with State(tmp_path / "koop.sqlite") as state:

        def build(**options: object) -> Bench:
            made.append(Bench(koop, tmp_path, state, **options))
            return made[-1]

        yield build
        for each in made:
            await each.client.aclose()


# -- publications ------------------------------------------------------------------------------------------


async def test_a_publication_gives_its_pictures_and_attachments(bench: Callable[..., Bench]) -> None:
    at = bench()
    for publication, decision in zip(await at.publications(), at.koop.decisions(MONDAY), strict=True):
        after, placements = await at.read(publication)
        assert (after.state, after.error) == (PublicationState.COMPLETE, None)
        pictures = [each for each in placements if each.kind is ItemKind.ILLUSTRATION]
        assert [each.name for each in pictures] == [each.name for each in decision.illustrations]
        assert [each.in_head for each in pictures] == [each.in_head for each in decision.illustrations]
        assert all(each.url == f"{at.koop.reader_url}/{each.name}" for each in pictures)
        attached = [each for each in placements if each.kind is ItemKind.ATTACHMENT]
        assert [each.name for each in attached] == [each.filename for each in decision.attachments]


@pytest.mark.parametrize(("from_repository", "role"), [(False, "reader"), (True, "search")])
async def test_texts_come_from_the_host_that_was_chosen(
    from_repository: bool, role: str, bench: Callable[..., Bench]
) -> None:
    at = bench(from_repository=from_repository)
    (first, *_) = await at.publications()
    await at.read(first)
    (asked,) = at.koop.requests(r"\.xml$")
    assert asked.role == role


async def test_a_publication_that_is_a_pdf_is_looked_at_itself(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.pdf_only)
    (first, *_) = await at.publications()
    after, placements = await at.read(first)
    assert (after.state, after.error) == (PublicationState.COMPLETE, "it is a PDF and has no text")
    assert placements[0].kind is ItemKind.PDF
    item = await at.gathering.fetch(at.documents.item(placements[0].url))
    assert (item.state, item.mime) == (ItemState.FETCHED, "application/pdf")


async def test_a_record_without_any_text_is_kept_with_the_reason(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.documents.add(MONDAY, [record("a", xml_url=None)])
    after, placements = await at.read(at.documents.publication("a"))
    assert (after.state, after.error) == (
        PublicationState.FAILED, "the record names neither a text nor a PDF",
    )  # fmt: skip
    assert [each.kind for each in placements] == [ItemKind.ATTACHMENT]


async def test_without_its_text_the_attachments_are_known_still(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.fail(r"\.xml$", faults.status(403), times=math.inf)
    for publication in await at.publications():
        after, placements = await at.read(publication)
        assert after.state is PublicationState.FAILED
        assert "403" in (after.error or "")
        assert len(placements) == len(publication.record.attachments)


async def test_captions_and_sizes_come_along(bench: Callable[..., Bench]) -> None:
    text = (
        '<officiele-publicatie><al>Afbeelding locatie</al><plaatje><illustratie naam="a.png" breedte="16cm" '
        'hoogte="9cm" alt="Kaart van de wijk"/><bijschrift>Kadastrale kaart</bijschrift></plaatje>'
        "</officiele-publicatie>"
    )
    at = bench()
    at.koop.fail(r"\.xml$", lambda request, _: Response(text.encode(), 200, (faults.XML,)), times=math.inf)
    (first, *_) = await at.publications()
    _, placements = await at.read(first)
    assert placements[0] == Placement(
        f"{at.koop.reader_url}/a.png", ItemKind.ILLUSTRATION, "a.png", "Afbeelding locatie", 160.0,
        caption="Kadastrale kaart", alt="Kaart van de wijk", height_mm=90.0,
    )  # fmt: skip


async def test_an_attachment_announced_as_too_large_is_not_fetched(bench: Callable[..., Bench]) -> None:
    at = bench(max_bytes=1000)
    at.koop.alter("gmb", quirks.attached(b"%PDF-1.4 " + b"x" * 2000))
    (first, *_) = await at.publications()
    _, placements = await at.read(first)
    (attached,) = [each for each in placements if each.kind is ItemKind.ATTACHMENT]
    item = await at.gathering.fetch(at.documents.item(attached.url))
    assert item.state is ItemState.FAILED
    assert "announced with 2009 bytes; SIGHTLINE_KOOP_FILE_MAX_BYTES allows 1000" in (item.error or "")
    assert at.koop.requests("/bijlage/") == []


async def test_odd_names_are_noted(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.one_illustration("../../x.png", MAP))
    (first, *_) = await at.publications()
    after, placements = await at.read(first)
    assert after.state is PublicationState.COMPLETE
    assert after.error == "no plain file name: '../../x.png'"
    assert not [each for each in placements if each.kind is ItemKind.ILLUSTRATION]


async def test_an_error_in_place_of_a_text_is_no_publication_without_pictures(
    bench: Callable[..., Bench],
) -> None:
    at = bench()
    error = b'<?xml version="1.0"?><Error><Code>InternalError</Code></Error>'
    at.koop.fail(r"\.xml$", faults.content(error, "application/xml"), times=math.inf)
    (first, *_) = await at.publications()
    after, _ = await at.read(first)
    assert after.state is PublicationState.FAILED
    assert "<Error> instead of a publication" in (after.error or "")


async def test_more_pictures_than_any_text_has_are_left_out_and_that_is_noted(
    bench: Callable[..., Bench],
) -> None:
    names = "".join(f'<illustratie naam="{number}.png"/>' for number in range(MAX_PICTURES + 5))
    at = bench()
    text = f"<officiele-publicatie>{names}</officiele-publicatie>".encode()
    at.koop.fail(r"\.xml$", faults.content(text, "application/xml"), times=math.inf)
    (first, *_) = await at.publications()
    after, placements = await at.read(first)
    assert after.state is PublicationState.COMPLETE
    assert after.error == f"5 pictures more than the first {MAX_PICTURES} in its text"
    assert sum(each.kind is ItemKind.ILLUSTRATION for each in placements) == MAX_PICTURES


# -- files -------------------------------------------------------------------------------------------------


def illustration(at: Bench, name: str) -> Item:
    return Item(f"{at.koop.reader_url}/{name}", ItemKind.ILLUSTRATION)


async def test_a_file_is_here_under_its_digest(bench: Callable[..., Bench]) -> None:
    at = bench()
    decision = at.koop.decisions(MONDAY)[0]
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.jpg", MAP))
    item = await at.gathering.fetch(illustration(at, f"{decision.identifier}-1.jpg"))
    assert (item.state, item.mime, item.num_bytes, item.attempts) == (
        ItemState.FETCHED, "image/png", len(MAP), 1,
    )  # fmt: skip
    assert at.blobs.read(item.file or "") == MAP
    assert (item.file or "").endswith(f"{item.sha256}.png")
    assert at.documents.item(item.url) == item


@pytest.mark.parametrize(
    ("fault", "state", "http"),
    [
        (faults.not_found, ItemState.GONE, 404),
        (faults.status(410), ItemState.GONE, 410),
        (faults.status(403), ItemState.FAILED, 403),
        (faults.status(500), ItemState.FAILED, 500),
        (faults.html, ItemState.FAILED, None),
        (faults.empty, ItemState.FAILED, None),
        (faults.content(b"503 upstream not available", "text/plain"), ItemState.FAILED, None),
    ],
)
async def test_what_does_not_come_is_said(
    fault: faults.Fault, state: ItemState, http: int | None, bench: Callable[..., Bench]
) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.png", MAP))
    at.koop.fail(r"\.png", fault, times=math.inf)
    name = f"{at.koop.decisions(MONDAY)[0].identifier}-1.png"
    item = await at.gathering.fetch(illustration(at, name))
    assert (item.state, item.http, item.file) == (state, http, None)
    assert item.error
    assert at.documents.item(item.url) == item


async def test_a_host_that_is_not_ours_is_not_asked(bench: Callable[..., Bench]) -> None:
    at = bench()
    item = await at.gathering.fetch(Item("https://elsewhere.example/x.png", ItemKind.ILLUSTRATION))
    assert (item.state, item.attempts) == (ItemState.FAILED, 1)
    assert at.koop.log == []


async def test_a_file_past_the_cap_is_not_read_to_its_end(bench: Callable[..., Bench]) -> None:
    at = bench(max_bytes=100)
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.png", MAP))
    name = f"{at.koop.decisions(MONDAY)[0].identifier}-1.png"
    item = await at.gathering.fetch(illustration(at, name))
    assert item.state is ItemState.FAILED
    assert "100" in (item.error or "")


async def test_an_attachment_is_found_through_its_listing(bench: Callable[..., Bench]) -> None:
    at = bench()
    attached = [each for decision in at.koop.decisions(MONDAY) for each in decision.attachments]
    assert attached, "the seed has attachments on this day"
    named = AttachmentName(attached[0].filename, attached[0].exb_id)
    at.documents.add(MONDAY, [record("a", xml_url=None, attachments=(named,))])
    _, (placed,) = await at.read(at.documents.publication("a"))
    item = await at.gathering.fetch(at.documents.item(placed.url))
    assert (item.state, item.mime) == (ItemState.FETCHED, "application/pdf")
    assert item.url == placed.url
    assert (item.source_url or "").endswith(attached[0].item)


@pytest.mark.parametrize("suffix", [".pdf", ".PDF", ".jpg", ".docx"])
async def test_a_page_in_place_of_an_attachment_is_asked_for_again(
    suffix: str, bench: Callable[..., Bench]
) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.attached(b"%PDF-1.4 a file", suffix=suffix))
    at.koop.fail("/bijlage/", faults.html, times=2)
    (first, *_) = await at.publications()
    _, placements = await at.read(first)
    item = await at.gathering.fetch(at.documents.item(placements[-1].url))
    assert item.state is ItemState.FETCHED
    assert [each.status for each in at.koop.requests("/bijlage/")] == [200, 200, 200]


async def test_an_attachment_may_be_a_page_if_its_name_says_so(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.attached(faults.html_page("Toelichting"), suffix=".html"))
    (first, *_) = await at.publications()
    _, placements = await at.read(first)
    item = await at.gathering.fetch(at.documents.item(placements[-1].url))
    assert (item.state, item.mime) == (ItemState.FETCHED, "application/octet-stream")


async def test_a_publications_own_pdf_is_one(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.fail(r"\.pdf$", faults.content(MAP, "image/png"), times=math.inf)
    item = await at.gathering.fetch(Item(f"{at.koop.reader_url}/gmb-2024-0150001.pdf", ItemKind.PDF))
    assert item.state is ItemState.FAILED


async def test_an_item_that_is_the_same_stays_as_it_is(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.png", MAP))
    fetched = await at.gathering.fetch(illustration(at, f"{at.koop.decisions(MONDAY)[0].identifier}-1.png"))
    kept = replace(fetched, state=ItemState.KEPT, model="a model", source_url="https://elsewhere.example/x")
    at.documents.save(kept)
    renewed = await at.gathering.renew(kept)
    assert renewed == replace(kept, attempts=2, source_url=kept.url)
    assert at.documents.item(kept.url) == renewed


async def test_an_item_that_is_another_one_waits_for_a_verdict(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.png", MAP))
    fetched = await at.gathering.fetch(illustration(at, f"{at.koop.decisions(MONDAY)[0].identifier}-1.png"))
    kept = replace(fetched, state=ItemState.KEPT, model="a model")
    at.documents.save(kept)
    other = picture("map", 2, "png", (160, 110))
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.png", other))
    renewed = await at.gathering.renew(kept)
    assert (renewed.state, renewed.model, renewed.num_bytes) == (ItemState.FETCHED, None, len(other))
    assert at.blobs.read(renewed.file or "") == other
    assert at.blobs.read(kept.file or "") == MAP
    assert at.documents.item(f"{kept.url}#{kept.sha256}").file == kept.file


async def test_an_item_that_does_not_come_again_is_as_it_was(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.png", MAP))
    kept = await at.gathering.fetch(illustration(at, f"{at.koop.decisions(MONDAY)[0].identifier}-1.png"))
    at.koop.fail(r"\.png", faults.html, times=math.inf)
    with pytest.raises(DocumentUnavailable, match="a web page came instead"):
        await at.gathering.renew(kept)
    assert at.documents.item(kept.url) == kept
    at.koop.heal()
    at.koop.fail(r"\.png", faults.not_found, times=math.inf)
    assert await at.gathering.renew(kept) == kept


async def test_a_full_disk_ends_the_run(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    at = bench()
    at.koop.alter("gmb", quirks.one_illustration("{id}-1.png", MAP))
    name = f"{at.koop.decisions(MONDAY)[0].identifier}-1.png"

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(at.blobs, "put", full)
    with pytest.raises(RunEnded, match="No space left"):
        await at.gathering.fetch(illustration(at, name))
    with pytest.raises(KeyError):
        at.documents.item(f"{at.koop.reader_url}/{name}")
