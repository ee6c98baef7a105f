"""Vectors of pictures that were embedded before, so that a second training embeds only what is new.

A picture is known by the digest of its file and a vector by the digest of all that made it. Losing what is
kept costs time and nothing else, so whatever goes wrong with it is said in the log and ends nothing.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.collections import Collections

_log = logging.getLogger(__name__)

FILE_NAME = ".vectors.sqlite3"
# A gigabyte of CLIP vectors; past that the oldest go.
MOST_VECTORS = 500_000
BUSY_TIMEOUT_S = 10.0

Vector = NDArray[np.float32]
# Of what made a vector, and of the file of a picture; both in hex.
Key = tuple[str, str]

# ValueError and TypeError: a row that is no vector.
_TROUBLE = (sqlite3.Error, OSError, ValueError, TypeError)

_TABLE = """
CREATE TABLE IF NOT EXISTS vectors (
    number INTEGER PRIMARY KEY AUTOINCREMENT, maker TEXT NOT NULL, sha256 TEXT NOT NULL, vector BLOB NOT NULL,
    UNIQUE (maker, sha256)
)
"""
_FIND = "SELECT CAST(vector AS BLOB) FROM vectors WHERE maker = ? AND sha256 = ?"
_ADD = "INSERT OR IGNORE INTO vectors (maker, sha256, vector) VALUES (?, ?, ?)"
_DROP = "DELETE FROM vectors WHERE maker = ? AND sha256 = ?"
_PRUNE = "DELETE FROM vectors WHERE number <= (SELECT max(number) - ? FROM vectors)"


class KeptVectors:
    """Of all trainings of a folder of collections. Every call blocks; any thread may make it."""

    def __init__(self, collections: Collections, *, most_vectors: int = MOST_VECTORS) -> None:
        self._path = collections.root / FILE_NAME
        self._most_vectors = most_vectors
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def find(self, keys: Sequence[Key]) -> dict[Key, Vector]:
        """Those that are kept, float32 [dimensions]. A damaged one is dropped, so that it is made anew."""
        try:
            with self._lock:
                database = self._opened()
                found = {}
                for key in keys:
                    row = database.execute(_FIND, key).fetchone()
                    if row is None:
                        continue
                    vector = _unsealed(key, row[0])
                    if vector is None:
                        with database:
                            database.execute(_DROP, key)
                    else:
                        found[key] = vector
                return found
        except _TROUBLE as error:
            self._report(error)
            return {}

    def keep(self, vectors: Mapping[Key, Vector]) -> None:
        """Add these; those that are kept already stay as they are."""
        rows = [(*key, _sealed(key, vector)) for key, vector in vectors.items()]
        try:
            with self._lock, self._opened() as database:  # one transaction
                database.executemany(_ADD, rows)
                database.execute(_PRUNE, (self._most_vectors,))
        except _TROUBLE as error:
            self._report(error)

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Threads take turns under the lock.
            database = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            try:
                database.execute(_TABLE)
            except sqlite3.Error:
                database.close()
                raise
            self._database = database
        return self._database

    def _report(self, error: Exception) -> None:
        _log.warning("vectors cannot be kept in %s (%s): pictures are embedded anew", self._path, error)


def _sealed(key: Key, vector: Vector) -> bytes:
    """The numbers behind the digest of them and of their key."""
    numbers = vector.astype("<f4").tobytes()
    return _seal(key, numbers) + numbers


def _unsealed(key: Key, blob: bytes) -> Vector | None:
    """None for anything but what :func:`_sealed` gave for this key."""
    size = hashlib.sha256().digest_size
    numbers = blob[size:]
    if not numbers or blob[:size] != _seal(key, numbers):
        return None
    return np.frombuffer(numbers, "<f4").astype(np.float32)


def _seal(key: Key, numbers: bytes) -> bytes:
    return hashlib.sha256("\0".join(key).encode() + b"\0" + numbers).digest()
