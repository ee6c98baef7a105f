"""A download that is killed at any moment goes on where it was, and one of ten thousand days stays small."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest
from koopserver import KoopServer
from rig import Rig

import sightline
from sightline.jobs.koop.archive.search import DayFound
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.run.progress import DayEnded, Event
from sightline.jobs.koop.store.folder import STATE_NAME, occupied
from sightline.jobs.koop.store.state import Day, DayState, State

FIRST = date(2024, 6, 3)
LAST = FIRST + timedelta(days=5)
HERE = Path(__file__).parent
SETTLED = "SELECT url FROM items WHERE state NOT IN ('pending', 'failed')"
# Publications under way at once, each with one request: what may have been answered and not yet written down.
AT_ONCE = 4


@pytest.fixture
def rig(koop: KoopServer, tmp_path: Path) -> Rig:
    return Rig(koop, tmp_path / "out")


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Those that still run at the end of the test are killed."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def environment(**variables: str) -> dict[str, str]:
    paths = [str(Path(sightline.__file__).parents[1]), str(HERE)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}


def file_requests(koop: KoopServer) -> Counter[str]:
    """How often each picture and each attachment's file was given out."""
    return Counter(each.path for each in koop.requests(r"\.(png|jpg|pdf|PDF)$", status=200))


def settled(rig: Rig) -> set[str]:
    """Items that the state says have been had, by what the log calls them."""
    if not (rig.out / "koop.sqlite").exists():
        return set()
    try:
        urls = [url for (url,) in rig.query(SETTLED)]
    except Exception:  # killed before the tables were made
        return set()
    return {url.split("/", 3)[3].rstrip("/") for url in urls}


