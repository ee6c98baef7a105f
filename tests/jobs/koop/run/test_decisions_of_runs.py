"""A run of many: few documents at a time, what it passes over, and what an ended one left."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from koopserver.pdf import pdf
from rig import CountingClassifier
from workbench import MAP, SIGN, TWO_PAGES, Bench, Failing, Wanting, wants

from sightline.errors import InferenceFailed
from sightline.imaging.pdf import is_pdf, open_pdf
from sightline.jobs.koop.lifecycle import ItemState
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.results import Classification, PageResult

# -- a few documents at a time -----------------------------------------------------------------------------


class Drawing(CountingClassifier):
    """Has a document open, with its process, until told to go on. Images it judges at once."""

    def __init__(self) -> None:
        super().__init__()
        self.opened, self.go_on, self.closed = (asyncio.Semaphore(0) for _ in range(3))

    async def judge(self, data: bytes, sha256: str) -> Classification:
        if not is_pdf(data):
            return await super().judge(data, sha256)
        with await asyncio.to_thread(open_pdf, data):
            self.opened.release()
            await self.go_on.acquire()
        self.closed.release()
        return Classification(
            sha256, self.model, 1, (PageResult(1, "maps", 0.9, {"maps": 0.9}, would_download=True),)
        )


class Reading(Blobs):
    """Remembers what was read."""

    reads: list[str]

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return super().read(path)


def drawing() -> int:
    """How many processes draw documents."""
    found = 0
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # a zombie has no command line
            found += any("pdf_renderer" in part for part in child.cmdline())
    return found


async def test_two_documents_are_drawn_at_a_time_and_images_do_not_wait(at: Bench) -> None:
    at.blobs = blobs = Reading(at.root)
    blobs.reads = []
    known = await at.settled(at.fetched(TWO_PAGES, "known"), Wanting(2))
    at.blobs.remove(at.kept.of(known.sha256 or "")[2].file)  # it is drawn again
    blobs.reads.clear()
    judge = Drawing()
    settling = at.settling(judge)
    documents = [at.fetched(pdf("map", seed=number), str(number)) for number in range(5)]
    image = at.fetched(MAP, "image")
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for each in documents[:2]:
            group.create_task(settling.settle(each))
        for _ in range(2):
            await judge.opened.acquire()
        for each in (*documents[2:], known):
            group.create_task(settling.settle(each))
        await settling.settle(image)
        assert at.documents.item(image.url).state is ItemState.KEPT
        assert set(blobs.reads) == {documents[0].file, documents[1].file, image.file}
        most = drawing()
        assert most == 2
        for _ in documents:
            judge.go_on.release()
            await judge.closed.acquire()
            most = max(most, drawing())
    assert most == 2
    assert {at.documents.item(each.url).state for each in documents} == {ItemState.KEPT}
    assert at.blobs.has(at.kept.of(known.sha256 or "")[2].file)
    assert drawing() == 0


# -- what a run passes over --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (ItemState.PENDING, ItemState.SKIPPED),
        (ItemState.FAILED, ItemState.SKIPPED),
        (ItemState.FETCHED, ItemState.SKIPPED),
        (ItemState.KEPT, ItemState.KEPT),
        (ItemState.REJECTED, ItemState.REJECTED),
        (ItemState.GONE, ItemState.GONE),
    ],
)
async def test_what_is_not_worth_having_is_skipped_unless_it_was_decided(
    state: ItemState, after: ItemState, at: Bench
) -> None:
    item = replace(at.fetched(MAP), state=state)
    if state not in (ItemState.FETCHED, ItemState.KEPT):
        at.blobs.remove(item.file or "")
        item = replace(item, file=None)
    at.documents.save(item)
    await at.settling(CountingClassifier()).skip(item, "an attachment")
    item = at.documents.item(item.url)
    assert (item.state, item.error) == (after, "an attachment" if after is ItemState.SKIPPED else None)
    assert at.files() == ({item.file} if state is ItemState.KEPT else set())


async def test_bytes_of_what_is_skipped_stay_for_others(at: Bench) -> None:
    item, other = at.fetched(MAP, "here"), at.fetched(MAP, "there")
    await at.settling(CountingClassifier()).skip(item, "an attachment")
    assert at.files() == {other.file}


async def test_what_is_skipped_does_not_wait_for_a_newer_verdict(at: Bench) -> None:
    before = await at.settled(at.fetched(MAP), CountingClassifier())
    item = await at.settled(before, Failing(InferenceFailed("no")))
    await at.settling(CountingClassifier()).skip(item, "an attachment")
    assert at.documents.item(item.url) == before


async def test_a_dry_run_leaves_what_was_decided(at: Bench) -> None:
    judge = CountingClassifier(wants=wants(MAP))
    before = [await at.settled(at.fetched(data, str(len(data))), judge) for data in (MAP, SIGN)]
    assert [each.state for each in before] == [ItemState.KEPT, ItemState.REJECTED]
    for each in before:
        assert await at.settled(each, judge, dry_run=True) == each


async def test_a_dry_run_fetches_nothing_that_is_kept(at: Bench) -> None:
    kept = await at.settled(at.fetched(TWO_PAGES), Wanting(2))
    at.blobs.remove(kept.file or "")
    newer = Wanting(model="newer")
    assert at.settling(newer, judge_again=True).must_fetch(kept)
    assert not at.settling(newer, judge_again=True, dry_run=True).must_fetch(kept)
    assert await at.settled(kept, newer, judge_again=True, dry_run=True) == kept


# -- what an ended one left --------------------------------------------------------------------------------


async def test_what_was_being_let_go_when_the_process_ended_goes_at_the_next_start(at: Bench) -> None:
    item = at.fetched(SIGN)
    at.documents.save(replace(item, state=ItemState.REJECTED))  # and here it was killed
    kept = await at.settled(at.fetched(MAP, "b"), CountingClassifier())
    at.settling(CountingClassifier()).clear()
    assert at.files() == {kept.file}
    assert at.documents.item(item.url).file is None


async def test_what_nothing_names_goes_at_the_next_start_and_all_else_stays(at: Bench) -> None:
    at.settling(None).clear()  # of the first run
    kept = await at.settled(at.fetched(TWO_PAGES, "kept"), Wanting(2))
    (page,) = at.kept.of(kept.sha256 or "").values()
    waiting = at.fetched(MAP, "waiting")
    for data in (SIGN, b"x", b"y"):
        at.blobs.put(data, at.blobs.digest(data), "png")
    (at.root / "blobs" / "notes.txt").write_text("not of a download")
    assert len(at.files()) == 7
    at.settling(None).clear()
    assert at.files() == {kept.file, page.file, waiting.file, "blobs/notes.txt"}


async def test_files_that_are_older_than_the_state_stay(at: Bench) -> None:
    """Somebody took the state away, and the pictures are still theirs."""
    stray = at.blobs.put(SIGN, at.blobs.digest(SIGN), "png")
    os.utime(at.root / stray, (10**9, 10**9))
    for _ in range(2):
        at.settling(None).clear()
    assert at.files() == {stray}


async def test_what_cannot_be_removed_goes_at_a_later_start(
    at: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Blobs):
        def remove(self, path: str) -> None:
            raise PermissionError(13, "Permission denied")

    at.settling(None).clear()  # of the first run
    item = at.fetched(SIGN)
    free, at.blobs = at.blobs, Stuck(at.root)
    item = await at.settled(item, CountingClassifier(wants=wants()))
    assert (item.state, item.file, len(at.files())) == (ItemState.REJECTED, None, 1)
    assert "cannot be removed" in caplog.text
    at.blobs = free
    at.settling(None).clear()
    assert at.files() == set()
