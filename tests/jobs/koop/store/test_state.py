"""The state file: whole or as before, whatever happens."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.errors import InvalidRequest
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.files import KeptFile, KeptFiles
from sightline.jobs.koop.store.state import UNSOUND, Day, DayState, State

MONDAY = dt.date(2024, 1, 15)
ONE = dt.timedelta(days=1)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "koop.sqlite") as opened:
        yield opened


def complete(date: dt.date, **more: object) -> Day:
    return Day(date, "available", DayState.COMPLETE, 3, 3, whole=True, **more)


def test_a_day_comes_back_as_it_was_saved(state: State, tmp_path: Path) -> None:
    day = Day(
        MONDAY, "modified", DayState.PARTIAL, 95, 94, 2, "1 file failed", "2024-01-16T10:00:00+00:00",
        "2024-01-16T11:00:00+00:00", "abc", "def", provisional=True, whole=True,
    )  # fmt: skip
    state.save_day(day)
    state.close()
    with State(tmp_path / "koop.sqlite") as again:
        assert again.day(MONDAY) == day
        assert again.day(MONDAY + ONE) is None


def test_days_are_read_in_order_and_by_state(state: State) -> None:
    for number in (3, 1, 2, 0):
        state.save_day(complete(MONDAY + number * ONE))
    state.save_day(replace(complete(MONDAY + 2 * ONE), state=DayState.FAILED))
    assert [day.date.day for day in state.days()] == [15, 16, 17, 18]
    assert [day.date.day for day in state.days(MONDAY + ONE, MONDAY + 2 * ONE)] == [16, 17]
    assert [day.date.day for day in state.days(states=UNSOUND)] == [17]
    assert state.count_days() == {"complete": 3, "failed": 1}
    assert state.count_days(MONDAY, MONDAY) == {"complete": 1}
    assert state.ends(UNSOUND) == (MONDAY + 2 * ONE, MONDAY + 2 * ONE)
    assert state.ends([DayState.EMPTY]) is None


def test_many_days_may_change_while_they_are_read(state: State) -> None:
    with state.transaction():
        for number in range(800):
            state.save_day(complete(MONDAY + number * ONE))
    seen = 0
    for day in state.days():
        state.save_day(replace(day, state=DayState.EMPTY))
        seen += 1
    assert seen == 800
    assert state.count_days() == {"empty": 800}


def test_settled_days_are_those_of_the_same_terms(state: State) -> None:
    state.save_day(complete(MONDAY, terms="a"))
    state.save_day(complete(MONDAY + ONE, terms="b"))
    state.save_day(complete(MONDAY + 2 * ONE, terms="a", provisional=True))
    state.save_day(replace(complete(MONDAY + 3 * ONE, terms="b"), state=DayState.EMPTY))
    assert state.count_settled(MONDAY, MONDAY + 9 * ONE, "a") == 2


def test_a_transaction_is_all_or_nothing(state: State) -> None:

    def broken() -> None:
        with state.transaction():
            state.put("key", 1)
            with state.transaction():
                state.put("other", 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (state.get("key"), state.get("other")) == (None, None)
    with state.transaction():
        state.put("key", {"a": [1.5, None]})
    assert state.get("key") == {"a": [1.5, None]}


def test_others_may_read_while_it_is_written(state: State, tmp_path: Path) -> None:
    state.put("key", 1)
    with state.transaction():
        state.put("key", 2)
        with State(tmp_path / "koop.sqlite", read_only=True) as reader:
            assert reader.get("key") == 1
            with pytest.raises(RunEnded, match="readonly"):
                reader.put("key", 3)
    assert state.get("key") == 2


def test_a_full_disk_ends_the_run_and_leaves_what_was(state: State) -> None:
    state.put("key", "small")
    pages = next(state.rows("PRAGMA page_count"))[0]
    state.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RunEnded, match=r"full.*goes on from here"), state.transaction():
        state.put("key", "x" * 100_000)
    assert state.get("key") == "small"


def test_files_that_are_no_state_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("nothing of the kind, and longer than the header of a database " * 20)
    with pytest.raises(InvalidRequest, match="not the state of a download"):
        State(text)
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE mine(a)")
    connection.close()
    with pytest.raises(InvalidRequest, match="not the state of a download"):
        State(foreign)


# The first version's tables, as they were before columns were added to them.
FIRST_VERSION = """
CREATE TABLE placements(
    pub_id TEXT NOT NULL, position INTEGER NOT NULL, url TEXT NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, caption_before TEXT, width_mm REAL, in_head INTEGER NOT NULL,
    PRIMARY KEY(pub_id, position)
) WITHOUT ROWID;
CREATE TABLE files(
    sha256 TEXT NOT NULL, page INTEGER NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL,
    width INTEGER, height INTEGER, PRIMARY KEY(sha256, page)
) WITHOUT ROWID;
CREATE TABLE publications(id TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items(url TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO items VALUES ('https://host/1.png', 'kept');
INSERT INTO placements VALUES ('a', 0, 'https://host/1.png', 'illustratie', '1.png', 'Kaart', 160.0, 0);
INSERT INTO files VALUES ('abc', 2, 'blobs/1.png', 7, 20, 30);
PRAGMA user_version = 1;
"""


def test_an_older_file_is_renewed_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "older.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST_VERSION)
    connection.close()
    with pytest.raises(InvalidRequest, match="older Sightline; the next download"):
        State(path, read_only=True)
    for _ in range(2):
        with State(path) as state:
            (placed,) = Documents(state).placements("a")
            assert (placed.caption_before, placed.width_mm, placed.caption) == ("Kaart", 160.0, None)
            assert KeptFiles(state).of("abc") == {2: KeptFile(2, "blobs/1.png", 7, 20, 30)}
    with State(path, read_only=True) as state:
        assert len(Documents(state).placements("a")) == 1


def test_a_newer_file_is_not_touched(state: State, tmp_path: Path) -> None:
    state.execute("PRAGMA user_version = 99")
    with pytest.raises(InvalidRequest, match="newer Sightline"):
        State(tmp_path / "koop.sqlite")
