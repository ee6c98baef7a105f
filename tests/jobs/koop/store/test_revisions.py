"""What the archive changes after a day was done: decisions, files under the same URLs, what is not there."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from koopserver import Decision, Illustration, KoopServer, Request, Response, faults, quirks
from koopserver.pdf import pdf
from koopserver.pictures import picture
from rig import TODAY, CountingClassifier, Rig

from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.run.progress import DayEnded
from sightline.jobs.koop.store.state import DayState

OLD = date(2024, 6, 3)
LATER = TODAY + timedelta(days=10)


class Edited:
    """One decision a day with two pictures, that can be changed."""

    def __init__(self, koop: KoopServer) -> None:
        self.title = "first"
        self.seeds = [5, 6]
        self.attachment: bytes | None = None
        self.label = "bijlage"
        koop.alter("gmb", self._edited)

    def _edited(self, decision: Decision) -> Decision:
        decision = quirks.bare(decision)
        if self.attachment is not None:
            decision = quirks.attached(self.attachment, label=self.label)(decision)
        made = tuple(
            Illustration(f"{decision.identifier}-{at}.png", lambda seed=seed: picture("map", seed))
            for at, seed in enumerate(self.seeds, 1)
        )
        return replace(decision, title=self.title, illustrations=made)


def tagged(request: Request, response: Response) -> Response:
    """With an etag, and 304 to whoever has it."""
    tag = f'"{hashlib.sha256(response.body).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(b"", 304, (("ETag", tag),))
    return replace(response, headers=(*response.headers, ("ETag", tag)))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def map_of(seed: int) -> str:
    return digest(picture("map", seed))


@pytest.fixture
def rig(koop_server: Any, tmp_path: Path) -> Rig:
    return Rig(
        koop_server(decisions_per_day=1), tmp_path / "out", CountingClassifier(wants=lambda data: True)
    )


@pytest.fixture
def edited(rig: Rig) -> Edited:
    return Edited(rig.koop)


def asked(rig: Rig, before: int) -> list[str]:
    """Files asked for since, without searches and texts."""
    urls = [each.url for each in list(rig.koop.log)[before:]]
    return [url for url in urls if "/sru" not in url and not url.endswith(".xml")]


def statuses(rig: Rig, before: int) -> list[int]:
    return [each.status for each in list(rig.koop.log)[before:] if each.url.endswith(".png")]


def digests(rig: Rig) -> list[str]:
    return [line["sha256"] for line in rig.manifest()]


def doubts(rig: Rig) -> list[str]:
    return [doubt for (doubt,) in rig.query("SELECT doubt FROM items WHERE doubt IS NOT NULL")]


# -- files of decisions that were changed ------------------------------------------------------------------


@pytest.mark.parametrize("keep", [Keep.WOULD_DOWNLOAD, Keep.NONE])
async def test_another_picture_under_the_same_url_is_fetched(keep: Keep, rig: Rig, edited: Edited) -> None:
    await rig.run(TODAY, keep=keep)
    assert digests(rig) == [map_of(5), map_of(6)]
    edited.title, edited.seeds = "second", [7, 6]
    (day,) = await rig.run(TODAY, keep=keep)
    assert day.state is DayState.COMPLETE
    assert digests(rig) == [map_of(7), map_of(6)]
    fresh = Rig(rig.koop, rig.out.parent / "fresh", CountingClassifier(wants=lambda data: True))
    await fresh.run(TODAY, keep=keep)
    assert rig.manifest() == fresh.manifest()
    assert rig.blobs() == fresh.blobs()
    before = len(rig.koop.log)
    await rig.run(TODAY, keep=keep)
    assert asked(rig, before) == []
    assert doubts(rig) == []


async def test_pictures_with_an_etag_that_are_the_same_are_not_sent_again(rig: Rig, edited: Edited) -> None:
    rig.koop.fail(r"\.png$", tagged, times=math.inf)
    await rig.run(TODAY)
    before, manifest = len(rig.koop.log), [{**line, "title": ""} for line in rig.manifest()]
    edited.title = "second"
    await rig.run(TODAY)
    assert statuses(rig, before) == [304, 304]
    assert [{**line, "title": ""} for line in rig.manifest()] == manifest
    before = len(rig.koop.log)
    edited.title, edited.seeds = "third", [5, 8]
    await rig.run(TODAY)
    assert statuses(rig, before) == [304, 200]
    assert digests(rig) == [map_of(5), map_of(8)]


async def test_what_was_let_go_is_asked_for_too(rig: Rig, edited: Edited) -> None:
    rig.koop.fail(r"\.png$", tagged, times=math.inf)
    wanted = digest(picture("map", 9))
    rig.judge = CountingClassifier(wants=lambda data: digest(data) == wanted)
    await rig.run(TODAY)
    assert rig.blobs() == set()
    edited.title, edited.seeds = "second", [5, 9]
    before = len(rig.koop.log)
    await rig.run(TODAY)
    assert statuses(rig, before) == [304, 200]
    assert [line["state"] for line in rig.manifest()] == ["rejected", "kept"]


async def test_an_attachment_that_was_replaced_is_fetched(rig: Rig, edited: Edited) -> None:
    edited.attachment, edited.seeds = pdf("map", seed=1), []
    await rig.run(TODAY)
    edited.attachment, edited.title = pdf("map", seed=2), "second"
    await rig.run(TODAY)
    (line,) = rig.manifest()
    assert line["sha256"] == digest(pdf("map", seed=2))
    assert {Path(path).stem for path in rig.blobs()} >= {line["sha256"]}
    assert digest(pdf("map", seed=1)) not in {Path(path).stem for path in rig.blobs()}


async def test_an_etag_counts_where_it_was_given(rig: Rig, edited: Edited) -> None:
    """An attachment that was replaced may lie elsewhere, and its host may give all files the same etag."""

    def the_same(request: Request, response: Response) -> Response:
        if request.headers.get("if-none-match") == '"v1"':
            return Response(b"", 304)
        return replace(response, headers=(*response.headers, ("ETag", '"v1"')))

    rig.koop.fail("/bijlage/|/nieuw/", the_same, times=math.inf)
    edited.attachment, edited.seeds = pdf("map", seed=1), []
    await rig.run(TODAY)
    edited.attachment, edited.label, edited.title = pdf("map", seed=2), "nieuw", "second"
    await rig.run(TODAY)
    assert digests(rig) == [digest(pdf("map", seed=2))]


async def test_one_that_cannot_be_asked_for_stays_and_is_asked_for_when_failures_are(
    rig: Rig, edited: Edited
) -> None:
    await rig.run(TODAY)
    blobs = rig.blobs()
    edited.title, edited.seeds = "second", [7, 6]
    rig.koop.fail(r"1\.png$", faults.status(403), times=math.inf)
    (day,) = await rig.run(TODAY)
    assert (day.state, day.error, day.failed) == (
        DayState.PARTIAL, "1 file could not be asked for again", 1,
    )  # fmt: skip
    assert (digests(rig), rig.blobs()) == ([map_of(5), map_of(6)], blobs)
    assert [line["state"] for line in rig.manifest()] == ["kept", "kept"]
    rig.koop.heal()
    before = len(rig.koop.log)
    (day,) = await rig.run(TODAY)
    assert (day.state, asked(rig, before)) == (DayState.PARTIAL, [])
    (day,) = await rig.run(TODAY, retry_failed=True)
    assert day.state is DayState.COMPLETE
    assert digests(rig) == [map_of(7), map_of(6)]
    assert doubts(rig) == []


async def test_a_picture_that_is_gone_after_a_change_stays(rig: Rig, edited: Edited) -> None:
    await rig.run(TODAY)
    edited.title = "second"
    rig.koop.fail(r"1\.png$", faults.not_found, times=math.inf)
    (day,) = await rig.run(TODAY)
    assert day.state is DayState.COMPLETE
    assert digests(rig) == [map_of(5), map_of(6)]
    assert {line["file"] for line in rig.manifest()} == rig.blobs()


async def test_what_had_failed_or_gone_is_asked_for_after_a_change(rig: Rig, edited: Edited) -> None:
    rig.koop.fail(r"1\.png$", faults.status(403), times=math.inf)
    rig.koop.fail(r"2\.png$", faults.not_found, times=math.inf)
    await rig.run(OLD, today=OLD + timedelta(days=1))
    rig.koop.heal()
    edited.title = "second"
    (day,) = await rig.run(OLD, today=OLD + timedelta(days=1))
    assert day.state is DayState.COMPLETE
    assert digests(rig) == [map_of(5), map_of(6)]
    assert doubts(rig) == []


async def test_a_dry_run_leaves_files_in_doubt_to_others(rig: Rig, edited: Edited) -> None:
    await rig.run(TODAY)
    blobs, manifest = rig.blobs(), rig.manifest_bytes()
    edited.title, edited.seeds = "second", [7]
    before = len(rig.koop.log)
    await rig.run(TODAY, dry_run=True)
    assert asked(rig, before) == []
    assert (rig.blobs(), rig.manifest_bytes()) == (blobs, manifest)
    await rig.run(TODAY)
    assert digests(rig) == [map_of(7)]
    assert len(rig.blobs()) == 1


async def test_a_run_that_ends_before_the_new_picture_is_judged_keeps_the_old_one(
    rig: Rig, edited: Edited
) -> None:
    from sightline.jobs.describing import RunEnded
    from sightline.jobs.koop.store.results import Classification

    class Broken(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            raise RunEnded("the model is broken")

    await rig.run(TODAY)
    (old, *_) = [line["file"] for line in rig.manifest()]
    edited.title, edited.seeds = "second", [7, 6]
    judge, rig.judge = rig.judge, Broken()
    with pytest.raises(RunEnded):
        await rig.run(TODAY)
    assert old in rig.blobs()
    rig.judge = judge
    await rig.run(OLD)  # which lets nothing go that is still waited for
    assert old in rig.blobs()
    before = len(rig.koop.log)
    await rig.run(TODAY)
    assert map_of(7) in digests(rig)
    assert old not in rig.blobs()
    assert [url for url in asked(rig, before) if url.endswith("1.png")] == []


# -- without a text ----------------------------------------------------------------------------------------


async def test_a_text_that_cannot_be_read_again_costs_nothing_that_is_known(rig: Rig, edited: Edited) -> None:
    edited.attachment = pdf("map", seed=1)
    await rig.run(TODAY)
    blobs = rig.blobs()
    assert len(rig.manifest()) == 3
    edited.title = "second"
    rig.koop.fail(r"\.xml$", faults.status(403), times=math.inf)
    (day,) = await rig.run(TODAY)
    assert (day.state, day.error) == (DayState.PARTIAL, "1 publication failed")
    assert rig.blobs() == blobs
    lines = rig.manifest()
    assert sorted(line["name"][-5:] for line in lines) == ["1.png", "2.png", "e.pdf"]
    assert {line["state"] for line in lines} == {"kept"}
    assert all("403" in line["note"] for line in lines)
    rig.koop.heal()
    (day,) = await rig.run(TODAY, retry_failed=True)
    assert day.state is DayState.COMPLETE
    assert [line["name"][-5:] for line in rig.manifest()] == ["1.png", "2.png", "e.pdf"]


# -- what was gone -----------------------------------------------------------------------------------------


async def test_what_comes_after_its_decision_is_had_while_the_day_is_recent(rig: Rig, edited: Edited) -> None:
    edited.attachment = pdf("map", seed=1)
    rig.koop.fail("externebijlagen", faults.not_found, times=math.inf)
    (day,) = await rig.run(TODAY)
    assert day.state is DayState.COMPLETE
    assert [line["state"] for line in rig.manifest()] == ["kept", "kept", "gone"]
    before = len(rig.koop.log)
    await rig.run(TODAY)  # not yet
    assert len(asked(rig, before)) == 1
    rig.koop.heal()
    (day,) = await rig.run(TODAY, today=LATER)  # the last time that it is searched
    assert (day.state, day.provisional) == (DayState.COMPLETE, False)
    assert {line["state"] for line in rig.manifest()} == {"kept"}


async def test_what_is_gone_on_an_old_day_is_asked_for_when_failures_are(rig: Rig, edited: Edited) -> None:
    rig.koop.fail(r"1\.png$", faults.not_found, times=math.inf)
    (day,) = await rig.run(OLD)
    assert day.state is DayState.COMPLETE
    before = len(rig.koop.log)
    assert await rig.run(OLD) == []
    assert await rig.run(OLD, retry_failed=True, only_failed=True) == []
    assert len(rig.koop.log) == before
    (day,) = await rig.run(OLD, retry_failed=True)
    assert [url[-5:] for url in asked(rig, before)] == ["1.png"]
    rig.koop.heal()
    (day,) = await rig.run(OLD, retry_failed=True)
    assert {line["state"] for line in rig.manifest()} == {"kept"}
    assert await rig.run(OLD, retry_failed=True) == []


@pytest.mark.parametrize("changes", [{}, {"retry_failed": True}])
async def test_what_is_gone_is_asked_for_once_in_a_run(
    changes: dict[str, Any], koop_server: Any, tmp_path: Path
) -> None:
    rig = Rig(koop_server(decisions_per_day=3), tmp_path / "out")
    shared = quirks.attached(pdf("map", seed=1))

    def same(decision: Decision) -> Decision:
        (attachment,) = shared(decision).attachments
        return replace(quirks.bare(decision), attachments=(replace(attachment, exb_id="exb-2026-15200011"),))

    rig.koop.alter("gmb", same)
    rig.koop.fail("externebijlagen", faults.not_found, times=math.inf)
    first = TODAY - timedelta(days=1)
    for _ in range(2):
        before = len(rig.koop.log)
        days = await rig.run(first, TODAY, **changes)
        assert [each.state for each in days] == [DayState.COMPLETE] * 2
        assert len(asked(rig, before)) == 1
        assert {line["state"] for line in rig.manifest()} == {"gone"}


async def test_another_question_is_no_reason_to_ask_for_what_is_gone(rig: Rig, edited: Edited) -> None:
    from sightline.jobs.koop.archive.query import Exclusions

    rig.koop.fail(r"1\.png$", faults.not_found, times=math.inf)
    await rig.run(OLD)
    before = len(rig.koop.log)
    (day,) = await rig.run(OLD, exclusions=Exclusions(("laadpaal",)))
    assert (day.state, asked(rig, before)) == (DayState.COMPLETE, [])


async def test_what_is_found_on_one_day_is_found_on_all(rig: Rig) -> None:
    shared = quirks.attached(pdf("map", seed=1))

    def same(decision: Decision) -> Decision:
        (attachment,) = shared(decision).attachments
        return replace(quirks.bare(decision), attachments=(replace(attachment, exb_id="exb-2026-15200011"),))

    rig.koop.alter("gmb", same)
    rig.koop.fail("externebijlagen", faults.not_found, times=math.inf)
    await rig.run(OLD)
    await rig.run(TODAY)
    assert [line["state"] for line in rig.manifest()] == ["gone", "gone"]
    rig.koop.heal()
    await rig.run(TODAY)
    assert [(line["day"], line["state"]) for line in rig.manifest()] == [
        (str(OLD), "kept"),
        (str(TODAY), "kept"),
    ]


async def test_a_text_that_was_gone_is_asked_for_while_the_day_is_recent(rig: Rig, edited: Edited) -> None:
    rig.koop.fail(r"\.xml$", faults.not_found, times=math.inf)
    (day,) = await rig.run(TODAY)
    assert (day.state, day.error) == (DayState.PARTIAL, "1 publication failed")
    rig.koop.heal()
    (day,) = await rig.run(TODAY)
    assert (day.state, day.publications) == (DayState.COMPLETE, 1)


async def test_a_text_that_was_refused_is_not(rig: Rig, edited: Edited) -> None:
    rig.koop.fail(r"\.xml$", faults.status(403), times=math.inf)
    await rig.run(TODAY)
    rig.koop.heal()
    (day,) = await rig.run(TODAY)
    assert day.state is DayState.PARTIAL


async def test_a_text_that_is_gone_on_an_old_day_is_asked_for_when_failures_are(
    rig: Rig, edited: Edited
) -> None:
    rig.koop.fail(r"\.xml$", faults.not_found, times=math.inf)
    await rig.run(OLD)
    rig.koop.heal()
    assert await rig.run(OLD) == []
    (day,) = await rig.run(OLD, retry_failed=True)
    assert day.state is DayState.COMPLETE


# -- decisions that are not found any more -----------------------------------------------------------------


async def test_a_decision_that_is_not_found_any_more_stays_and_that_is_said(
    koop_server: Any, tmp_path: Path
) -> None:
    rig = Rig(koop_server(decisions_per_day=3), tmp_path / "out")
    await rig.run(TODAY)
    withdrawn = True

    def perhaps(decision: Decision) -> Decision:
        return replace(decision, types=("andere mededeling",)) if withdrawn else decision

    rig.koop.alter(r".*0002$", perhaps)
    (day,) = await rig.run(TODAY)
    assert (day.state, day.publications, day.of_publications, day.absent, day.error) == (
        DayState.COMPLETE, 2, 2, 1, None,
    )  # fmt: skip
    notes = {line["publication"][-1]: line["note"] for line in rig.manifest()}
    assert notes == {"1": None, "2": "a later search of this day does not have it any more", "3": None}
    withdrawn = False
    (day,) = await rig.run(TODAY)
    assert (day.publications, day.absent) == (3, 0)
    assert {line["note"] for line in rig.manifest()} == {None}


async def test_what_another_question_leaves_out_is_not_said_to_be_gone(
    koop_server: Any, tmp_path: Path
) -> None:
    from sightline.jobs.koop.archive.query import Exclusions

    rig = Rig(koop_server(decisions_per_day=3), tmp_path / "out")
    rig.koop.alter(r".*0002$", lambda decision: replace(decision, title="laadpaal"))
    await rig.run(OLD)
    await rig.run(OLD, exclusions=Exclusions(("laadpaal",)))
    ended = [each for each in rig.events if isinstance(each, DayEnded)]
    assert [each.absent for each in ended] == [0, 0]
    assert {line["note"] for line in rig.manifest()} == {None}
