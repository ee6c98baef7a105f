"""The manifest: one line of JSON per picture, by day, publication, place and page; perhaps as Parquet too.

A day's lines are appended when the day has ended, and the state remembers, in the same transaction, how long
the file was then. So a line that was torn off by a kill is cut at the next start, and none is ever doubled.
Days that end out of order mark the file as stale; it is written anew from the state at the end of the run.
Nothing in it depends on when or how often the download ran.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.errors import ConfigurationError
from sightline.extras import how_to_add
from sightline.jobs.koop.store.blobs import sync_folder
from sightline.jobs.koop.store.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.store.state import MANIFEST_IS_STALE, State

_LENGTH, _LAST_DAY = "manifest_bytes", "manifest_last_day"
# Of every picture: the archive puts texts under CC0, and says that this is not about pictures.
_RIGHTS = "not known; the archive's CC0 is for texts"
_ABSENT = "a later search of this day does not have it any more"
_ROWS_AT_ONCE = 1000
_PARQUET_ROWS = 20_000
# Days of which something is known for good, those just being worked on again included. A failed search has no
# lines.
_WRITTEN = "days.completed_at IS NOT NULL AND days.state != 'failed'"
_QUERY = f"""
SELECT publications.date AS day, publications.id AS publication, publications.state AS publication_state,
    publications.error AS publication_error, publications.absent, publications.record,
    placements.kind, placements.name,
    placements.caption_before, placements.caption, placements.alt, placements.width_mm, placements.height_mm,
    items.state, items.url, items.source_url, items.sha256,
    items.bytes, items.mime, items.model, items.error, items.file AS source_file, verdicts.page,
    verdicts.label, verdicts.confidence, verdicts.probabilities, verdicts.would_download, files.file,
    files.width, files.height, texts.lines, texts.model AS text_model
FROM days
JOIN publications ON publications.date = days.date
LEFT JOIN placements ON placements.pub_id = publications.id
LEFT JOIN items ON items.url = placements.url
LEFT JOIN verdicts ON verdicts.sha256 = items.sha256 AND verdicts.model = items.model
LEFT JOIN files ON files.sha256 = items.sha256 AND files.page = coalesce(verdicts.page, 0)
    AND CASE files.page WHEN 0 THEN items.state = 'kept'
        ELSE verdicts.would_download AND items.state NOT IN ('rejected', 'classified') END
LEFT JOIN texts ON texts.file = files.file
WHERE {_WRITTEN} AND days.date >= ? AND days.date <= ?
ORDER BY publications.date, publications.id, placements.position, verdicts.page
"""  # noqa: S608
_FIRST, _LAST = dt.date.min, dt.date.max


def rows(state: State, first: dt.date = _FIRST, last: dt.date = _LAST) -> Iterator[dict[str, Any]]:
    """The pictures of days that have ended, both ends included, as they stand in the manifest.

    A publication without any picture has one row, with ``kind`` None.
    """
    for row in state.rows(_QUERY, (first.isoformat(), last.isoformat())):
        yield _row(row)


class Manifest:
    """``manifest.jsonl`` of one state."""

    def __init__(self, path: Path, state: State) -> None:
        self._path = path
        self._state = state

    def repair(self) -> None:
        """Cut off what was written after the last day that the state knows to have ended."""
        length = self._size()
        recorded = self._state.get(_LENGTH) or 0
        if length > recorded:
            with disk_trouble_ends_the_run(self._path.parent), self._path.open("r+b") as file:
                file.truncate(recorded)
        elif length < recorded:  # somebody else shortened it
            self.mark_stale()

    def mark_stale(self) -> None:
        """Something that was written may have changed."""
        self._state.put(MANIFEST_IS_STALE, True)

    def append(self, day: dt.date) -> None:
        """Write an ended day's lines. Call it inside the transaction that ends the day."""
        last_day = self._state.get(_LAST_DAY)
        if self._state.get(MANIFEST_IS_STALE) or (last_day is not None and day.isoformat() <= last_day):
            self.mark_stale()
            return
        length = self._state.get(_LENGTH) or 0
        if length and self._size() < length:  # somebody took it away meanwhile
            self.mark_stale()
            return
        with disk_trouble_ends_the_run(self._path.parent), self._path.open("ab") as file:
            file.truncate(length)  # what an earlier, failed attempt may have left
            added = _write_lines(file.write, rows(self._state, day, day))
            if added:  # thousands of days may have nothing, and an fsync takes milliseconds
                file.flush()
                os.fsync(file.fileno())
        self._state.put(_LENGTH, length + added)
        self._state.put(_LAST_DAY, day.isoformat())

    def finish(self) -> None:
        """Bring the file in the order of days, if it is not."""
        if self._state.get(MANIFEST_IS_STALE) or not self._path.exists():
            self.rewrite()

    def number_of_lines(self) -> int:
        """About how many it may have: pages are lines of their own."""
        row = self._state.one("SELECT count(*) AS number FROM placements")
        return 0 if row is None else int(row["number"])

    def rewrite(self) -> None:
        """Write the whole file anew; readers see the old one until then."""
        with disk_trouble_ends_the_run(self._path.parent), _replacing(self._path) as temporary:
            with temporary.open("xb") as file:
                length = _write_lines(file.write, rows(self._state))
                file.flush()
                os.fsync(file.fileno())
            with self._state.transaction():
                last = self._state.one(f"SELECT max(date) AS date FROM days WHERE {_WRITTEN}")  # noqa: S608
                self._state.put(_LENGTH, length)
                self._state.put(_LAST_DAY, last and last["date"])
                self._state.put(MANIFEST_IS_STALE, False)
                temporary.replace(self._path)
        sync_folder(self._path.parent)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def write_parquet(path: Path, state: State) -> None:
    """The manifest as a Parquet file; probabilities are JSON text in it.

    Raises:
        ConfigurationError: pyarrow is not installed.
        RunEnded: the disk is full.
    """
    pyarrow, parquet = _pyarrow()
    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in _COLUMNS.items()])
    with disk_trouble_ends_the_run(path.parent), _replacing(path) as temporary:
        with parquet.ParquetWriter(temporary, schema) as writer:
            for piece in _pieces(rows(state), _PARQUET_ROWS):
                writer.write_table(pyarrow.Table.from_pylist([_flat(row) for row in piece], schema))
        temporary.replace(path)


