"""How runs end, early or dry, and what the next one finds."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from koopserver import faults
from rig import Rig

from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.polite import Clock
from sightline.jobs.koop.run.progress import DayEnded, Event
from sightline.jobs.koop.store.rates import learned_rates
from sightline.jobs.koop.store.state import DayState, State

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=5)


@pytest.fixture
def rig(koop_server: Any, tmp_path: Path) -> Rig:
    return Rig(koop_server(decisions_per_day=2), tmp_path / "out")


def raising(error: BaseException, after: int) -> Any:
    """A report that raises when so many days have ended."""
    left = after

    def report(event: Event) -> None:
        nonlocal left
        left -= isinstance(event, DayEnded)
        if left == 0:
            left = -1
            raise error

    return report


def days_in(rig: Rig) -> set[str]:
    return {line["day"] for line in rig.manifest()}


def last_days(number: int) -> set[str]:
    return {str(LAST - timedelta(days=each)) for each in range(number)}


async def test_a_run_that_ends_early_has_its_days_in_the_manifest(rig: Rig) -> None:
    rig.report = raising(RunEnded("the model is broken"), 4)
    with pytest.raises(RunEnded, match="the model is broken"):
        await rig.run(FIRST, LAST, newest_first=True)
    assert days_in(rig) == last_days(4)


async def test_a_run_that_is_interrupted_has_too(rig: Rig) -> None:
    ended = asyncio.Event()
    days = 0

    def report(event: Event) -> None:
        nonlocal days
        days += isinstance(event, DayEnded)
        if days == 3:
            ended.set()

    rig.report = report
    run = asyncio.create_task(rig.run(FIRST, LAST, newest_first=True))
    await ended.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert days_in(rig) >= last_days(3)


async def test_a_long_manifest_is_left_to_the_next_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.jobs.koop.output.manifest import Manifest

    monkeypatch.setattr(Manifest, "number_of_lines", lambda self: 10**6)
    rig.report = raising(RunEnded("enough"), 4)
    with pytest.raises(RunEnded):
        await rig.run(FIRST, LAST, newest_first=True)
    assert days_in(rig) == last_days(1)
    rig.report = None
    await rig.run(FIRST, LAST, newest_first=True)
    assert days_in(rig) == last_days(6)


async def test_a_full_disk_is_not_written_to_once_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.jobs.koop.output.manifest import Manifest

    await rig.run(FIRST)
    finished: list[bool] = []
    monkeypatch.setattr(Manifest, "finish", lambda self: finished.append(True))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunEnded, match="No space left"):
        await rig.run(LAST)
    assert finished == []


async def test_the_next_run_brings_the_days_of_a_killed_one_in_order(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sightline.jobs.koop.run.download import Download

    rig.report = raising(RunEnded("killed here"), 4)
    monkeypatch.setattr(Download, "_finish_early", lambda self: None)
    with pytest.raises(RunEnded):
        await rig.run(FIRST, LAST, newest_first=True)
    assert days_in(rig) == last_days(1)
    rig.report = None
    await rig.run(LAST)
    assert days_in(rig) == last_days(4)


# -- dry runs ----------------------------------------------------------------------------------------------


async def test_days_of_dry_runs_alone_are_not_in_the_manifest(rig: Rig) -> None:
    await rig.run(FIRST)
    manifest = rig.manifest_bytes()
    days = await rig.run(FIRST, LAST, dry_run=True)
    assert {each.state for each in days} == {DayState.COMPLETE}
    assert rig.manifest_bytes() == manifest
    await rig.run(LAST + timedelta(days=1))  # which writes the manifest anew
    assert days_in(rig) == {str(FIRST), str(LAST + timedelta(days=1))}
    assert rig.manifest_bytes().startswith(manifest)
    await rig.run(FIRST, LAST)
    assert days_in(rig) == {str(FIRST + timedelta(days=each)) for each in range(7)}


# -- rates -------------------------------------------------------------------------------------------------


async def test_a_pause_is_known_to_the_next_run_however_this_one_ends(rig: Rig) -> None:
    waits, never = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds > 100:
            waits.set()
            await never.wait()
        await asyncio.sleep(0)

    rig.clock = Clock(time.monotonic, time.time, sleep)
    rig.koop.fail(r"\.xml$", faults.too_many("300"), times=math.inf)
    run = asyncio.create_task(rig.run(FIRST))
    await waits.wait()
    with State(rig.out / "koop.sqlite", read_only=True) as state:
        known = learned_rates(state)[rig.koop.reader_url]
    assert known.paused_until_unix_s > time.time() + 250
    assert known.rate_per_s < 0.5
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