def test_killed_at_any_fsync_it_ends_the_same(
    rig: Rig, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    whole = Rig(rig.koop, tmp_path / "whole")
    asyncio.run(whole.run(FIRST, LAST))
    numbers = random.Random(6)
    rig.koop.log.clear()
    for kill in (1, 2, *(numbers.randrange(3, 12) for _ in range(2))):
        had, before = settled(rig), len(rig.koop.log)
        urls = (rig.koop.repository_url, rig.koop.reader_url, rig.koop.attachments_url)
        process = subprocess.Popen(
            [sys.executable, "-m", "crash", *urls, str(rig.out), str(FIRST), str(LAST), str(kill)],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        processes.append(process)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, output.decode()
        asked_again = {each.path.lstrip("/") for each in rig.koop.log[before:]}
        assert not had & asked_again
    asyncio.run(rig.run(FIRST, LAST))
    assert rig.manifest_bytes() == whole.manifest_bytes()
    assert rig.blobs() == whole.blobs()
    again = {path: number for path, number in file_requests(rig.koop).items() if number > 1}
    assert len(again) <= 4 * AT_ONCE


@pytest.mark.timeout(300)  # four starts of the command, on a machine that may be busy
def test_killed_by_command_at_random_requests_it_ends_the_same(
    rig: Rig, tmp_path: Path, seeing_models: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    """The real command, models and all. Requests come at 300 a second, so kills fall all over the run."""

    def start(out: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from sightline.cli import main; main()", "koop", "download",
             "--from", str(FIRST), "--to", str(LAST), "--out", str(out), "--dpi", "100"],
            env=environment(
                SIGHTLINE_MODELS_DIR=str(seeing_models), SIGHTLINE_OFFLINE="1", SIGHTLINE_PRECISION="f32",
                SIGHTLINE_ALLOW_RANDOM_WEIGHTS="1", SIGHTLINE_KOOP_CONTACT="https://example.org/tests",
                SIGHTLINE_KOOP_SEARCH_URL=rig.koop.search_url, SIGHTLINE_KOOP_READER_URL=rig.koop.reader_url,
                SIGHTLINE_KOOP_ATTACHMENTS_URL=rig.koop.attachments_folder, SIGHTLINE_KOOP_RATE_PER_S="300",
                SIGHTLINE_KOOP_MAX_RATE_PER_S="300", SIGHTLINE_KOOP_BURST="1",
            ),
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        return process

    output, complaints = start(tmp_path / "whole").communicate(timeout=100)
    end = json.loads(output.splitlines()[-1])
    assert end["days"] == {"complete": 6}, complaints.decode()
    once = file_requests(rig.koop)
    assert set(once.values()) == {1}
    all_requests = len(rig.koop.log)

    numbers = random.Random(9)
    rig.koop.log.clear()
    kills = 2
    for _ in range(kills):
        had, before = settled(rig), len(rig.koop.log)
        process = start(rig.out)
        rig.koop.wait_for(before + numbers.randrange(2, all_requests // (kills + 1)))
        process.kill()
        process.communicate()
        assert not had & {each.path.lstrip("/") for each in rig.koop.log[before:]}
    output, complaints = start(rig.out).communicate(timeout=100)
    assert json.loads(output.splitlines()[-1])["days"] == {"complete": 6}, complaints.decode()

    whole = Rig(rig.koop, tmp_path / "whole")
    assert rig.manifest_bytes() == whole.manifest_bytes()
    assert rig.blobs() == whole.blobs()
    files = file_requests(rig.koop)
    assert set(files) == set(once)
    assert sum(files.values()) - len(files) <= kills * AT_ONCE


async def test_a_second_run_asks_for_nothing(rig: Rig) -> None:
    await rig.run(FIRST, LAST)
    manifest, asked = rig.manifest_bytes(), len(rig.koop.log)
    assert await rig.run(FIRST, LAST) == []
    assert (rig.manifest_bytes(), len(rig.koop.log)) == (manifest, asked)


async def test_a_torn_line_is_cut_and_a_lost_manifest_made_again(rig: Rig) -> None:
    await rig.run(FIRST, LAST)
    whole = rig.manifest_bytes()
    path = rig.out / "manifest.jsonl"
    path.write_bytes(whole + b'{"day": "2024-06-')
    await rig.run(FIRST, LAST)
    assert path.read_bytes() == whole
    path.unlink()
    await rig.run(FIRST, LAST)
    assert path.read_bytes() == whole


async def test_the_order_of_days_does_not_show_in_the_manifest(rig: Rig, tmp_path: Path) -> None:
    await rig.run(FIRST, LAST, newest_first=True)
    other = Rig(rig.koop, tmp_path / "other")
    await other.run(FIRST + timedelta(days=3), LAST)
    await other.run(FIRST, LAST)
    assert rig.manifest_bytes() == other.manifest_bytes()
    assert rig.blobs() == other.blobs()


class _NothingFound:
    """A search of an archive without any decision but the canary's: days end as fast as they can."""

    async def day(self, *asked: object) -> DayFound:
        return DayFound((), 0, 0, complete=True, warnings=())

    async def check(self, *asked: object) -> int:
        return 95


def passed_by(rig: Rig, days: Iterator[date]) -> None:
    """Have these days ended in the state, with nothing found."""
    options = Options(FIRST, LAST)
    with occupied(rig.out), State(rig.out / STATE_NAME) as state, state.transaction():
        for day in days:
            state.save_day(Day(day, "available", DayState.EMPTY, 0, 0, query_hash=options.query_hash(day)))


async def test_ten_thousand_days_take_no_more_memory_than_a_thousand(
    koop: KoopServer, tmp_path: Path
) -> None:
    """Nine of ten have ended before, so that the test is short."""
    days, first = 10_000, date(1996, 1, 1)
    ended, blocks = count(1), list[int]()

    def report(event: Event) -> None:
        if isinstance(event, DayEnded) and next(ended) % 100 == 0:
            gc.collect()
            blocks.append(sys.getallocatedblocks())

    rig = Rig(koop, tmp_path / "out", report=report, search=lambda client: _NothingFound())
    passed_by(rig, (first + timedelta(days=number) for number in range(days) if number % 10))
    await rig.run(first, first + timedelta(days=days - 1))
    assert len(blocks) == 10
    assert blocks[-1] - blocks[0] < 450, "something is kept of every second day that was worked on"
    assert rig.query("SELECT state, count(*) FROM days GROUP BY state") == [("empty", days)]
    assert koop.log == []


async def test_days_with_decisions_are_forgotten_too(
    koop_server: Callable[..., KoopServer], tmp_path: Path
) -> None:
    koop = koop_server(decisions_per_day=2)
    koop.log = deque(maxlen=10)  # it is in this process too
    ended = 0
    early: list[int] = []
    late: list[int] = []

    def report(event: Event) -> None:
        nonlocal ended
        if isinstance(event, DayEnded):
            assert event.state is DayState.COMPLETE
            ended += 1
            measured = early if 16 < ended <= 20 else late if ended > 36 else None
            if measured is not None:
                gc.collect()
                measured.append(sys.getallocatedblocks())

    rig = Rig(koop, tmp_path / "out", None, report=report)
    await rig.run(FIRST, FIRST + timedelta(days=39))
    # A kept record alone would be some 30 blocks.
    assert min(late) - min(early) < 15 * 30
