"""The tables of a library, and how a file is opened.

``PRAGMA user_version`` is the version of the tables. A file with a newer one is refused, an older one is
migrated step by step in one transaction.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sightline.errors import InsufficientStorage, LibraryDamaged, LibraryRefused

VERSION = 1
# "SiLi" as the application id in the file's header, by which other programs tell what the file is.
APPLICATION_ID = 0x53694C69
_BUSY_TIMEOUT_S = 30.0

_TABLES = """
CREATE TABLE vector_model (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    space TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    provenance TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('filling', 'serving')),
    UNIQUE (space, fingerprint)
);
CREATE TABLE root (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE item (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    perceptual_hash INTEGER NOT NULL,
    format TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    taken_at TEXT,
    latitude REAL,
    longitude REAL,
    place TEXT COLLATE NOCASE,
    country TEXT COLLATE NOCASE,
    camera TEXT COLLATE NOCASE,
    indexed_at TEXT NOT NULL
);
CREATE INDEX item_sha256 ON item (sha256);
CREATE INDEX item_taken_at ON item (taken_at);
CREATE INDEX item_position ON item (latitude, longitude);
CREATE INDEX item_country ON item (country);
CREATE TABLE failure (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE embedding (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id INTEGER NOT NULL REFERENCES vector_model (id) ON DELETE CASCADE,
    item_id INTEGER NOT NULL REFERENCES item (id) ON DELETE CASCADE,
    vector BLOB NOT NULL,
    UNIQUE (model_id, item_id)
);
CREATE INDEX embedding_item ON embedding (item_id);
CREATE TABLE dropped_embedding (seq INTEGER PRIMARY KEY, model_id INTEGER NOT NULL);
CREATE TRIGGER embedding_dropped AFTER DELETE ON embedding BEGIN
    INSERT INTO dropped_embedding (seq, model_id) VALUES (old.seq, old.model_id);
END;
CREATE TABLE answer (
    item_id INTEGER NOT NULL REFERENCES item (id) ON DELETE CASCADE,
    operation TEXT NOT NULL,
    model TEXT,
    result TEXT NOT NULL,
    PRIMARY KEY (item_id, operation)
) WITHOUT ROWID;
CREATE TABLE field (
    item_id INTEGER NOT NULL REFERENCES item (id) ON DELETE CASCADE,
    operation TEXT NOT NULL,
    name TEXT NOT NULL,
    text TEXT COLLATE NOCASE,
    number REAL
);
CREATE INDEX field_item ON field (item_id);
CREATE INDEX field_text ON field (name, text);
CREATE INDEX field_number ON field (name, number);
CREATE VIRTUAL TABLE words USING fts5 (name, place, answers, tokenize = 'unicode61 remove_diacritics 2');
CREATE TRIGGER item_gone AFTER DELETE ON item BEGIN
    DELETE FROM words WHERE rowid = old.id;
END;
"""


def connect(path: Path, *, create: bool, read_only: bool = False) -> sqlite3.Connection:
    """Open the file of a library.

    Raises:
        FileNotFoundError: there is none, and ``create`` is false.
        LibraryRefused: it is not a library, or a newer Sightline made it.
        LibraryDamaged: SQLite cannot read it.
        InsufficientStorage: the disk is full.
    """
    if not path.exists():
        if not create:
            raise FileNotFoundError(errno.ENOENT, "there is no library", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
    mode = "ro" if read_only else "rwc" if create else "rw"
    with reading_problems(path.stem):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            if not read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
            _check(connection, path.stem, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    return connection


def _check(connection: sqlite3.Connection, name: str, *, read_only: bool) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if version == 0 and application == 0 and not read_only and _is_empty(connection):
        with transaction(connection):
            if _is_empty(connection):
                for statement in _statements(_TABLES):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
        return
    if application != APPLICATION_ID:
        raise LibraryRefused(f"the file of library {name!r} is a database of another program")
    if version > VERSION:
        raise LibraryRefused(
            f"library {name!r} has version {version}; expected at most {VERSION}. A newer Sightline made it: "
            "update this one"
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0)


def _statements(script: str) -> Iterator[str]:
    """Yield the statements one by one: ``executescript`` would commit an open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one write transaction; it is undone if the block fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading_problems(name: str) -> Iterator[None]:
    """Turn SQLite's errors about the file into errors that name the library.

    Raises:
        InsufficientStorage: the disk is full.
        LibraryDamaged: the file is damaged, not a database, or cannot be read or written.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise InsufficientStorage(f"no space is left for library {name!r}") from error
        raise LibraryDamaged(f"library {name!r}: {error}") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise LibraryDamaged(f"library {name!r} is damaged: {error}") from error


def is_library(path: Path) -> bool:
    """Return whether a file's header says that it is a library."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)
    except sqlite3.DatabaseError:
        return False
