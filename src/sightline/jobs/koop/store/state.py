"""What a download knows, in one SQLite file: days, publications, their images, and verdicts on them.

The file is the truth; manifests are written from it. Every change is a transaction, so a process that is
killed at any moment leaves a state the next one goes on from. Used from one thread.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sightline.errors import InvalidRequest
from sightline.jobs.koop.store.folder import disk_ended

# Under this key of ``put``: lines that were written may differ from what the state says now.
MANIFEST_IS_STALE = "manifest_stale"
# How the tables came to be. A file says how many of these steps it has; the rest are done when it is opened.
_STEPS = (
    """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE days(
    date TEXT PRIMARY KEY, field TEXT NOT NULL, state TEXT NOT NULL, number_of_records INTEGER,
    unique_ids INTEGER, attempts INTEGER NOT NULL DEFAULT 0, error TEXT, searched_at TEXT, completed_at TEXT,
    query_hash TEXT, terms TEXT, provisional INTEGER NOT NULL DEFAULT 0, whole INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX days_by_state ON days(state);
CREATE TABLE publications(
    id TEXT PRIMARY KEY, date TEXT NOT NULL, title TEXT NOT NULL, type TEXT NOT NULL, creator TEXT,
    modified TEXT, changed_at TEXT, record TEXT NOT NULL, record_sha256 TEXT NOT NULL, state TEXT NOT NULL,
    error TEXT
) WITHOUT ROWID;
CREATE INDEX publications_by_date ON publications(date, id);
CREATE TABLE placements(
    pub_id TEXT NOT NULL, position INTEGER NOT NULL, url TEXT NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, caption_before TEXT, width_mm REAL, in_head INTEGER NOT NULL,
    PRIMARY KEY(pub_id, position)
) WITHOUT ROWID;
CREATE INDEX placements_by_url ON placements(url);
CREATE TABLE items(
    url TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, source_url TEXT, http INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0, sha256 TEXT, bytes INTEGER, mime TEXT, etag TEXT, file TEXT,
    model TEXT, error TEXT
) WITHOUT ROWID;
CREATE INDEX items_by_sha256 ON items(sha256);
CREATE INDEX items_by_state ON items(state) WHERE file IS NOT NULL;
CREATE TABLE verdicts(
    sha256 TEXT NOT NULL, page INTEGER NOT NULL, model TEXT NOT NULL, label TEXT NOT NULL,
    confidence REAL NOT NULL, probabilities TEXT NOT NULL, would_download INTEGER NOT NULL,
    PRIMARY KEY(sha256, page, model)
) WITHOUT ROWID;
CREATE TABLE judgements(
    sha256 TEXT NOT NULL, model TEXT NOT NULL, pages INTEGER NOT NULL, code TEXT, error TEXT, note TEXT,
    PRIMARY KEY(sha256, model)
) WITHOUT ROWID;
CREATE TABLE files(
    sha256 TEXT NOT NULL, page INTEGER NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL,
    width INTEGER, height INTEGER, PRIMARY KEY(sha256, page)
) WITHOUT ROWID;
CREATE INDEX files_by_file ON files(file);
""",
    """
ALTER TABLE placements ADD COLUMN caption TEXT;
ALTER TABLE placements ADD COLUMN alt TEXT;
ALTER TABLE placements ADD COLUMN height_mm REAL;
ALTER TABLE files ADD COLUMN drawn TEXT;
""",
    # text_gone: the archive had no text of it. absent: a later search of its day has it no more. doubt: what
    # is known of a file may be so no more, and why it could not be asked for again (empty: nobody has tried).
    """
ALTER TABLE publications ADD COLUMN text_gone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE publications ADD COLUMN absent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN doubt TEXT;
CREATE INDEX items_in_doubt ON items(url) WHERE doubt IS NOT NULL;
""",
    # Of a kept file, by its path, which names its content. lines: JSON. error: why it could not be read.
    """
CREATE TABLE texts(
    file TEXT PRIMARY KEY, model TEXT NOT NULL, lines TEXT NOT NULL, error TEXT
) WITHOUT ROWID;
""",
)
_VERSION = len(_STEPS)


class DayState(StrEnum):
    """How far a day is. ``PARTIAL``: something of it is missing, and ``error`` says what."""

    PENDING = "pending"
    SEARCHING = "searching"
    DOCUMENTS = "documents"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    EMPTY = "empty"


ENDED = frozenset({DayState.COMPLETE, DayState.PARTIAL, DayState.FAILED, DayState.EMPTY})
UNSOUND = frozenset({DayState.PARTIAL, DayState.FAILED})
# What a run that retries failures takes up; one that was interrupted left days in the midst.
RETRIED = UNSOUND | {DayState.SEARCHING, DayState.DOCUMENTS}


@dataclass(frozen=True, slots=True)
class Day:
    """One date. ``query_hash`` and ``terms`` say under which question and which rules it was worked on.

    ``provisional``: it was searched so soon after its date that more may still be published. ``whole``: the
    search gave all that it counts. ``completed_at`` is when a run that was not dry last knew something of all
    of it: from then on it has lines in the manifest.
    """

    date: dt.date
    field: str
    state: DayState
    number_of_records: int | None = None
    unique_ids: int | None = None
    attempts: int = 0
    error: str | None = None
    searched_at: str | None = None
    completed_at: str | None = None
    query_hash: str | None = None
    terms: str | None = None
    provisional: bool = False
    whole: bool = False


class State:
    """The open file. Close it; it is a context manager.

    Raises:
        InvalidRequest: the file is of a newer version, or of an older one and only to be read, or none of
            these at all.
        RunEnded: from any method, when the disk is full or broken.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._root = path.parent
        self._depth = 0
        address = f"{path.absolute().as_uri()}{'?mode=ro' if read_only else ''}"
        with self._disk_errors(path):
            # Explicit BEGIN and COMMIT: the module's own rules begin transactions where nobody expects them.
            self._connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=30.0)
            self._connection.row_factory = sqlite3.Row
            if not read_only:
                self._connection.execute("PRAGMA journal_mode = WAL")
                # In WAL mode NORMAL loses no committed row to a killed process, and fsyncs at checkpoints.
                self._connection.execute("PRAGMA synchronous = NORMAL")
            self._open_schema(path, read_only=read_only)

    def __enter__(self) -> State:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # -- statements ----------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside are made, or none. May be nested; the outermost one counts."""
        if self._depth:
            yield
            return
        with self._disk_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                self._connection.execute("COMMIT")
            finally:
                self._depth -= 1

    def execute(self, statement: str, values: Mapping[str, Any] | tuple[Any, ...] = ()) -> int:
        """Run one statement; the number of rows it changed."""
        with self._disk_errors():
            return self._connection.execute(statement, values).rowcount

    def one(self, statement: str, values: Mapping[str, Any] | tuple[Any, ...] = ()) -> sqlite3.Row | None:
        with self._disk_errors():
            row: sqlite3.Row | None = self._connection.execute(statement, values).fetchone()
            return row

    def rows(self, statement: str, values: Mapping[str, Any] | tuple[Any, ...] = ()) -> Iterator[sqlite3.Row]:
        """Rows as they are read: a year's fit into any memory."""
        with self._disk_errors():
            yield from self._connection.execute(statement, values)

    # -- small things --------------------------------------------------------------------------------------

    def get(self, key: str) -> Any:
        """What was last ``put`` under ``key``, or None."""
        row = self.one("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else json.loads(row["value"])

    def put(self, key: str, value: Any) -> None:
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    # -- days ----------------------------------------------------------------------------------------------

    def day(self, date: dt.date) -> Day | None:
        row = self.one("SELECT * FROM days WHERE date = ?", (date.isoformat(),))
        return None if row is None else _day(row)

    def days(
        self, first: dt.date | None = None, last: dt.date | None = None, states: Iterable[DayState] = ()
    ) -> Iterator[Day]:
        """Days there are, in their order, both ends included. Read at once within one year, lazily beyond."""
        wanted = sorted(states) or sorted(DayState)
        marks = ", ".join("?" * len(wanted))
        after = "" if first is None else (first - dt.timedelta(days=1)).isoformat()
        until = "9999" if last is None else last.isoformat()
        while True:  # in pieces, because whoever iterates may change days meanwhile
            piece = list(
                self.rows(
                    f"SELECT * FROM days WHERE date > ? AND date <= ? AND state IN ({marks}) "  # noqa: S608
                    "ORDER BY date LIMIT 366",
                    (after, until, *wanted),
                )
            )
            yield from map(_day, piece)
            if not piece:
                return
            after = piece[-1]["date"]

    def ends(self, states: Iterable[DayState]) -> tuple[dt.date, dt.date] | None:
        """The first and the last day in one of these states, if there is any."""
        wanted = sorted(states)
        marks = ", ".join("?" * len(wanted))
        row = self.one(
            f"SELECT min(date) AS first, max(date) AS last FROM days WHERE state IN ({marks})",  # noqa: S608
            tuple(wanted),
        )
        if row is None or row["first"] is None:
            return None
        return dt.date.fromisoformat(row["first"]), dt.date.fromisoformat(row["last"])

    def save_day(self, day: Day) -> None:
        """Write all of a day."""
        self.execute(
            "INSERT OR REPLACE INTO days (date, field, state, number_of_records, unique_ids, attempts, "
            "error, searched_at, completed_at, query_hash, terms, provisional, whole) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                day.date.isoformat(), day.field, day.state, day.number_of_records, day.unique_ids,
                day.attempts, day.error, day.searched_at, day.completed_at,
                day.query_hash, day.terms, day.provisional, day.whole,
            ),
        )  # fmt: skip

    def count_days(self, first: dt.date = dt.date.min, last: dt.date = dt.date.max) -> dict[str, int]:
        """How many days of a range there are in each state that occurs."""
        rows = self.rows(
            "SELECT state, count(*) AS number FROM days WHERE date BETWEEN ? AND ? "
            "GROUP BY state ORDER BY state",
            (first.isoformat(), last.isoformat()),
        )
        return {row["state"]: row["number"] for row in rows}

    def count_settled(self, first: dt.date, last: dt.date, terms: str) -> int:
        """How many days of a range have ended under these terms, or had nothing that falls under any."""
        row = self.one(
            "SELECT count(*) AS number FROM days WHERE date BETWEEN ? AND ? AND NOT provisional "
            "AND (state = ? OR (state = ? AND terms = ?))",
            (first.isoformat(), last.isoformat(), DayState.EMPTY, DayState.COMPLETE, terms),
        )
        return 0 if row is None else int(row["number"])

    # -- inside --------------------------------------------------------------------------------------------

    def _open_schema(self, path: Path, *, read_only: bool) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        has_tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
        if version > _VERSION:
            raise InvalidRequest(
                f"{path} was written by a newer Sightline; this one reads version {_VERSION}"
            )
        if version == _VERSION:
            return
        if has_tables and version == 0:
            raise InvalidRequest(f"{path} is not the state of a download")
        if read_only:
            raise InvalidRequest(
                f"{path} was written by an older Sightline; the next download into its folder renews it"
            )
        with self.transaction():
            for statement in filter(str.strip, ";".join(_STEPS[version:]).split(";")):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _disk_errors(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            full = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
            if error.sqlite_errorcode & 0xFF in full:  # extended codes have the plain one in their low byte
                raise disk_ended(self._root, str(error)) from error
            if path is not None:
                raise InvalidRequest(f"{path} cannot be opened: {error}") from error
            raise
        except sqlite3.DatabaseError as error:
            if path is None:
                raise
            raise InvalidRequest(f"{path} is not the state of a download: {error}") from error


def now() -> str:
    """This moment, as days have it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _day(row: sqlite3.Row) -> Day:
    fields = dict(row)
    date, state = dt.date.fromisoformat(fields.pop("date")), DayState(fields.pop("state"))
    flags = {name: bool(fields[name]) for name in ("provisional", "whole")}
    return Day(date=date, state=state, **{**fields, **flags})
