"""What was kept stays, as long as any item rests on it, and until another verdict says otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rig import CountingClassifier
from workbench import MAP, SIGN, THREE_PAGES, TWO_PAGES, Bench, Failing, Wanting, wants

from sightline.errors import DeadlineExceeded, InferenceFailed
from sightline.jobs.koop.archive.contents import kind_of
from sightline.jobs.koop.lifecycle import ItemState, Keep
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.results import Classification, PageResult

# -- with others -------------------------------------------------------------------------------------------


async def test_pages_stay_as_long_as_another_item_rests_on_them(at: Bench) -> None:
    """The same document in decisions of two days, of which one is judged by a newer model."""
    here, there = at.fetched(THREE_PAGES, "here"), at.fetched(THREE_PAGES, "there")
    for each in (here, there):
        await at.settled(each, Wanting(2))
    await at.settled(at.documents.item(here.url), Wanting(3, model="newer"))
    assert set(at.kept.of(here.sha256 or "")) == {2, 3}
    assert len(at.files()) == 3
    await at.settled(at.documents.item(here.url), Wanting(model="newest"))
    assert set(at.kept.of(here.sha256 or "")) == {2}
    assert len(at.files()) == 2
    await at.settled(at.documents.item(there.url), Wanting(model="newest"))
    assert at.files() == set()


async def test_a_document_kept_without_a_judge_stays_for_whoever_kept_it(at: Bench) -> None:
    here, there = at.fetched(TWO_PAGES, "here"), at.fetched(TWO_PAGES, "there")
    for each in (here, there):
        await at.settled(each, None, keep=Keep.ALL)
    await at.settled(at.documents.item(here.url), Wanting(2))
    assert set(at.kept.of(here.sha256 or "")) == {0, 2}


async def test_an_image_stays_for_whoever_keeps_all(at: Bench) -> None:
    here, there = at.fetched(SIGN, "here"), at.fetched(SIGN, "there")
    judge = CountingClassifier(wants=wants())
    kept = await at.settled(here, judge, keep=Keep.ALL)
    await at.settled(there, judge)
    assert at.files() == {kept.file}
    assert set(at.kept.of(kept.sha256 or "")) == {0}


@pytest.mark.parametrize("keep", [Keep.ALL, Keep.WOULD_DOWNLOAD])
async def test_a_document_kept_without_a_judge_stays_beside_its_pages(keep: Keep, at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), None, keep=Keep.ALL)
    item = await at.settled(item, Wanting(2), keep=keep)
    (page,) = at.kept.of(item.sha256 or "").values()
    assert at.files() == {item.file, page.file}


async def test_all_is_kept_of_a_document_without_a_good_page(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), None, keep=Keep.ALL)
    item = await at.settled(item, Wanting(), keep=Keep.ALL)
    assert (item.state, at.files()) == (ItemState.KEPT, {item.file})
    item = await at.settled(item, Wanting())
    assert (item.state, at.files()) == (ItemState.REJECTED, set())


async def test_a_page_that_is_another_items_file_stays_for_that(at: Bench) -> None:
    document = await at.settled(at.fetched(TWO_PAGES, "document"), Wanting(2))
    (page,) = at.kept.of(document.sha256 or "").values()
    image = at.fetched(at.blobs.read(page.file), "image")
    assert image.file == page.file
    await at.settled(document, Wanting(model="newer"))
    assert at.files() == {image.file}


async def test_an_image_that_is_a_page_of_another_item_stays_for_that(at: Bench) -> None:
    document = await at.settled(at.fetched(TWO_PAGES, "document"), Wanting(2))
    (page,) = at.kept.of(document.sha256 or "").values()
    image = at.fetched(at.blobs.read(page.file), "image")
    assert (await at.settled(image, CountingClassifier(wants=wants()))).state is ItemState.REJECTED
    assert at.files() == {document.file, page.file}


# -- failures ----------------------------------------------------------------------------------------------


def make_unreadable(blobs: Blobs) -> None:
    def read(path: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    blobs.read = read  # type: ignore[method-assign]


@pytest.mark.parametrize("data", [MAP, TWO_PAGES])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InferenceFailed("clip failed on this input"), "clip failed on this input"),
        (DeadlineExceeded("its time ran out"), "its time ran out"),
        (ZeroDivisionError("a bug"), "internal error: ZeroDivisionError: a bug"),
    ],
)
async def test_what_cannot_be_judged_again_stays_as_it_was(
    error: Exception, reason: str, data: bytes, at: Bench
) -> None:
    before = await at.settled(at.fetched(data), Wanting(2))
    files, kept = at.files(), at.kept.of(before.sha256 or "")
    item = await at.settled(before, Failing(error))
    assert item == replace(before, error=f"could not be judged again: {reason}")
    assert (at.files(), at.kept.of(item.sha256 or "")) == (files, kept)
    item = await at.settled(item, Wanting(2, model="newer"))
    assert item == replace(before, model="newer")


async def test_what_was_kept_without_a_judge_stays_when_one_fails(at: Bench) -> None:
    before = await at.settled(at.fetched(MAP), None, keep=Keep.ALL)
    item = await at.settled(before, Unsure("newer"))
    assert (item.state, item.model, at.files()) == (ItemState.KEPT, None, {before.file})
    assert (await at.settled(item, CountingClassifier("newer"))).model == "newer"


async def test_what_cannot_be_read_for_a_moment_stays(at: Bench) -> None:
    before = await at.settled(at.fetched(MAP), CountingClassifier())
    settling = at.settling(CountingClassifier(model="newer"))
    make_unreadable(at.blobs)
    await settling.settle(before)
    error = "could not be judged again: the file cannot be read: Permission denied"
    assert at.documents.item(before.url) == replace(before, error=error)
    assert at.files() == {before.file}


async def test_what_is_fetched_and_cannot_be_read_fails(at: Bench) -> None:
    item = at.fetched(MAP)
    make_unreadable(at.blobs)
    assert (await at.settled(item, CountingClassifier())).state is ItemState.FAILED


class Unsure(CountingClassifier):
    """Finds an error in every file."""

    code = "image_too_large"

    async def judge(self, data: bytes, sha256: str) -> Classification:
        self.seen.append(sha256)
        return Classification(sha256, self.model, 0, code=self.code, error="no good")


@pytest.mark.parametrize("code", ["image_too_large", "invalid_image", "unsupported_image"])
@pytest.mark.parametrize("keep", [Keep.ALL, Keep.WOULD_DOWNLOAD])
async def test_what_a_newer_judge_finds_no_picture_in_stays(code: str, keep: Keep, at: Bench) -> None:
    before = await at.settled(at.fetched(MAP), CountingClassifier())
    judge = Unsure("newer")
    judge.code = code
    for run in (1, 2):
        item = await at.settled(at.documents.item(before.url), judge, keep=keep)
        assert item == replace(before, error="could not be judged again: no good")
        assert len(judge.seen) == run
    assert at.files() == {before.file}
    assert (await at.settled(item, CountingClassifier("newer"))).model == "newer"


async def test_what_cannot_be_judged_is_tried_once_a_run(at: Bench) -> None:
    first, second = [await at.settled(at.fetched(MAP, name), CountingClassifier()) for name in "ab"]
    failed = await at.settled(at.fetched(MAP, "c"), Unsure("newer"))
    assert failed.state is ItemState.FAILED
    judge = Unsure("newer")
    settling = at.settling(judge)
    for each in (first, second):
        await settling.settle(each)
    assert len(judge.seen) == 1
    failed = settling.forget_failure(failed)
    assert not settling.must_fetch(failed)
    await settling.settle(failed)
    assert at.documents.item(failed.url).error == "no good"
    assert len(judge.seen) == 1


# -- damage ------------------------------------------------------------------------------------------------


def came(at: Bench, data: bytes) -> dict[str, Any]:
    """What changes of an item when its bytes are fetched."""
    sha256 = at.blobs.digest(data)
    return {"state": ItemState.FETCHED, "error": None, "file": at.blobs.put(data, sha256, kind_of(data)[1])}


async def test_a_damaged_document_goes_and_its_pages_stay_until_it_is_here_again(
    at: Bench, tmp_path: Path
) -> None:
    before = await at.settled(at.fetched(TWO_PAGES), Wanting(2))
    (page,) = at.kept.of(before.sha256 or "").values()
    (tmp_path / (before.file or "")).write_bytes(b"other")
    judge = Wanting(2, model="newer")
    item = await at.settled(before, judge)
    assert (item.state, item.file, at.files()) == (ItemState.FAILED, None, {page.file})
    settling = at.settling(judge)
    settling.clear()
    item = settling.forget_failure(item)
    assert settling.must_fetch(item)
    assert at.files() == {page.file}
    item = await at.settled(replace(item, **came(at, TWO_PAGES)), judge)
    assert (item.state, item.model) == (ItemState.KEPT, "newer")
    assert list(at.kept.of(item.sha256 or "").values()) == [page]
    assert at.files() == {item.file, page.file}


async def test_pages_of_what_failed_go_when_a_newer_judge_does_not_want_them(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), Wanting(2))
    at.blobs.remove(item.file or "")
    item = await at.settled(replace(item, **came(at, TWO_PAGES)), Unsure("newer"))
    assert (item.state, item.model, len(at.files())) == (ItemState.FAILED, "counting", 1)
    item = await at.settled(replace(item, **came(at, TWO_PAGES)), Wanting(model="newest"))
    assert (item.state, at.files()) == (ItemState.REJECTED, set())


async def test_pages_of_what_failed_go_when_it_need_not_be_fetched_for_that(
    at: Bench, tmp_path: Path
) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), Wanting(2))
    (tmp_path / (item.file or "")).write_bytes(b"other")
    newer = Wanting(model="newer")
    item = await at.settled(item, newer)
    assert len(at.files()) == 1
    await at.settled(at.fetched(TWO_PAGES, "elsewhere"), newer)
    settling = at.settling(newer)
    item = settling.forget_failure(item)
    assert not settling.must_fetch(item)
    await settling.settle(item)
    assert (at.documents.item(item.url).state, at.files()) == (ItemState.REJECTED, set())


async def test_damage_in_what_two_share_is_made_good_by_either(at: Bench, tmp_path: Path) -> None:
    here, there = [
        await at.settled(at.fetched(MAP, name), CountingClassifier()) for name in ("here", "there")
    ]
    (tmp_path / (here.file or "")).write_bytes(b"other")
    newer = CountingClassifier("newer")
    assert (await at.settled(here, newer)).state is ItemState.FAILED
    assert at.files() == set()
    assert at.settling(newer).must_fetch(there)


async def test_a_dry_run_leaves_what_is_damaged(at: Bench, tmp_path: Path) -> None:
    before = await at.settled(at.fetched(MAP), CountingClassifier())
    (tmp_path / (before.file or "")).write_bytes(b"other")
    assert await at.settled(before, CountingClassifier("newer"), dry_run=True) == before
    assert at.files() == {before.file}


# -- pages that were not looked at -------------------------------------------------------------------------


class Hurried(CountingClassifier):
    """Looks at some of three pages only, and wants the even ones."""

    pages: tuple[int, ...] = (1, 2)

    async def judge(self, data: bytes, sha256: str) -> Classification:
        self.seen.append(sha256)
        verdicts = tuple(PageResult(n, "maps", 0.9, {"maps": 0.9}, n % 2 == 0) for n in self.pages)
        if not any(each.would_download for each in verdicts):
            return Classification(sha256, self.model, 3, code="invalid_image", error="too slow")
        if len(verdicts) == 3:
            return Classification(sha256, self.model, 3, verdicts)
        return Classification(sha256, self.model, 3, verdicts, code="invalid_image", note="too slow for all")


async def test_a_document_seen_in_part_is_looked_at_again_if_that_is_asked_for(at: Bench) -> None:
    judge = Hurried()
    item = await at.settled(at.fetched(THREE_PAGES), judge)
    assert (item.state, item.error) == (ItemState.KEPT, "too slow for all")
    item = await at.settled(item, judge)
    assert len(judge.seen) == 1
    judge.pages = (1, 3)  # the map is missed this time
    settling = at.settling(judge, judge_again=True)
    for _ in range(2):
        await settling.settle(item)
    assert len(judge.seen) == 2, "once in a run"
    assert at.documents.item(item.url) == item
    assert set(at.kept.of(item.sha256 or "")) == {2}
    judge.pages = (2, 3)
    assert (await at.settled(item, judge, judge_again=True)).error == "too slow for all"
    assert [each.page for each in at.found(item).verdicts] == [1, 2, 3]
    judge.pages = (1, 2, 3)
    assert (await at.settled(item, judge, judge_again=True)).error is None
    await at.settled(item, judge, judge_again=True)
    assert len(judge.seen) == 4, "there is nothing left to see"


async def test_what_was_let_go_and_seen_in_part_is_fetched_if_that_is_asked_for(at: Bench) -> None:
    judge = Hurried()
    item = await at.settled(at.fetched(THREE_PAGES), judge, keep=Keep.NONE)
    assert item.state is ItemState.CLASSIFIED
    assert not at.settling(judge, keep=Keep.NONE).must_fetch(item)
    assert at.settling(judge, keep=Keep.NONE, judge_again=True).must_fetch(item)
