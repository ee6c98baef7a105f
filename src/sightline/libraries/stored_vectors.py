"""The vectors of a library in memory: made from its rows, kept in files beside it, and brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.libraries.items import VectorModel
from sightline.libraries.vectors import Blocks, IndexFiles, VectorIndex, read_index, write_index

_BLOCK_ROWS = 4_096


class StoredVectors:
    """The indexes of one library, by model. Not safe for threads; the indexes it returns are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[int, tuple[IndexFiles, tuple[int, int]]] = {}

    def forget(self) -> None:
        """Let all indexes go."""
        self._read.clear()

    def index(self, connection: sqlite3.Connection, model: VectorModel) -> VectorIndex:
        """Return the vectors of a model as they are in the library now."""
        version = (int(connection.execute("PRAGMA data_version").fetchone()[0]), connection.total_changes)
        files, seen = self._read.get(model.id, (None, None))
        if files is not None and seen == version:
            return files.index
        if files is None:
            folder, identity = self._folder / str(model.id), _identity(connection, model)
            files = read_index(folder, identity) or self._made(connection, model)
        files = _current(connection, model, files)
        if files.index.is_stale:
            files = _current(connection, model, self._made(connection, model))
        self._read[model.id] = (files, version)
        return files.index

    def _made(self, connection: sqlite3.Connection, model: VectorModel) -> IndexFiles:
        """Make the files anew."""
        folder, identity = self._folder / str(model.id), _identity(connection, model)
        write_index(folder, identity, _blocks(connection, model), model.dimensions)
        made = read_index(folder, identity)
        assert made is not None
        return made


def _current(connection: sqlite3.Connection, model: VectorModel, files: IndexFiles) -> IndexFiles:
    """The files with an index that knows which rows came and went since they were made."""
    dropped = connection.execute(
        "SELECT seq FROM dropped_embedding WHERE model_id = ? AND seq <= ?", (model.id, files.last_seq)
    )
    gone = np.fromiter((row[0] for row in dropped), np.int64)
    rows = connection.execute(
        "SELECT item_id, vector FROM embedding WHERE model_id = ? AND seq > ? ORDER BY seq",
        (model.id, files.last_seq),
    ).fetchall()
    index = files.index.with_changes(
        ~np.isin(files.seqs, gone),
        np.array([row[0] for row in rows], np.int64),
        _matrix([row[1] for row in rows], model.dimensions),
    )
    return replace(files, index=index)


def _blocks(connection: sqlite3.Connection, model: VectorModel) -> Blocks:
    rows = connection.execute(
        "SELECT seq, item_id, vector FROM embedding WHERE model_id = ? ORDER BY seq", (model.id,)
    )
    while some := rows.fetchmany(_BLOCK_ROWS):
        yield (
            np.array([row[0] for row in some], np.int64),
            np.array([row[1] for row in some], np.int64),
            _matrix([row[2] for row in some], model.dimensions),
        )


def _identity(connection: sqlite3.Connection, model: VectorModel) -> str:
    """Return the identity of the vectors in files. A new library of the same name has other ones."""
    created = connection.execute("SELECT min(indexed_at) FROM item").fetchone()[0]
    return f"{model.space} {model.fingerprint} {created}"


def _matrix(blobs: Sequence[bytes], dimensions: int) -> NDArray[np.float16]:
    return np.frombuffer(b"".join(blobs), "<f2").reshape(-1, dimensions)
