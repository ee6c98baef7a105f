"""Runs after runs: what is done again, and what is not, when the question or the rules have changed."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from koopserver import KoopServer, faults, quirks
from koopserver.pictures import picture
from rig import TODAY, CountingClassifier, Rig

from sightline.errors import InferenceFailed
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.archive.query import DateField, Exclusions
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.run.progress import DayEnded, Warned, Working
from sightline.jobs.koop.store.results import Classification
from sightline.jobs.koop.store.state import DayState

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=2)


@pytest.fixture
def rig(koop: KoopServer, tmp_path: Path) -> Rig:
    return Rig(koop, tmp_path / "out")


def asked_since(rig: Rig, before: int) -> list[str]:
    return [each.url for each in rig.koop.log[before:]]


def searches(urls: list[str]) -> list[str]:
    return [url for url in urls if "/sru" in url]


# -- again -------------------------------------------------------------------------------------------------


async def test_a_new_model_judges_again_and_fetches_nothing(rig: Rig) -> None:
    await rig.run(FIRST, LAST, keep=Keep.ALL)
    before, blobs = len(rig.koop.log), rig.blobs()
    rig.judge = CountingClassifier(model="newer", wants=lambda data: True)
    days = await rig.run(FIRST, LAST, keep=Keep.ALL)
    assert len(days) == 3
    assert asked_since(rig, before) == []
    assert {line["model"] for line in rig.manifest() if line["kind"]} <= {"newer", None}
    assert set(rig.judge.seen) == {line["sha256"] for line in rig.manifest() if line["sha256"]}
    assert blobs <= rig.blobs()


async def test_what_another_model_let_go_is_told(rig: Rig) -> None:
    rig.judge = CountingClassifier(wants=lambda data: False)
    await rig.run(FIRST, LAST)
    before, manifest = len(rig.koop.log), rig.manifest_bytes()
    rig.judge = CountingClassifier(model="newer")
    await rig.run(FIRST, LAST)
    assert asked_since(rig, before) == []
    assert rig.manifest_bytes() == manifest
    assert any("judged by another model" in e.message for e in rig.events if isinstance(e, Warned))


@pytest.mark.parametrize("keep", [Keep.WOULD_DOWNLOAD, Keep.NONE])
async def test_what_was_let_go_is_judged_again_if_that_is_asked_for(keep: Keep, rig: Rig) -> None:
    rig.judge = CountingClassifier(wants=lambda data: False)
    await rig.run(FIRST, LAST, keep=keep)
    rig.judge = CountingClassifier(model="newer")
    await rig.run(FIRST, LAST, keep=keep)
    assert rig.judge.seen == []
    before = len(rig.koop.log)
    days = await rig.run(FIRST, LAST, keep=keep, judge_again=True)
    assert len(days) == 3
    urls = asked_since(rig, before)
    assert urls
    assert not [url for url in urls if "/sru" in url or url.endswith(".xml")]
    fresh = Rig(rig.koop, rig.out.parent / "fresh", CountingClassifier(model="newer"))
    await fresh.run(FIRST, LAST, keep=keep)
    assert rig.manifest_bytes() == fresh.manifest_bytes()
    assert rig.blobs() == fresh.blobs()
    assert await rig.run(FIRST, LAST, keep=keep, judge_again=True) == []  # and that is that


async def test_another_rule_settles_again_without_searching(rig: Rig) -> None:
    await rig.run(FIRST, LAST, keep=Keep.NONE)
    assert rig.blobs() == set()
    before = len(rig.koop.log)
    await rig.run(FIRST, LAST)
    urls = asked_since(rig, before)
    assert urls
    assert not [url for url in urls if "/sru" in url or url.endswith(".xml")]
    assert rig.judge is not None
    assert len(set(rig.judge.seen)) == len(rig.judge.seen)  # verdicts were kept, though the bytes were not
    fresh = Rig(rig.koop, rig.out.parent / "fresh")
    await fresh.run(FIRST, LAST)
    assert rig.manifest_bytes() == fresh.manifest_bytes()
    assert rig.blobs() == fresh.blobs()


async def test_keeping_less_lets_go(rig: Rig) -> None:
    await rig.run(FIRST, LAST, keep=Keep.ALL)
    before = len(rig.koop.log)
    await rig.run(FIRST, LAST)
    assert asked_since(rig, before) == []
    fresh = Rig(rig.koop, rig.out.parent / "fresh")
    await fresh.run(FIRST, LAST)
    assert rig.blobs() == fresh.blobs()
    assert rig.manifest_bytes() == fresh.manifest_bytes()
    await rig.run(FIRST, LAST, keep=Keep.NONE)
    assert rig.blobs() == set()


async def test_a_dry_run_leaves_what_was_kept(rig: Rig) -> None:
    await rig.run(FIRST, LAST)
    manifest, blobs = rig.manifest_bytes(), rig.blobs()
    rig.judge = CountingClassifier(model="newer", wants=lambda data: False)
    days = await rig.run(FIRST, LAST, dry_run=True)
    assert len(days) == 3
    assert {each.kept for each in days} == {0}  # as it would be with that model
    assert (rig.manifest_bytes(), rig.blobs()) == (manifest, blobs)
    rig.judge = CountingClassifier()
    before = len(rig.koop.log)
    await rig.run(FIRST, LAST)
    assert asked_since(rig, before) == []
    assert (rig.manifest_bytes(), rig.blobs()) == (manifest, blobs)


async def test_attachments_can_be_had_later(rig: Rig) -> None:
    last = FIRST + timedelta(days=9)
    await rig.run(FIRST, last, attachments=False)
    attached = [line for line in rig.manifest() if line["kind"] == "exb"]
    assert attached
    assert {(line["state"], line["error"]) for line in attached} == {("skipped", "an attachment")}
    assert not [each for each in rig.koop.log if "exb" in each.url]
    before = len(rig.koop.log)
    await rig.run(FIRST, last)
    urls = asked_since(rig, before)
    assert urls
    assert all("exb" in url for url in urls)
    fresh = Rig(rig.koop, rig.out.parent / "fresh")
    await fresh.run(FIRST, last)
    assert rig.manifest_bytes() == fresh.manifest_bytes()


async def test_logos_can_be_had_later(rig: Rig) -> None:
    rig.koop.alter("gmb", quirks.bare)
    rig.koop.alter("gmb", logo_in_head)
    await rig.run(FIRST)
    assert {line["state"] for line in rig.manifest()} == {"skipped"}
    await rig.run(FIRST, logos=True)
    assert {line["state"] for line in rig.manifest()} == {"kept"}


def logo_in_head(decision: Any) -> Any:
    from koopserver import Illustration

    name = f"{decision.identifier}-1.png"
    logo = Illustration(name, lambda: picture("logo", 1, "png", (80, 30)), in_head=True)
    return replace(decision, illustrations=(logo,))


async def test_another_question_is_asked_again(rig: Rig) -> None:
    await rig.run(FIRST, LAST, keep=Keep.NONE)
    before = len(rig.koop.log)
    await rig.run(FIRST, LAST, keep=Keep.NONE, exclusions=Exclusions(words=("laadpaal",)))
    assert len(searches(asked_since(rig, before))) == 3


async def test_days_of_the_last_change_may_share_publications(rig: Rig) -> None:
    days = await rig.run(FIRST, FIRST + timedelta(days=20), field=DateField.MODIFIED, keep=Keep.NONE)
    assert {each.state for each in days} == {DayState.COMPLETE}
    lines = rig.manifest()
    assert len({line["publication"] for line in lines}) == sum(each.publications for each in days)


# -- provisional days --------------------------------------------------------------------------------------


async def test_recent_days_are_searched_again_until_they_are_old(rig: Rig) -> None:
    first = TODAY - timedelta(days=3)
    days = await rig.run(first, TODAY + timedelta(days=30), keep=Keep.NONE)
    assert [each.provisional for each in days] == [False, True, True, True]
    before = len(rig.koop.log)
    again = await rig.run(first, TODAY, keep=Keep.NONE)
    assert [each.date for each in again] == [TODAY - timedelta(days=n) for n in (2, 1, 0)]
    assert len(searches(asked_since(rig, before))) == 3
    assert len(asked_since(rig, before)) == 3  # nothing was fetched again
    later = TODAY + timedelta(days=10)
    assert len(await rig.run(first, TODAY, keep=Keep.NONE, today=later)) == 3
    assert await rig.run(first, TODAY, keep=Keep.NONE, today=later) == []


async def test_what_comes_late_is_found(koop_server: Any, tmp_path: Path) -> None:
    per_day = {TODAY: 2}
    rig = Rig(koop_server(decisions_per_day=per_day), tmp_path / "out")
    (before,) = await rig.run(TODAY)
    per_day[TODAY] = 4
    (after,) = await rig.run(TODAY)
    assert (before.publications, after.publications) == (2, 4)
    assert len({line["publication"] for line in rig.manifest()}) == 4


async def test_a_search_that_fails_later_costs_nothing_that_is_known(
    koop_server: Any, tmp_path: Path
) -> None:
    per_day = {TODAY: 2}
    rig = Rig(koop_server(decisions_per_day=per_day), tmp_path / "out")
    await rig.run(TODAY)
    manifest, blobs = rig.manifest(), rig.blobs()
    assert manifest
    rig.koop.fail("/sru", faults.status(500), times=math.inf)
    (day,) = await rig.run(TODAY)
    assert (day.state, day.publications, day.of_publications) == (DayState.PARTIAL, 2, 2)
    assert "could not be searched again" in (day.error or "")
    assert "HTTP 500" in (day.error or "")
    assert (rig.manifest(), rig.blobs()) == (manifest, blobs)
    rig.koop.heal()
    per_day[TODAY] = 4
    later = TODAY + timedelta(days=10)  # it is not recent any more, and its second search is still to come
    (day,) = await rig.run(TODAY, today=later)
    assert (day.state, day.publications, day.provisional) == (DayState.COMPLETE, 4, False)
    assert await rig.run(TODAY, today=later) == []


async def test_an_index_that_broke_since_costs_nothing_that_is_known(
    koop_server: Any, tmp_path: Path
) -> None:
    rig = Rig(koop_server(decisions_per_day={TODAY: 2}), tmp_path / "out")
    await rig.run(TODAY)
    manifest = rig.manifest()
    rig.koop.archive.per_day = 0
    (day,) = await rig.run(TODAY)
    assert (day.state, day.publications) == (DayState.PARTIAL, 2)
    assert rig.manifest() == manifest


async def test_a_day_that_was_empty_and_cannot_be_searched_has_failed(
    koop_server: Any, tmp_path: Path
) -> None:
    rig = Rig(koop_server(decisions_per_day={TODAY: 0}), tmp_path / "out")
    (day,) = await rig.run(TODAY)
    assert day.state is DayState.EMPTY
    rig.koop.fail("/sru", faults.status(403), times=math.inf)
    (day,) = await rig.run(TODAY)
    assert day.state is DayState.FAILED


async def test_a_search_with_another_question_that_failed_is_made_when_failures_are_retried(
    koop_server: Any, tmp_path: Path
) -> None:
    koop = koop_server(decisions_per_day={FIRST: 0})
    rig = Rig(koop, tmp_path / "out")
    (day,) = await rig.run(FIRST, exclusions=Exclusions(("laadpaal",)))
    assert day.state is DayState.EMPTY
    koop.archive.per_day = 3
    koop.fail("/sru", faults.diagnostic(10, "mismatched input"), times=1)
    (day,) = await rig.run(FIRST)
    assert day.state is DayState.FAILED
    before = len(koop.log)
    (day,) = await rig.run(FIRST, retry_failed=True)
    assert (day.state, day.publications) == (DayState.COMPLETE, 3)
    assert searches(asked_since(rig, before))


async def test_a_day_that_takes_too_long_when_it_is_done_again_keeps_its_lines(rig: Rig) -> None:
    await rig.run(FIRST, LAST, attachments=False)
    rig.koop.fail("externebijlagen", faults.slow_first_byte(0.5), times=math.inf)
    lines = {(line["publication"], line["name"]) for line in rig.manifest()}
    days = await rig.run(FIRST, LAST, day_timeout_s=0.2)
    assert DayState.PARTIAL in {each.state for each in days}
    assert {(line["publication"], line["name"]) for line in rig.manifest()} == lines


# -- errors ------------------------------------------------------------------------------------------------


async def test_a_bug_in_one_publication_stays_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.jobs.koop.run.fetcher import Fetcher

    bad = rig.koop.decisions(FIRST)[1].identifier
    read = Fetcher.read

    async def buggy(self: Fetcher, publication: Any) -> None:
        if publication.record.identifier == bad:
            raise ZeroDivisionError("a bug")
        await read(self, publication)

    monkeypatch.setattr(Fetcher, "read", buggy)
    (day,) = await rig.run(FIRST)
    assert (day.state, day.failed, day.publications) == (DayState.PARTIAL, 1, 2)
    assert day.error == "1 publication failed"
    ((reason,),) = rig.query(f"SELECT error FROM publications WHERE id = '{bad}'")
    assert "ZeroDivisionError: a bug" in reason
    monkeypatch.undo()
    (day,) = await rig.run(FIRST, retry_failed=True)
    assert (day.state, day.publications) == (DayState.COMPLETE, 3)


async def test_a_file_that_fails_is_tried_again_only_when_asked(rig: Rig) -> None:
    rig.koop.alter("gmb", quirks.illustrated("map"))
    rig.koop.fail(r"0001-1\.png$", faults.status(403), times=math.inf)
    (day,) = await rig.run(FIRST)
    assert (day.state, day.error, day.failed) == (DayState.PARTIAL, "1 file failed", 1)
    rig.koop.heal()
    assert await rig.run(FIRST) == []
    before = len(rig.koop.log)
    (day,) = await rig.run(FIRST, retry_failed=True)
    assert day.state is DayState.COMPLETE
    assert len(asked_since(rig, before)) == 1


async def test_a_model_that_breaks_ends_the_run_and_nothing_is_lost(rig: Rig) -> None:
    class Breaking(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            if len(self.seen) == 3:
                raise RunEnded("the model is broken")
            return await super().judge(data, sha256)

    rig.judge = Breaking()
    with pytest.raises(RunEnded, match="the model is broken"):
        await rig.run(FIRST, LAST)
    seen = set(rig.judge.seen)
    rig.judge = CountingClassifier()
    await rig.run(FIRST, LAST)
    assert not seen & set(rig.judge.seen)
    fresh = Rig(rig.koop, rig.out.parent / "fresh")
    await fresh.run(FIRST, LAST)
    assert rig.manifest_bytes() == fresh.manifest_bytes()


async def test_a_picture_the_model_fails_on_fails_alone(rig: Rig) -> None:
    class Choosy(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            if not self.seen:
                self.seen.append(sha256)
                raise InferenceFailed("it failed on this input")
            return await super().judge(data, sha256)

    rig.judge = Choosy()
    days = await rig.run(FIRST, LAST)
    assert [each.failed for each in days].count(1) == 1
    assert [each.state for each in days].count(DayState.PARTIAL) == 1


@pytest.mark.parametrize("error", [OSError(11, "Try again"), ZeroDivisionError("a bug")])
async def test_an_error_that_nobody_expected_is_one_files(error: Exception, rig: Rig) -> None:
    class Buggy(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            if not self.seen:
                self.seen.append(sha256)
                raise error
            return await super().judge(data, sha256)

    rig.judge = Buggy()
    days = await rig.run(FIRST, LAST)
    assert sorted(each.state for each in days) == [DayState.COMPLETE, DayState.COMPLETE, DayState.PARTIAL]
    (failed,) = (line for line in rig.manifest() if line["state"] == "failed")
    assert failed["error"] == f"internal error: {type(error).__name__}: {error}"
    assert await rig.run(FIRST, LAST) == []
    (day,) = await rig.run(FIRST, LAST, retry_failed=True)
    assert day.state is DayState.COMPLETE


async def test_a_day_that_takes_too_long_is_left_and_goes_on_later(rig: Rig) -> None:
    rig.koop.fail(r"\.xml$", faults.slow_first_byte(0.5), times=math.inf)
    (day,) = await rig.run(FIRST, day_timeout_s=0.2)
    assert day.state is DayState.FAILED
    assert "took longer than" in (day.error or "")
    rig.koop.heal()
    before = len(rig.koop.log)
    (day,) = await rig.run(FIRST, retry_failed=True)
    assert day.state is DayState.COMPLETE
    assert searches(asked_since(rig, before)) == []


# -- as it happens -----------------------------------------------------------------------------------------


async def test_a_run_tells_of_publications_and_days_in_their_order(rig: Rig) -> None:
    await rig.run(FIRST, LAST)
    ended = [each for each in rig.events if isinstance(each, DayEnded)]
    assert [each.date for each in ended] == [FIRST, FIRST + timedelta(days=1), LAST]
    assert [(each.days, each.of_days) for each in ended] == [(1, 3), (2, 3), (3, 3)]
    assert ended[-1].eta_s == 0
    assert ended[0].requests_per_s > 0
    working = [each for each in rig.events if isinstance(each, Working) and each.date == FIRST]
    assert [(each.publications, each.of_publications) for each in working] == [(1, 3), (2, 3), (3, 3)]


async def test_files_are_judged_while_others_are_fetched(rig: Rig) -> None:
    """The model may hold a bounded number of files; until then fetching goes on without it."""
    gate, all_here = asyncio.Event(), asyncio.Event()
    rig.koop.alter("gmb", quirks.illustrated("map", "map"))
    of_two_days = 2 * 3 * 2  # the third begins when the first has ended

    class Waiting(CountingClassifier):
        waiting = 0

        async def judge(self, data: bytes, sha256: str) -> Classification:
            self.waiting += 1
            if self.waiting == of_two_days:
                all_here.set()
            await gate.wait()
            return await super().judge(data, sha256)

    rig.judge = Waiting()
    run = asyncio.create_task(rig.run(FIRST, LAST, attachments=False))
    async with asyncio.timeout(20):
        await all_here.wait()
    assert rig.judge.seen == []
    gate.set()
    assert len(await run) == 3


async def test_few_files_wait_for_the_model(koop_server: Any, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day=40)
    koop.alter("gmb", quirks.illustrated("map", "map"))
    waiting = most = 0

    class Slow(CountingClassifier):
        async def judge(self, data: bytes, sha256: str) -> Classification:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await asyncio.sleep(0.01)
            waiting -= 1
            return await super().judge(data, sha256)

    rig = Rig(koop, tmp_path / "out", judge=Slow())
    (day,) = await rig.run(FIRST, at_once=8, attachments=False)
    assert day.images == 80
    assert 1 < most <= 32


async def test_rates_are_remembered(rig: Rig) -> None:
    rig.koop.fail(r"\.xml$", faults.too_many(), times=1)
    await rig.run(FIRST)
    ((text,),) = rig.query("SELECT value FROM meta WHERE key = 'learned_rates'")
    assert rig.koop.reader_url in text
