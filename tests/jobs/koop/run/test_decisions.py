"""Judged once, kept or let go."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rig import CountingClassifier
from workbench import MAP, SIGN, TWO_PAGES, Bench, Failing, SecondPages, wants

from sightline.errors import InferenceFailed, ModelBroken
from sightline.imaging.pdf import PdfLimits, is_pdf
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState, Keep
from sightline.jobs.koop.run.classifier import PageLimits
from sightline.jobs.koop.store.results import Classification, Fingerprints, PageResult

# -- decisions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wanted", "state"),
    [
        ({}, True, ItemState.KEPT),
        ({}, False, ItemState.REJECTED),
        ({"keep": Keep.ALL}, False, ItemState.KEPT),
        ({"keep": Keep.NONE}, True, ItemState.CLASSIFIED),
        ({"dry_run": True}, True, ItemState.CLASSIFIED),
        ({"dry_run": True, "keep": Keep.ALL}, True, ItemState.CLASSIFIED),
    ],
)
async def test_verdict_and_rule_decide(
    options: dict[str, Any], wanted: bool, state: ItemState, at: Bench
) -> None:
    judge = CountingClassifier(wants=lambda data: wanted)
    item = await at.settled(at.fetched(MAP), judge, **options)
    assert (item.state, item.model) == (state, "counting")
    assert at.files() == ({item.file} if state is ItemState.KEPT else set())
    assert (item.file is not None) is (state is ItemState.KEPT)


async def test_without_a_judge_everything_stays(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), None, keep=Keep.ALL)
    assert (item.state, item.model) == (ItemState.KEPT, None)
    (kept,) = at.kept.of(item.sha256 or "").values()
    assert (kept.page, kept.file, kept.width) == (0, item.file, None)


async def test_the_size_of_a_kept_image_is_known(at: Bench) -> None:
    item = await at.settled(at.fetched(MAP), CountingClassifier())
    (kept,) = at.kept.of(item.sha256 or "").values()
    assert (kept.width, kept.height, kept.num_bytes) == (160, 110, len(MAP))


@pytest.mark.parametrize(
    ("code", "keep", "state"),
    [
        ("unsupported_image", Keep.WOULD_DOWNLOAD, ItemState.SKIPPED),
        ("unsupported_image", Keep.ALL, ItemState.KEPT),
        ("invalid_image", Keep.WOULD_DOWNLOAD, ItemState.FAILED),
        ("invalid_image", Keep.ALL, ItemState.FAILED),
    ],
)
async def test_what_is_no_picture_is_skipped_and_what_is_broken_fails(
    code: str, keep: Keep, state: ItemState, at: Bench
) -> None:
    class Complaining(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            return Classification(sha256, self.model, 0, code=code, error="no good")

    item = await at.settled(at.fetched(b"PK"), Complaining(), keep=keep)
    assert (item.state, item.error) == (state, "no good")
    assert bool(at.files()) is (state is ItemState.KEPT)


# -- pages -------------------------------------------------------------------------------------------------


async def test_pages_that_are_wanted_are_drawn_and_the_document_stays(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), SecondPages())
    kept = at.kept.of(item.sha256 or "")
    assert list(kept) == [2]
    assert at.files() == {item.file, kept[2].file}
    assert kept[2].file.endswith(".png")
    assert kept[2].width


async def test_pages_stay_where_nobody_judges(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), SecondPages(), keep=Keep.ALL)
    files, kept = at.files(), at.kept.of(item.sha256 or "")
    item = await at.settled(item, None, keep=Keep.ALL)
    assert item.state is ItemState.KEPT
    assert (at.files(), at.kept.of(item.sha256 or "")) == (files, kept)
    assert list(kept) == [2]


async def test_a_lost_page_is_drawn_again(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), SecondPages())
    (page,) = at.kept.of(item.sha256 or "").values()
    at.blobs.remove(page.file)
    await at.settled(item, SecondPages())
    assert at.blobs.has(page.file)


async def test_a_page_that_cannot_be_drawn_is_noted(at: Bench) -> None:
    item = await at.settled(at.fetched(b"%PDF-1.4 broken"), SecondPages())
    assert item.state is ItemState.KEPT
    assert "not every page could be drawn" in (item.error or "")


async def test_letting_a_document_go_takes_its_pages_along(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), SecondPages())
    newer = CountingClassifier(model="newer", wants=lambda data: False)
    item = await at.settled(item, newer)
    assert (item.state, item.model) == (ItemState.REJECTED, "newer")
    assert at.files() == set()


# -- once --------------------------------------------------------------------------------------------------


async def test_the_same_bytes_are_judged_once_even_at_once(at: Bench) -> None:
    judge = CountingClassifier(wants=wants(MAP))
    settling = at.settling(judge)
    items = [at.fetched(MAP, str(number)) for number in range(20)]
    await asyncio.gather(*(settling.settle(each) for each in items))
    assert len(judge.seen) == 1
    assert len(at.files()) == 1
    assert at.counts.count_items() == {}  # none is placed, yet all are settled
    assert {at.documents.item(each.url).state for each in items} == {ItemState.KEPT}


async def test_a_file_goes_with_the_last_that_needs_it(at: Bench) -> None:
    first, second = at.fetched(SIGN, "1"), at.fetched(SIGN, "2")
    settling = at.settling(CountingClassifier(wants=wants()))
    await settling.settle(first)
    assert at.files() == {second.file}
    await settling.settle(second)
    assert at.files() == set()


async def test_a_newer_model_judges_what_is_here(at: Bench) -> None:
    item = await at.settled(at.fetched(MAP), CountingClassifier())
    newer = CountingClassifier(model="newer")
    assert not at.settling(newer).must_fetch(item)
    item = await at.settled(item, newer)
    assert (item.model, len(newer.seen)) == ("newer", 1)
    older = CountingClassifier()
    await at.settled(item, older)
    assert older.seen == []


async def test_what_was_let_go_keeps_its_older_verdict(at: Bench) -> None:
    item = await at.settled(at.fetched(SIGN), CountingClassifier(wants=wants()))
    newer = CountingClassifier(model="newer")
    assert not at.settling(newer).must_fetch(item)
    item = await at.settled(item, newer)
    assert (item.state, item.model, newer.seen) == (ItemState.REJECTED, "counting", [])


@pytest.mark.parametrize(
    ("options", "must"), [({}, False), ({"keep": Keep.ALL}, True), ({"keep": Keep.NONE}, False)]
)
async def test_bytes_are_fetched_again_if_a_rule_wants_them_back(
    options: dict[str, Any], must: bool, at: Bench
) -> None:
    item = await at.settled(at.fetched(SIGN), CountingClassifier(wants=wants()))
    assert at.settling(CountingClassifier(), **options).must_fetch(item) is must


async def test_new_items_must_be_fetched_and_hopeless_ones_not(at: Bench) -> None:
    settling = at.settling(CountingClassifier())
    item = Item("https://host/x", ItemKind.ILLUSTRATION)
    assert settling.must_fetch(item)
    assert not settling.must_fetch(replace(item, state=ItemState.FAILED))
    assert not settling.must_fetch(replace(item, state=ItemState.GONE))
    kept = await at.settled(at.fetched(MAP), CountingClassifier())
    at.blobs.remove(kept.file or "")
    assert settling.must_fetch(kept)  # somebody deleted it


async def test_pages_are_drawn_again_at_another_resolution(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), SecondPages())
    (small,) = at.kept.of(item.sha256 or "").values()
    judge = SecondPages()
    settling = at.settling(judge, pages=PageLimits(PdfLimits(), 50.0, 120.0))
    assert not settling.must_fetch(item)
    await settling.settle(item)
    (large,) = at.kept.of(item.sha256 or "").values()
    assert large.width == pytest.approx(2 * (small.width or 0), abs=2)
    assert judge.seen == []  # the verdict stands
    assert at.files() == {item.file, large.file}


async def test_a_page_that_cannot_be_drawn_again_stays_as_it_was(at: Bench) -> None:
    item = await at.settled(at.fetched(TWO_PAGES), SecondPages())
    (small,) = at.kept.of(item.sha256 or "").values()
    pages = PageLimits(PdfLimits(max_bytes=1), 50.0, 120.0)
    await at.settling(SecondPages(), pages=pages).settle(item)
    assert list(at.kept.of(item.sha256 or "").values()) == [small]
    assert at.files() == {item.file, small.file}


async def test_verdicts_on_documents_and_on_images_are_told_apart(at: Bench) -> None:
    class Drawing(CountingClassifier):
        @property
        def fingerprints(self) -> Fingerprints:
            return Fingerprints("images", self.model)

        async def judge(self, data: bytes, sha256: str) -> Classification:
            found = await super().judge(data, sha256)
            return replace(found, model=self.fingerprints.of("application/pdf" if is_pdf(data) else None))

    everything = {"keep": Keep.ALL}
    image, document = at.fetched(MAP, "a"), at.fetched(TWO_PAGES, "b")
    for each in (image, document):
        await at.settled(each, Drawing("at 100 dpi"), **everything)
    judge = Drawing("at 150 dpi")
    for each in (image, document):
        item = at.documents.item(each.url)
        assert at.settling(judge).is_outdated(item) is (each is document)
        await at.settled(item, judge, **everything)
    assert judge.seen == [document.sha256]
    assert at.documents.item(document.url).model == "at 150 dpi"


# -- trouble -----------------------------------------------------------------------------------------------


async def test_a_failure_of_the_model_is_the_items_and_can_be_forgotten(at: Bench) -> None:
    item = await at.settled(at.fetched(MAP), Failing(InferenceFailed("clip failed on this input")))
    assert (item.state, item.error, item.file) == (ItemState.FAILED, "clip failed on this input", None)
    item = at.settling(CountingClassifier()).forget_failure(item)
    assert (item.state, item.error) == (ItemState.PENDING, None)
    assert at.settling(CountingClassifier()).must_fetch(item)


async def test_a_bug_is_the_items_and_is_logged(at: Bench, caplog: pytest.LogCaptureFixture) -> None:
    item = await at.settled(at.fetched(MAP), Failing(ZeroDivisionError("a bug")))
    assert (item.state, item.error) == (ItemState.FAILED, "internal error: ZeroDivisionError: a bug")
    assert "Traceback" in caplog.text


async def test_being_cancelled_is_no_failure(at: Bench) -> None:
    class Cancelled(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            raise asyncio.CancelledError

    item = at.fetched(MAP)
    with pytest.raises(asyncio.CancelledError):
        await at.settling(Cancelled()).settle(item)
    assert at.documents.item(item.url) == item


async def test_a_broken_judgement_is_forgotten_with_its_failure(at: Bench) -> None:
    class Complaining(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            return Classification(sha256, self.model, 0, code="invalid_image", error="torn")

    item = await at.settled(at.fetched(MAP), Complaining())
    at.settling(CountingClassifier()).forget_failure(item)
    assert (await at.settled(at.fetched(MAP), CountingClassifier())).state is ItemState.KEPT


async def test_a_model_that_is_gone_ends_the_run_and_changes_nothing(at: Bench) -> None:
    item = at.fetched(MAP)
    with pytest.raises(RunEnded):
        await at.settled(item, Failing(RunEnded(str(ModelBroken("clip is broken")))))
    assert at.documents.item(item.url) == item
    assert at.files() == {item.file}


async def test_a_file_that_was_damaged_here_fails_and_goes(at: Bench, tmp_path: Path) -> None:
    item = at.fetched(MAP)
    (tmp_path / (item.file or "")).write_bytes(b"other")
    item = await at.settled(item, CountingClassifier())
    assert item.state is ItemState.FAILED
    assert "damaged on this machine" in (item.error or "")
    assert at.files() == set()


async def test_a_page_that_cannot_be_drawn_does_not_cost_those_after_it(at: Bench) -> None:
    class Imagining(CountingClassifier):
        """Wants a page that is not there, and then one that is."""

        async def judge(self, data: bytes, sha256: str) -> Classification:
            verdicts = tuple(PageResult(n, "maps", 0.9, {"maps": 0.9}, would_download=True) for n in (0, 2))
            return Classification(sha256, self.model, 2, verdicts)

    item = await at.settled(at.fetched(TWO_PAGES), Imagining())
    assert set(at.kept.of(item.sha256 or "")) == {2}
    assert "no page 0" in (item.error or "")
