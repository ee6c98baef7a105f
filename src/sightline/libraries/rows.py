"""Rows of a library's tables, written inside a transaction of the caller."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np

from sightline.errors import LibraryRefused
from sightline.libraries.items import Item, NewItem, StoredAnswer
from sightline.libraries.vectors import Floats

ITEM_COLUMNS = tuple(Item.__dataclass_fields__)
_NEW_COLUMNS = tuple(name for name in NewItem.__dataclass_fields__ if name not in ("vectors", "answers"))
# What the writer sets besides the columns of a new item.
_UPSERT = (
    f"INSERT INTO item ({', '.join(_NEW_COLUMNS)}, indexed_at) "  # noqa: S608 - names of this class
    f"VALUES ({', '.join(f':{name}' for name in _NEW_COLUMNS)}, :indexed_at) "
    f"ON CONFLICT (path) DO UPDATE SET "
    f"{', '.join(f'{name} = excluded.{name}' for name in (*_NEW_COLUMNS[1:], 'indexed_at'))} RETURNING id"
)


def add_item(connection: sqlite3.Connection, item: NewItem, now: str) -> int:
    """Add an item, or replace the one of the same path with all that is known of it; return its id.

    Raises:
        LibraryRefused: a vector cannot be compared.
    """
    columns = {name: getattr(item, name) for name in _NEW_COLUMNS} | {"indexed_at": now}
    columns["perceptual_hash"] = _signed(item.perceptual_hash)
    (item_id,) = connection.execute(_UPSERT, columns).fetchone()
    connection.execute("DELETE FROM failure WHERE path = ?", (item.path,))
    for table in ("embedding", "answer", "field"):
        connection.execute(f"DELETE FROM {table} WHERE item_id = ?", (item_id,))  # noqa: S608
    add_vectors(connection, item_id, item.vectors)
    add_answers(connection, item_id, item.answers)
    write_words(connection, item_id)
    return int(item_id)


def add_vectors(connection: sqlite3.Connection, item_id: int, vectors: Mapping[int, Floats]) -> None:
    for model_id, vector in vectors.items():
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise LibraryRefused(f"a vector of length {length} cannot be compared; expected a finite one")
        connection.execute(
            "INSERT OR REPLACE INTO embedding (model_id, item_id, vector) VALUES (?, ?, ?)",
            (model_id, item_id, (vector / length).astype("<f2").tobytes()),
        )


def add_answers(connection: sqlite3.Connection, item_id: int, answers: Sequence[StoredAnswer]) -> None:
    for answer in answers:
        connection.execute(
            "INSERT OR REPLACE INTO answer (item_id, operation, model, result) VALUES (?, ?, ?, ?)",
            (item_id, answer.operation, answer.model, json.dumps(answer.result, allow_nan=False)),
        )
        rows = [
            (item_id, answer.operation, name, None, float(value))
            if isinstance(value, int | float)
            else (item_id, answer.operation, name, value, None)
            for name, value in answer.fields.items()
        ]
        if answer.text:
            rows.append((item_id, answer.operation, "text", answer.text, None))
        connection.executemany(
            "INSERT INTO field (item_id, operation, name, text, number) VALUES (?, ?, ?, ?, ?)", rows
        )


def write_words(connection: sqlite3.Connection, item_id: int) -> None:
    connection.execute("DELETE FROM words WHERE rowid = ?", (item_id,))
    connection.execute(
        "INSERT INTO words (rowid, name, place, answers) SELECT id, path, coalesce(place, ''), coalesce("
        "(SELECT group_concat(text, ' ') FROM field WHERE item_id = item.id AND text IS NOT NULL), '') "
        "FROM item WHERE id = ?",
        (item_id,),
    )


def _signed(unsigned: int) -> int:
    """A 64-bit number as SQLite keeps it."""
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
