"""Runs after runs whose judge fails, or is another: what was kept stays, and what failed is tried again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from koopserver import Attachment, Decision, KoopServer, faults, pdf, quirks
from rig import CountingClassifier, Rig
from workbench import Wanting

from sightline.errors import InferenceFailed
from sightline.imaging.pdf import PdfLimits
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.output.summary import status_of
from sightline.jobs.koop.run.classifier import PageLimits
from sightline.jobs.koop.run.decisions import Decisions
from sightline.jobs.koop.store.folder import STATE_NAME
from sightline.jobs.koop.store.results import Classification
from sightline.jobs.koop.store.state import DayState, State

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=2)


@pytest.fixture
def rig(koop_server: Callable[..., KoopServer], tmp_path: Path) -> Rig:
    """A decision a day, with a document of three pages."""
    koop = koop_server(decisions_per_day=1)
    koop.alter(".*", lambda decision: quirks.map_on_page_two(quirks.bare(decision)))
    return Rig(koop, tmp_path / "out", Wanting(2))


class Down(CountingClassifier):
    """Fails on everything."""

    async def judge(self, data: bytes, sha256: str) -> Classification:
        self.seen.append(sha256)
        raise InferenceFailed("out of memory")


class Strict(CountingClassifier):
    """Finds every file larger than its limits."""

    async def judge(self, data: bytes, sha256: str) -> Classification:
        self.seen.append(sha256)
        return Classification(sha256, self.model, 0, code="image_too_large", error="too many pixels")


class Stopped(CountingClassifier):
    """The process ends when the first file is to be judged."""

    async def judge(self, data: bytes, sha256: str) -> Classification:
        raise RunEnded("killed")


def names(rig: Rig) -> set[str]:
    """The files that the manifest names."""
    return {line[key] for line in rig.manifest() for key in ("file", "source_file") if line[key]}


# -- what was kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("judge", [Down("newer"), Strict("newer")])
async def test_what_a_newer_judge_fails_on_stays_and_the_day_says_so(
    judge: CountingClassifier, rig: Rig
) -> None:
    await rig.run(FIRST)
    blobs, before = rig.blobs(), rig.manifest()
    assert len(blobs) == 2
    rig.judge = judge
    (day,) = await rig.run(FIRST)
    assert (day.state, day.error) == (DayState.PARTIAL, "1 new verdict failed")
    assert (rig.blobs(), names(rig)) == (blobs, blobs)
    (error,) = {line["error"] for line in rig.manifest()}
    assert error.startswith("could not be judged again: ")
    assert [{**line, "error": None} for line in rig.manifest()] == before
    with State(rig.out / STATE_NAME, read_only=True) as state:
        (trouble,) = status_of(state).unsound[0].troubles
    assert trouble[1] == error
    requests = len(rig.koop.log)
    rig.judge = Wanting(2, model="newer")
    (day,) = await rig.run(FIRST, retry_failed=True)
    assert (day.state, day.error) == (DayState.COMPLETE, None)
    assert {(line["model"], line["error"]) for line in rig.manifest()} == {("newer", None)}
    assert (rig.blobs(), len(rig.koop.log)) == (blobs, requests)


async def test_a_damaged_document_is_fetched_again_and_its_page_is_there_meanwhile(rig: Rig) -> None:
    await rig.run(FIRST)
    ((document,),) = rig.query("SELECT file FROM items")
    blobs = rig.blobs()
    (rig.out / document).write_bytes(b"other")
    rig.judge = Wanting(2, model="newer")
    (day,) = await rig.run(FIRST)
    assert day.state is DayState.PARTIAL
    assert rig.blobs() == names(rig) == blobs - {document}
    rig.koop.fail("bijlage", faults.status(403), times=1)
    (day,) = await rig.run(FIRST, retry_failed=True)
    assert day.state is DayState.PARTIAL
    assert rig.blobs() == names(rig) == blobs - {document}
    rig.koop.heal()
    (day,) = await rig.run(FIRST, retry_failed=True)
    assert day.state is DayState.COMPLETE
    assert rig.blobs() == names(rig) == blobs


@pytest.mark.parametrize(("keep", "pages"), [(Keep.ALL, (2,)), (Keep.ALL, ()), (Keep.WOULD_DOWNLOAD, (2,))])
async def test_what_was_kept_without_a_judge_is_what_one_would_have_kept(
    keep: Keep, pages: tuple[int, ...], rig: Rig
) -> None:
    rig.judge = None
    await rig.run(FIRST, keep=Keep.ALL)
    rig.judge = Wanting(*pages)
    await rig.run(FIRST, keep=keep)
    fresh = Rig(rig.koop, rig.out.parent / "fresh", Wanting(*pages))
    await fresh.run(FIRST, keep=keep)
    assert rig.blobs() == fresh.blobs() == names(rig)
    assert rig.manifest_bytes() == fresh.manifest_bytes()


async def test_days_that_share_a_document_keep_the_pages_of_their_own_verdicts(rig: Rig) -> None:
    same = pdf.pdf("text", "map", "map", seed=9)
    rig.koop.alter(".*", quirks.attached(same))
    await rig.run(FIRST, LAST)
    rig.judge = Wanting(3, model="newer")
    await rig.run(LAST)
    have = {(line["day"], line["page"]) for line in rig.manifest() if line["file"]}
    assert have == {("2024-06-03", 2), ("2024-06-04", 2), ("2024-06-05", 3)}
    assert rig.blobs() == names(rig)


async def test_pages_that_were_to_go_when_the_process_ended_do(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Decisions, path: str) -> None:
        raise RunEnded("killed")

    await rig.run(FIRST)
    rig.pages = PageLimits(PdfLimits(), 100.0, 150.0)
    with monkeypatch.context() as patches:
        patches.setattr(Decisions, "_remove", killed)
        with pytest.raises(RunEnded):
            await rig.run(FIRST)
    assert len(rig.blobs()) == 3
    await rig.run(FIRST)
    assert rig.blobs() == names(rig)
    assert len(rig.blobs()) == 2


async def test_the_verdicts_of_a_dry_run_do_not_get_into_what_was_decided(rig: Rig) -> None:
    rig.judge = Wanting()
    await rig.run(FIRST)
    before = rig.manifest()
    assert {line["state"] for line in before} == {"rejected"}
    await rig.run(FIRST, dry_run=True)
    await rig.run(LAST)
    assert [line for line in rig.manifest() if line["day"] == FIRST.isoformat()] == before


# -- what had failed ---------------------------------------------------------------------------------------


async def test_what_failed_by_another_judge_is_tried_again_unasked(rig: Rig) -> None:
    rig.judge = Strict("narrow")
    (day,) = await rig.run(FIRST)
    assert (day.state, day.error) == (DayState.PARTIAL, "1 file failed")
    assert await rig.run(FIRST) == []
    rig.judge = Wanting(2, model="wide")
    (day,) = await rig.run(FIRST)
    assert day.state is DayState.COMPLETE
    assert {(line["state"], line["model"]) for line in rig.manifest()} == {("kept", "wide")}


def share_one(koop: KoopServer, *pictures: str) -> None:
    """Have all decisions the same attachment, after such pictures."""
    first = koop.decisions(FIRST)[0]
    shared = Attachment("Situatie.pdf", f"exb-2024-{first.number}1", lambda: pdf.pdf("map", seed=9))

    def alteration(decision: Decision) -> Decision:
        return replace(quirks.illustrated(*pictures)(quirks.bare(decision)), attachments=(shared,))

    koop.alter(".*", alteration)


async def test_what_cannot_be_fetched_is_asked_for_once_a_run(koop: KoopServer, tmp_path: Path) -> None:
    share_one(koop)
    koop.fail("/bijlage/", faults.status(403), times=math.inf)
    rig = Rig(koop, tmp_path / "out")
    for options in ({}, {"retry_failed": True}):
        before = len(koop.log)
        (day,) = await rig.run(FIRST, at_once=1, **options)
        assert (day.state, day.error) == (DayState.PARTIAL, "1 file failed")
        assert len([each for each in koop.log[before:] if "/bijlage/" in each.url]) == 1


async def test_what_cannot_be_judged_is_tried_once_a_run(koop: KoopServer, tmp_path: Path) -> None:
    share_one(koop, "map")  # the picture of the second is fetched while the attachment of the first is judged
    rig = Rig(koop, tmp_path / "out", Down())
    await rig.run(FIRST, at_once=1)
    rig.judge = Down()
    (day,) = await rig.run(FIRST, at_once=1, retry_failed=True)
    assert day.error == "4 files failed"
    assert sorted(set(rig.judge.seen)) == sorted(rig.judge.seen)


# -- what was not looked at --------------------------------------------------------------------------------


class Hasty(Wanting):
    """Has no time for the last page, once."""

    hurries = True

    async def judge(self, data: bytes, sha256: str) -> Classification:
        found = await super().judge(data, sha256)
        if not self.hurries:
            return found
        note = "page 3 was not looked at"
        return replace(found, verdicts=found.verdicts[:2], code="invalid_image", note=note)


@pytest.mark.parametrize("keep", [Keep.WOULD_DOWNLOAD, Keep.NONE])
async def test_pages_that_were_not_looked_at_are_if_that_is_asked_for(keep: Keep, rig: Rig) -> None:
    rig.judge = judge = Hasty(2, 3)
    (day,) = await rig.run(FIRST, keep=keep)
    assert day.state is DayState.COMPLETE
    assert {line["error"] for line in rig.manifest()} == {"page 3 was not looked at"}
    judge.hurries = False
    assert await rig.run(FIRST, keep=keep) == []
    assert len(await rig.run(FIRST, keep=keep, judge_again=True)) == 1
    fresh = Rig(rig.koop, rig.out.parent / "fresh", Wanting(2, 3))
    await fresh.run(FIRST, keep=keep)
    assert rig.manifest_bytes() == fresh.manifest_bytes()
    assert rig.blobs() == fresh.blobs()
    assert await rig.run(FIRST, keep=keep, judge_again=True) == []


# -- without attachments -----------------------------------------------------------------------------------


async def without_attachments(rig: Rig, **options: Any) -> None:
    (day,) = await rig.run(FIRST, attachments=False, **options)
    assert (day.state, day.failed) == (DayState.COMPLETE, 0)
    assert {(line["state"], line["error"]) for line in rig.manifest()} == {("skipped", "an attachment")}
    assert rig.blobs() == set()
    rig.koop.heal()
    (day,) = await rig.run(FIRST)
    assert (day.state, day.kept) == (DayState.COMPLETE, 1)


async def test_attachments_that_had_been_fetched_are_not_left_lying(rig: Rig) -> None:
    judge, rig.judge = rig.judge, Stopped()
    with pytest.raises(RunEnded):
        await rig.run(FIRST)
    assert len(rig.blobs()) == 1
    rig.judge = judge
    await without_attachments(rig)


async def test_attachments_that_failed_are_not_missed(rig: Rig) -> None:
    rig.koop.fail(r"\.pdf", faults.status(403), times=math.inf)
    (day,) = await rig.run(FIRST)
    assert day.state is DayState.PARTIAL
    await without_attachments(rig, retry_failed=True)
