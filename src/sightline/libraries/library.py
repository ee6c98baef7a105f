"""One library: its items, their vectors and answers, and searches over them."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from sightline.errors import LibraryBusy
from sightline.libraries import rows, schema
from sightline.libraries.filters import Filter
from sightline.libraries.items import Item, Known, ModelState, NewItem, StoredAnswer, VectorModel
from sightline.libraries.rows import ITEM_COLUMNS
from sightline.libraries.stored_vectors import StoredVectors
from sightline.libraries.vectors import Floats, Matches, VectorIndex
from sightline.sphere import distances_km, unit_vectors

# SQLite's default limit on parameters of a statement is 32,766 since 3.32.
_IDS_AT_ONCE = 10_000


def open_library(path: Path, *, create: bool = False) -> Library:
    """Open the library in the file ``path``.

    Raises:
        FileNotFoundError, LibraryRefused, LibraryDamaged, InsufficientStorage: see :func:`schema.connect`.
    """
    return Library(path, schema.connect(path, create=create))


class Library:
    """Reads from any thread. Everything that writes is called inside :meth:`writing`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.name = path.stem
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._vectors = StoredVectors(path.with_suffix(".vectors"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._vectors.forget()
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the library's writer lock.

        Raises:
            LibraryBusy: another process, or another thread of this one, writes to it.
        """
        lock = FileLock(self._path.with_suffix(".lock"), timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise LibraryBusy(f"library {self.name!r} is being written to by another process") from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, schema.reading_problems(self.name):
            yield self._connection

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection, schema.transaction(connection):
            yield connection

    # -- vector models ---------------------------------------------------------------------------------------

    def models(self) -> list[VectorModel]:
        """Return the models whose vectors are here, the one that serves first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, name, space, fingerprint, dimensions, provenance, state FROM vector_model "
                "ORDER BY state = 'serving' DESC, id"
            ).fetchall()
        return [
            VectorModel(number, name, space, fingerprint, dimensions, provenance, ModelState(state))
            for number, name, space, fingerprint, dimensions, provenance, state in rows
        ]

    def serving(self) -> list[VectorModel]:
        """Return the models that searches use: one per space, the library's first model first."""
        return [model for model in self.models() if model.state is ModelState.SERVING]

    def begin_model(
        self, name: str, space: str, fingerprint: str, dimensions: int, provenance: str
    ) -> VectorModel:
        """Return the model with this fingerprint, added if it is new.

        It serves at once if the library has no other model of its space, else after :meth:`serve`.
        """
        with self._changing() as connection:
            is_first = not connection.execute(
                "SELECT count(*) FROM vector_model WHERE space = ?", (space,)
            ).fetchone()[0]
            connection.execute(
                "INSERT INTO vector_model (name, space, fingerprint, dimensions, provenance, state) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (name, space, fingerprint, dimensions, provenance, "serving" if is_first else "filling"),
            )
        return next(
            model for model in self.models() if model.space == space and model.fingerprint == fingerprint
        )

    def serve(self, model: VectorModel) -> None:
        """Let a model serve its space and drop the vectors of the one that did."""
        with self._changing() as connection:
            gone = connection.execute(
                "SELECT id FROM vector_model WHERE space = ? AND id != ?", (model.space, model.id)
            ).fetchall()
            connection.execute("UPDATE vector_model SET state = 'serving' WHERE id = ?", (model.id,))
            for row in gone:
                connection.execute("DELETE FROM vector_model WHERE id = ?", row)
                connection.execute("DELETE FROM dropped_embedding WHERE model_id = ?", row)

    # -- items -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM item").fetchone()[0])

    def known(self, root: str) -> dict[str, Known]:
        """Return what is known of the files below ``root``, by path."""
        return {path: Known(*rest) for path, *rest in self._below("id, size, mtime_ns, sha256", "item", root)}

    def failures(self, root: str = "") -> dict[str, tuple[int, int, str]]:
        """Return size, time of change and reason of files below ``root`` that could not be added."""
        return {
            path: (size, mtime_ns, message)
            for path, size, mtime_ns, message in self._below("size, mtime_ns, message", "failure", root)
        }

    def _below(self, columns: str, table: str, root: str) -> list[tuple[Any, ...]]:
        prefix = root.rstrip("/") + "/" if root else ""
        with self._reading() as connection:
            return connection.execute(
                f"SELECT path, {columns} FROM {table} WHERE path = ? OR substr(path, 1, ?) = ?",  # noqa: S608
                (root, len(prefix), prefix),
            ).fetchall()

    def item(self, item_id: int) -> Item | None:
        """Return one item."""
        return next(iter(self.items_of([item_id])), None)

    def items_of(self, ids: Sequence[int]) -> list[Item]:
        """Return items in the order of their ids as given; those that are gone are left out."""
        found: dict[int, Item] = {}
        for some in _parts([int(each) for each in ids]):
            marks = ", ".join("?" * len(some))
            with self._reading() as connection:
                rows = connection.execute(
                    f"SELECT {', '.join(ITEM_COLUMNS)} FROM item WHERE id IN ({marks})",  # noqa: S608
                    some,
                ).fetchall()
            found |= {row[0]: Item(**dict(zip(ITEM_COLUMNS, row, strict=True))) for row in rows}
        return [found[int(each)] for each in ids if int(each) in found]

    def page(self, wanted: Filter, after_id: int, most: int) -> list[Item]:
        """Return up to ``most`` items with ids above ``after_id``, in their order."""
        ids = self.ids(wanted)
        return self.items_of([int(each) for each in ids[ids > after_id][:most]])

    def ids(self, wanted: Filter) -> NDArray[np.int64]:
        """Return the ids of items that pass a filter, ascending.

        Raises:
            InvalidRequest: its condition cannot be read.
        """
        condition, values = wanted.sql()
        with self._reading() as connection:
            if wanted.near is None:
                rows = connection.execute(f"SELECT id FROM item WHERE {condition} ORDER BY id", values)  # noqa: S608
                return np.fromiter((row[0] for row in rows), np.int64)
            rows = connection.execute(
                f"SELECT id, latitude, longitude FROM item WHERE {condition} ORDER BY id",  # noqa: S608
                values,
            )
            found = np.array(rows.fetchall(), np.float64).reshape(-1, 3)
        centre = unit_vectors(np.array([wanted.near.centre.latitude, wanted.near.centre.longitude]))
        inside = distances_km(unit_vectors(found[:, 1:]), centre) <= wanted.near.radius_km
        ids: NDArray[np.int64] = found[inside, 0].astype(np.int64)
        return ids

    def by_sha256(self, digest: str) -> list[Item]:
        """Return the items whose files have this content."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id FROM item WHERE sha256 = ? ORDER BY id", (digest,)
            ).fetchall()
        return self.items_of([row[0] for row in rows])

    def answers(self, item_id: int) -> dict[str, Any]:
        """Return the stored results about an item, by operation."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT operation, result FROM answer WHERE item_id = ? ORDER BY operation", (item_id,)
            ).fetchall()
        return {operation: json.loads(result) for operation, result in rows}

    def add(self, items: Sequence[NewItem]) -> list[int]:
        """Add items, or replace those of the same path, in one transaction; return their ids."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._changing() as connection:
            return [rows.add_item(connection, item, now) for item in items]

    def add_vectors(self, vectors: Mapping[int, Mapping[int, Floats]]) -> None:
        """Add vectors to items that are here, by item and model."""
        with self._changing() as connection:
            for item_id, by_model in vectors.items():
                rows.add_vectors(connection, item_id, by_model)

    def add_answers(self, answers: Mapping[int, Sequence[StoredAnswer]]) -> None:
        """Add answers to items that are here, or replace those of the same operations."""
        with self._changing() as connection:
            for item_id, some in answers.items():
                for answer in some:
                    connection.execute(
                        "DELETE FROM field WHERE item_id = ? AND operation = ?", (item_id, answer.operation)
                    )
                rows.add_answers(connection, item_id, some)
                rows.write_words(connection, item_id)

    def move(self, item_id: int, path: str, size: int, mtime_ns: int) -> None:
        """Say that an item's file has another path now."""
        with self._changing() as connection:
            connection.execute("DELETE FROM failure WHERE path = ?", (path,))
            connection.execute(
                "UPDATE item SET path = ?, size = ?, mtime_ns = ? WHERE id = ?",
                (path, size, mtime_ns, item_id),
            )
            rows.write_words(connection, item_id)

    def remove(self, ids: Sequence[int]) -> None:
        """Remove items with all that is stored of them."""
        with self._changing() as connection:
            connection.executemany("DELETE FROM item WHERE id = ?", [(int(each),) for each in ids])

    def note_failures(self, failures: Mapping[str, tuple[int, int, str, str]]) -> None:
        """Remember files that could not be added: size, time of change, code and reason by path."""
        with self._changing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO failure (path, size, mtime_ns, code, message) VALUES (?, ?, ?, ?, ?)",
                [(path, *about) for path, about in failures.items()],
            )
            connection.executemany("DELETE FROM item WHERE path = ?", [(path,) for path in failures])

    def forget_failures(self, paths: Sequence[str]) -> None:
        """Forget files that could not be added and are gone."""
        with self._changing() as connection:
            connection.executemany("DELETE FROM failure WHERE path = ?", [(path,) for path in paths])

    def roots(self) -> list[str]:
        """Return the folders that were indexed."""
        with self._reading() as connection:
            return [row[0] for row in connection.execute("SELECT path FROM root ORDER BY path")]

    def add_root(self, path: str) -> None:
        """Remember a folder that is indexed."""
        with self._changing() as connection:
            connection.execute("INSERT OR IGNORE INTO root (path) VALUES (?)", (path,))

    def lacking(self, model: VectorModel) -> list[Item]:
        """Return the items that have no vector of a model."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id FROM item WHERE id NOT IN (SELECT item_id FROM embedding WHERE model_id = ?) "
                "ORDER BY id",
                (model.id,),
            ).fetchall()
        return self.items_of([row[0] for row in rows])

    def unanswered(self, operation: str) -> list[Item]:
        """Return the items that have no answer of an operation."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id FROM item WHERE id NOT IN (SELECT item_id FROM answer WHERE operation = ?) "
                "ORDER BY id",
                (operation,),
            ).fetchall()
        return self.items_of([row[0] for row in rows])

    def perceptual_hashes(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Return ids and perceptual hashes of all items, ascending by id."""
        with self._reading() as connection:
            rows = np.array(
                connection.execute("SELECT id, perceptual_hash FROM item ORDER BY id").fetchall(), np.int64
            ).reshape(-1, 2)
        return rows[:, 0], np.ascontiguousarray(rows[:, 1]).view(np.uint64)

    def copies(self) -> list[list[int]]:
        """Return the ids of items of equal content, a list for each content that several items have."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT group_concat(id) FROM item GROUP BY sha256 HAVING count(*) > 1 ORDER BY min(id)"
            ).fetchall()
        return [sorted(int(each) for each in row[0].split(",")) for row in rows]

    # -- searches --------------------------------------------------------------------------------------------

    def nearest(
        self, model: VectorModel, query: Floats, most: int, only: NDArray[np.int64] | None = None
    ) -> Matches:
        """Return the items whose vectors of ``model`` are nearest to ``query``, float32 [dimensions]."""
        return self.index(model).search(query, most, only)

    def index(self, model: VectorModel) -> VectorIndex:
        """Return the vectors of a model in memory, as they are in the library now."""
        with self._reading() as connection:
            return self._vectors.index(connection, model)

    def with_words(self, text: str, most: int, only: NDArray[np.int64] | None = None) -> list[int]:
        """Return ids of items whose name, place or answers have all words of ``text``, the best first."""
        words = ["".join(each for each in word if each.isalnum()) for word in text.split()]
        query = " ".join(f'"{word}"' for word in words if word)
        if not query:
            return []
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?",
                (query, most if only is None else -1),
            ).fetchall()
        found = [int(row[0]) for row in rows]
        if only is not None:
            allowed = set(only.tolist())
            found = [each for each in found if each in allowed]
        return found[:most]


def _parts(ids: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[first : first + _IDS_AT_ONCE]
