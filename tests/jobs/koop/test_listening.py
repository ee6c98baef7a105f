"""An archive that does not answer: what is told meanwhile, and when a run ends for it."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import pytest
from koopserver import KoopServer, faults
from rig import Rig, hastened

from sightline.fetching.polite import Doing, Manners
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.listening import SILENT_AFTER_S
from sightline.jobs.koop.progress import Answered, Silent
from sightline.jobs.koop.state import DayState

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=2)


@pytest.fixture
def rig(koop: KoopServer, tmp_path: Path) -> Rig:
    return Rig(koop, tmp_path / "out", clock=hastened(100))


def silent(rig: Rig) -> list[Silent]:
    return [each for each in rig.events if isinstance(each, Silent)]


async def test_a_silent_host_is_told_of_until_it_answers(rig: Rig) -> None:
    rig.koop.fail(r"\.xml$", faults.too_many("60"), times=1)
    (day,) = await rig.run(FIRST)
    assert day.state is DayState.COMPLETE
    told = [each.silence for each in silent(rig) if each.silence.origin == rig.koop.reader_url]
    assert min(each.for_s for each in told) >= SILENT_AFTER_S
    assert Doing.RETRY_AFTER in {each.doing for each in told}
    # Others that were under way may have come well after it.
    assert {each.reason for each in told} <= {"it answered HTTP 429", None}
    answered = [each.origin for each in rig.events if isinstance(each, Answered)]
    assert rig.koop.reader_url in answered


async def test_hosts_that_answer_are_not_mentioned(koop: KoopServer, tmp_path: Path) -> None:
    rig = Rig(koop, tmp_path / "out", clock=hastened(1))
    await rig.run(FIRST)
    assert silent(rig) == []


async def test_a_search_that_stays_silent_ends_the_run_which_goes_on_later(rig: Rig) -> None:
    rig.manners = Manners("https://example.org/tests", patience_s=120.0)
    second = FIRST + timedelta(days=1)
    rig.koop.fail(f'dt.available=="{second}"', faults.too_many("600"), times=math.inf)
    with pytest.raises(RunEnded, match=r"has given no answer for .*HTTP 429.*same command goes on"):
        await rig.run(FIRST, LAST)
    assert rig.states()[-1] == "searching"
    assert not set(rig.states()) & {"failed", "partial"}
    rig.koop.heal()
    rig.clock = hastened(2000)
    await rig.run(FIRST, LAST)
    assert rig.states() == ["complete"] * 3
    fresh = Rig(rig.koop, rig.out.parent / "fresh")
    await fresh.run(FIRST, LAST)
    assert rig.manifest_bytes() == fresh.manifest_bytes()


async def test_a_silent_host_of_attachments_costs_only_attachments(rig: Rig) -> None:
    rig.manners = Manners("https://example.org/tests", patience_s=60.0)
    rig.koop.fail("externebijlagen", faults.too_many("600"), times=math.inf)
    days = await rig.run(FIRST, FIRST + timedelta(days=9))
    assert len(days) == 10
    assert {each.state for each in days} <= {DayState.COMPLETE, DayState.PARTIAL}
    failed = [line for line in rig.manifest() if line["state"] == "failed"]
    assert failed
    assert {line["kind"] for line in failed} == {"exb"}
    assert all("has given no answer" in line["error"] for line in failed)
    assert len(rig.koop.requests("externebijlagen")) < len(failed)