def require_parquet() -> None:
    """Raises ConfigurationError: pyarrow is not installed."""
    _pyarrow()


_COLUMNS = {
    "day": "date32", "publication": "string", "title": "string", "creator": "string", "types": "string",
    "decision_types": "string", "signs": "string", "page_url": "string", "note": "string", "kind": "string",
    "name": "string", "url": "string", "rights": "string", "page": "int32", "caption_before": "string",
    "caption": "string", "alt": "string", "width_mm": "float64", "height_mm": "float64",
    "state": "string", "error": "string", "sha256": "string", "bytes": "int64",
    "mime": "string", "label": "string", "confidence": "float64", "probabilities": "string",
    "would_download": "bool_", "model": "string", "file": "string", "width": "int32", "height": "int32",
    "source_file": "string", "text": "string", "text_lines": "string", "text_model": "string",
}  # fmt: skip


def _row(row: sqlite3.Row) -> dict[str, Any]:
    record = json.loads(row["record"])
    has_item, kept = row["kind"] is not None, row["state"] == "kept"
    probabilities = row["probabilities"]
    return {
        "day": row["day"],
        "publication": row["publication"],
        "title": record["title"],
        "creator": record["creator"],
        "types": record["types"],
        "decision_types": record["type_verkeersbesluit"],
        "signs": record["sign_codes"],
        "page_url": record["page_url"] or record["html_url"],
        "note": _note(row["publication_error"], is_absent=bool(row["absent"])),
        "kind": row["kind"],
        "name": row["name"],
        "url": row["source_url"] or row["url"],
        "rights": _RIGHTS if has_item else None,
        "page": row["page"] or None,
        "caption_before": row["caption_before"],
        "caption": row["caption"],
        "alt": row["alt"],
        "width_mm": row["width_mm"],
        "height_mm": row["height_mm"],
        "state": row["state"] if has_item else row["publication_state"],
        "error": row["error"],
        "sha256": row["sha256"],
        "bytes": row["bytes"],
        "mime": row["mime"],
        "label": row["label"],
        "confidence": row["confidence"],
        "probabilities": None if probabilities is None else json.loads(probabilities),
        "would_download": None if row["would_download"] is None else bool(row["would_download"]),
        "model": row["model"],
        "file": row["file"],
        "width": row["width"],
        "height": row["height"],
        "source_file": row["source_file"] if kept else None,
        **_text(row),
    }


def _text(row: sqlite3.Row) -> dict[str, Any]:
    """The text in a kept picture, once ``koop read`` has read it."""
    lines = None if row["lines"] is None else json.loads(row["lines"])
    return {
        "text": None if lines is None else "\n".join(line["text"] for line in lines),
        "text_lines": lines,
        "text_model": row["text_model"],
    }


def _note(said: str | None, *, is_absent: bool) -> str | None:
    """What is odd about a publication."""
    return "; ".join(filter(None, (said, _ABSENT if is_absent else None))) or None


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    lists = {name: "; ".join(row[name]) for name in ("types", "decision_types", "signs")}
    probabilities = row["probabilities"]
    return {
        **row,
        **lists,
        "day": dt.date.fromisoformat(row["day"]),
        "probabilities": None if probabilities is None else json.dumps(probabilities),
        "text_lines": None
        if row["text_lines"] is None
        else json.dumps(row["text_lines"], ensure_ascii=False),
    }


def _write_lines(write: Callable[[bytes], Any], of: Iterable[dict[str, Any]]) -> int:
    """Whole lines, many at a time; how many bytes they are."""
    length = 0
    for piece in _pieces(of, _ROWS_AT_ONCE):
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in piece).encode("utf-8", "replace")
        write(data)
        length += len(data)
    return length


def _pieces(of: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(of)
    while piece := list(islice(iterator, size)):
        yield piece


class _replacing:  # noqa: N801 - reads as a statement: with _replacing(path) as temporary
    """A name beside ``path`` to write to, of which nothing is left behind."""

    def __init__(self, path: Path) -> None:
        self._temporary = path.with_name(f".{path.name}.part")

    def __enter__(self) -> Path:
        self._temporary.unlink(missing_ok=True)
        return self._temporary

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _pyarrow() -> tuple[Any, Any]:
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigurationError(
            f"writing Parquet needs pyarrow, which is not installed; {how_to_add('parquet')}"
        ) from error
    return pyarrow, parquet
