"""An archive that does not answer: what is told meanwhile, and when a run ends for it."""

from __future__ import annotations

import asyncio
import math
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from koopserver import KoopServer, faults
from rig import Rig, hastened

from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.polite import Doing, PolitenessPolicy, Silence
from sightline.jobs.koop.run.progress import SILENT_AFTER_S, Answered, Event, Silent, reporting_silences
from sightline.jobs.koop.store.state import DayState

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


async def test_an_answer_is_told_of_even_if_nobody_waited_for_a_while() -> None:
    silence = Silence("https://host", 0.0, 20.0, Doing.ASKING, None, "HTTP 500")
    told: list[Event] = []
    over = asyncio.Event()

    class Looked:
        """Silent at the first look, wanted by nobody at the second, there again at the third."""

        looks = 0

        @property
        def clock(self) -> Looked:
            return self

        async def sleep(self, seconds: float) -> None:
            self.looks += 1
            if self.looks > 4:
                over.set()
                await asyncio.Event().wait()

        def silences(self) -> list[Silence]:
            return [silence] if self.looks == 1 else []

        def answers(self, origin: str) -> bool:
            return self.looks >= 3

    client: Any = Looked()
    async with reporting_silences(client, told.append):
        await over.wait()
    assert told == [Silent(silence), Answered("https://host", 20.0)]


async def test_hosts_that_answer_are_not_mentioned(koop: KoopServer, tmp_path: Path) -> None:
    rig = Rig(koop, tmp_path / "out", clock=hastened(1))
    await rig.run(FIRST)
    assert silent(rig) == []


async def test_a_search_that_stays_silent_ends_the_run_which_goes_on_later(rig: Rig) -> None:
    rig.policy = PolitenessPolicy("https://example.org/tests", patience_s=120.0)
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


@pytest.mark.parametrize("patience_s", [20.0, 1800.0])
async def test_a_day_whose_search_fails_stops_no_other(rig: Rig, patience_s: float) -> None:
    rig.policy = PolitenessPolicy("https://example.org/tests", patience_s=patience_s)
    rig.clock = hastened(2000)
    second = FIRST + timedelta(days=1)
    rig.koop.fail(f'dt.available=="{second}"', faults.status(500), times=math.inf)
    days = await rig.run(FIRST, LAST)
    assert [each.state.value for each in days] == ["complete", "failed", "complete"]
    assert "HTTP 500" in (days[1].error or "")
    still = await rig.run(FIRST, LAST)
    assert [(each.date, each.state.value) for each in still] == [(second, "failed")]
    rig.koop.heal()
    (day,) = await rig.run(FIRST, LAST)
    assert (day.date, day.state) == (second, DayState.COMPLETE)
    assert await rig.run(FIRST, LAST) == []


async def test_a_day_that_cannot_be_searched_again_is_by_the_next_run(rig: Rig) -> None:
    rig.clock = hastened(2000)
    await rig.run(FIRST, today=FIRST)  # so soon that it is searched again
    rig.koop.fail(f'dt.available=="{FIRST}"', faults.status(500), times=math.inf)
    (day,) = await rig.run(FIRST)
    assert day.state is DayState.PARTIAL
    rig.koop.heal()
    (day,) = await rig.run(FIRST)
    assert day.state is DayState.COMPLETE


async def test_a_search_that_answers_nothing_at_all_ends_the_run(rig: Rig) -> None:
    rig.policy = PolitenessPolicy("https://example.org/tests", patience_s=20.0)
    rig.clock = hastened(2000)
    rig.koop.fail("/sru", faults.status(500), times=math.inf)
    with pytest.raises(RunEnded, match="same command goes on"):
        await rig.run(FIRST, LAST)
    assert rig.states() == ["searching"]


async def test_a_silent_host_of_attachments_costs_only_attachments(rig: Rig) -> None:
    rig.policy = PolitenessPolicy("https://example.org/tests", patience_s=60.0)
    rig.koop.fail("externebijlagen", faults.too_many("600"), times=math.inf)
    days = await rig.run(FIRST, FIRST + timedelta(days=9))
    assert len(days) == 10
    assert {each.state for each in days} <= {DayState.COMPLETE, DayState.PARTIAL}
    failed = [line for line in rig.manifest() if line["state"] == "failed"]
    assert failed
    assert {line["kind"] for line in failed} == {"exb"}
    assert all("has given no answer" in line["error"] for line in failed)
    assert len(rig.koop.requests("externebijlagen")) < len(failed)
