"""Publications and the images in them, as the state keeps them.

An *item* is one file of the archive: an illustration, an attachment, or a publication's own PDF. A
*placement* is where a publication shows it. One attachment may be placed in fifty decisions; it is one item.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sightline.jobs.koop.archive.records import Record, read_written, written
from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState
from sightline.jobs.koop.store.revisions import Revisions
from sightline.jobs.koop.store.state import MANIFEST_IS_STALE, State


class PublicationState(StrEnum):
    """``COMPLETE``: it is known which items it has. What became of those is theirs to say."""

    PENDING = "pending"
    COMPLETE = "complete"
    FAILED = "failed"


_UNDER_WAY = frozenset({ItemState.PENDING, ItemState.FETCHED})


@dataclass(frozen=True, slots=True)
class StoredPublication:
    """``date`` is the day it was found under. ``error`` says why its items are not known."""

    record: Record
    date: dt.date
    state: PublicationState
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """An item in its publication.

    Attributes:
        url: of the item; for an attachment that of its listing, which stays when files are renamed.
        name: file name as its author or the publication gave it.
        caption_before: text in front of it.
        width_mm: printed width.
        in_head: it stands in a heading or says that it is a logo.
        caption: what stands under it, where that is marked as such.
        alt: what its author wrote for those who cannot see it.
        height_mm: printed height.
    """

    url: str
    kind: ItemKind
    name: str
    caption_before: str | None = None
    width_mm: float | None = None
    in_head: bool = False
    caption: str | None = None
    alt: str | None = None
    height_mm: float | None = None


class Documents:
    """Publications, placements and items of one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    # -- publications --------------------------------------------------------------------------------------

    def add(self, date: dt.date, records: Iterable[Record], *, by_available: bool = False) -> bool:
        """Note what a day's search found. New and changed publications become pending, and the files of those
        that changed are in doubt. Where days are those of publication (``by_available``), one that names
        another day and is known under another one stays there.

        Returns whether one of them was moved here from another day.
        """
        moved = False
        with self._state.transaction():
            for record in records:
                known = self._state.one(
                    "SELECT date, record_sha256 FROM publications WHERE id = ?", (record.identifier,)
                )
                is_elsewhere = known is not None and known["date"] != date.isoformat()
                if is_elsewhere and by_available and record.available not in (None, date):
                    continue
                moved |= is_elsewhere
                if known is not None and known["record_sha256"] == record.sha256:
                    self._state.execute(
                        "UPDATE publications SET date = ?, absent = 0 WHERE id = ?",
                        (date.isoformat(), record.identifier),
                    )
                    continue
                if known is not None:
                    Revisions(self._state).doubt(record.identifier)
                self._state.execute(
                    "INSERT OR REPLACE INTO publications (id, date, title, type, creator, modified, "
                    "changed_at, record, record_sha256, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        record.identifier, date.isoformat(), record.title, "; ".join(record.types),
                        record.creator, record.modified and record.modified.isoformat(), record.changed_at,
                        written(record), record.sha256, PublicationState.PENDING,
                    ),
                )  # fmt: skip
        return moved

    def identifiers(self, date: dt.date) -> list[str]:
        """Publications of a day in the order of their names."""
        rows = self._state.rows("SELECT id FROM publications WHERE date = ? ORDER BY id", (date.isoformat(),))
        return [row["id"] for row in rows]

    def publication(self, identifier: str) -> StoredPublication:
        """Raises KeyError: there is none of that name."""
        row = self._state.one("SELECT * FROM publications WHERE id = ?", (identifier,))
        if row is None:
            raise KeyError(identifier)
        return StoredPublication(
            read_written(row["record"]),
            dt.date.fromisoformat(row["date"]),
            PublicationState(row["state"]),
            row["error"],
        )

    def mark(self, identifier: str, state: PublicationState, error: str | None = None) -> None:
        self._state.execute(
            "UPDATE publications SET state = ?, error = ? WHERE id = ?", (state, error, identifier)
        )

    # -- items ---------------------------------------------------------------------------------------------

    def place(
        self,
        identifier: str,
        placements: Sequence[Placement],
        *,
        failure: str | None = None,
        is_gone: bool = False,
        note: str | None = None,
    ) -> None:
        """Say which items a publication has. Items that are known stay as they are.

        It is complete then, unless ``failure`` says why there may be more, such as that its text ``is_gone``.
        With a failure the items that it had before stay, behind these.
        """
        with self._state.transaction():
            if failure is not None:
                urls = {each.url for each in placements}
                before = self.placements(identifier)
                placements = [*placements, *(each for each in before if each.url not in urls)]
            self._state.execute("DELETE FROM placements WHERE pub_id = ?", (identifier,))
            for position, each in enumerate(placements):
                self._state.execute(
                    "INSERT INTO placements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        identifier, position, each.url, each.kind, each.name, each.caption_before,
                        each.width_mm, each.in_head, each.caption, each.alt, each.height_mm,
                    ),
                )  # fmt: skip
                self._state.execute(
                    "INSERT OR IGNORE INTO items (url, kind, state) VALUES (?, ?, ?)",
                    (each.url, each.kind, ItemState.PENDING),
                )
            state = PublicationState.COMPLETE if failure is None else PublicationState.FAILED
            self.mark(identifier, state, failure or note)
            self._state.execute("UPDATE publications SET text_gone = ? WHERE id = ?", (is_gone, identifier))

    def placements(self, identifier: str) -> list[Placement]:
        """Items of a publication in the order they stand there."""
        rows = self._state.rows("SELECT * FROM placements WHERE pub_id = ? ORDER BY position", (identifier,))
        return [
            Placement(
                row["url"], ItemKind(row["kind"]), row["name"], row["caption_before"], row["width_mm"],
                bool(row["in_head"]), row["caption"], row["alt"], row["height_mm"],
            )
            for row in rows
        ]  # fmt: skip

    def item(self, url: str) -> Item:
        """Raises KeyError: there is none."""
        row = self._state.one("SELECT * FROM items WHERE url = ?", (url,))
        if row is None:
            raise KeyError(url)
        return _item(row)

    def save(self, item: Item) -> None:
        """Write all of an item. If it was settled before and is otherwise now, the manifest is stale."""
        before = self._state.one("SELECT state, model FROM items WHERE url = ?", (item.url,))
        is_other = before is not None and (before["state"], before["model"]) != (item.state, item.model)
        if before is not None and is_other and before["state"] not in _UNDER_WAY:
            self._state.put(MANIFEST_IS_STALE, True)
        self._state.execute(
            "INSERT INTO items (url, kind, state, source_url, http, attempts, sha256, bytes, mime, etag, "
            "file, model, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT(url) DO UPDATE SET kind = excluded.kind, state = excluded.state, "
            "source_url = excluded.source_url, http = excluded.http, attempts = excluded.attempts, "
            "sha256 = excluded.sha256, bytes = excluded.bytes, mime = excluded.mime, "
            "etag = excluded.etag, file = excluded.file, model = excluded.model, error = excluded.error",
            (
                item.url, item.kind, item.state, item.source_url, item.http, item.attempts, item.sha256,
                item.num_bytes, item.mime, item.etag, item.file, item.model, item.error,
            ),
        )  # fmt: skip

    def supersede(self, before: Item, item: Item) -> None:
        """Another file is under an item's URL now. The one before stays until that is settled, if it does."""
        with self._state.transaction():
            self.save(replace(before, url=f"{before.url}#{before.sha256}"))
            self.save(item)

    def undropped(self) -> list[Item]:
        """Items whose bytes were to go when the process ended."""
        rows = self._state.rows(
            "SELECT * FROM items WHERE file IS NOT NULL AND state NOT IN (?, ?)",
            (ItemState.FETCHED, ItemState.KEPT),
        )
        return [_item(row) for row in rows]


def _item(row: sqlite3.Row) -> Item:
    return Item(
        row["url"], ItemKind(row["kind"]), ItemState(row["state"]), row["source_url"], row["http"],
        row["attempts"], row["sha256"], row["bytes"], row["mime"], row["etag"], row["file"], row["model"],
        row["error"],
    )  # fmt: skip
