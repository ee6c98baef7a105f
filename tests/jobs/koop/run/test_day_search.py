"""What a day's search changes of what is known."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from koopserver import KoopServer, faults, quirks
from rig import Rig

from sightline.jobs.koop.archive.query import DateField
from sightline.jobs.koop.run.progress import Warned
from sightline.jobs.koop.store.state import DayState

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=2)


@pytest.fixture
def rig(koop_server: Any, tmp_path: Path) -> Rig:
    return Rig(koop_server(decisions_per_day=2), tmp_path / "out")


def answer_always_as(koop: KoopServer, number: int = 0) -> None:
    """Each search as that one of the log was answered: its dates do not count any more."""
    searches = [each.url for each in koop.log if each.path == "/sru"]
    body = urlopen(koop.repository_url + searches[number].replace(" ", "%20")).read()
    koop.fail("/sru", faults.content(body, "application/xml"), times=math.inf)


async def test_decisions_that_name_another_day_stay_there(rig: Rig) -> None:
    await rig.run(FIRST)
    manifest, blobs = rig.manifest_bytes(), rig.blobs()
    answer_always_as(rig.koop)
    (day,) = await rig.run(LAST)
    assert (day.state, day.publications, day.error) == (
        DayState.PARTIAL, 0, "2 records name another day of publication",
    )  # fmt: skip
    assert (rig.manifest_bytes(), rig.blobs()) == (manifest, blobs)
    assert [each.state for each in rig.days().values()] == [DayState.COMPLETE, DayState.PARTIAL]
    rig.koop.heal()
    (day,) = await rig.run(LAST, retry_failed=True)
    assert (day.state, day.publications, day.error) == (DayState.COMPLETE, 2, None)


async def test_decisions_that_were_found_on_a_wrong_day_come_to_their_own(rig: Rig) -> None:
    await rig.run(FIRST)
    answer_always_as(rig.koop)
    fresh = Rig(rig.koop, rig.out.parent / "fresh")
    (day,) = await fresh.run(LAST)
    assert (day.state, day.publications) == (DayState.PARTIAL, 2)  # it is all that is known of them
    rig.koop.heal()
    await fresh.run(FIRST)
    assert {line["day"] for line in fresh.manifest()} == {str(FIRST)}


async def test_records_without_a_day_are_of_the_one_that_was_asked_for(rig: Rig) -> None:
    rig.koop.alter("gmb", quirks.without_available)
    (day,) = await rig.run(FIRST)
    assert (day.state, day.publications) == (DayState.COMPLETE, 2)


async def test_days_of_the_last_change_move_as_it_does(rig: Rig) -> None:
    days = await rig.run(FIRST, FIRST + timedelta(days=20), field=DateField.MODIFIED)
    assert {each.state for each in days} == {DayState.COMPLETE}


async def test_a_record_that_is_listed_twice_is_told_and_the_day_is_complete(rig: Rig) -> None:
    rig.koop.repeating = True
    (day,) = await rig.run(FIRST)
    assert (day.state, day.publications, day.error) == (DayState.COMPLETE, 2, None)
    assert [each.message for each in rig.events if isinstance(each, Warned)] == [
        f"{FIRST}: 1 records came twice"
    ]
    assert await rig.run(FIRST) == []
