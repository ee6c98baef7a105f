"""Publications and the images in them, as the state keeps them.

An *item* is one file of the archive: an illustration, an attachment, or a publication's own PDF. A
*placement* is where a publication shows it. One attachment may be placed in fifty decisions; it is one item.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sightline.jobs.koop.records import AttachmentName, Record
from sightline.jobs.koop.state import MANIFEST_IS_STALE, State
from sightline.jobs.koop.verdicts import PDF_TYPE, Fingerprints


class PublicationState(StrEnum):
    """``COMPLETE``: it is known which items it has. What became of those is theirs to say."""

    PENDING = "pending"
    COMPLETE = "complete"
    FAILED = "failed"


class ItemKind(StrEnum):
    ILLUSTRATION = "illustratie"
    ATTACHMENT = "exb"
    PDF = "pdf"


class ItemState(StrEnum):
    """``SKIPPED`` was not fetched on purpose. ``FETCHED`` waits for a verdict, ``CLASSIFIED`` has one and no
    rule was applied to it. ``GONE``: the archive has no such file (any more)."""

    PENDING = "pending"
    SKIPPED = "skipped"
    FETCHED = "fetched"
    CLASSIFIED = "classified"
    KEPT = "kept"
    REJECTED = "rejected"
    FAILED = "failed"
    GONE = "gone"


# The fingerprint that a judge has for an item.
_BY = "CASE items.mime WHEN :pdf THEN :document ELSE :image END"
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


@dataclass(frozen=True, slots=True)
class Item:
    """One file. ``source_url`` is where its bytes came from, ``file`` where they lie, if they are here.

    ``model`` is the fingerprint of the model whose verdict decided.
    """

    url: str
    kind: ItemKind
    state: ItemState = ItemState.PENDING
    source_url: str | None = None
    http: int | None = None
    attempts: int = 0
    sha256: str | None = None
    num_bytes: int | None = None
    mime: str | None = None
    etag: str | None = None
    file: str | None = None
    model: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A picture that stays: an image as it came (page 0), or a page of a document, drawn. Sizes in pixels.

    ``drawn`` is the digest of how a page was drawn.
    """

    page: int
    file: str
    num_bytes: int
    width: int | None = None
    height: int | None = None
    drawn: str | None = None


class Documents:
    """Publications, placements and items of one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    # -- publications --------------------------------------------------------------------------------------

    def add(self, date: dt.date, records: Iterable[Record]) -> bool:
        """Note what a day's search found. New and changed publications become pending.

        Returns whether one of them was known under another day.
        """
        moved = False
        with self._state.transaction():
            for record in records:
                known = self._state.one(
                    "SELECT date, record_sha256 FROM publications WHERE id = ?", (record.identifier,)
                )
                moved |= known is not None and known["date"] != date.isoformat()
                if known is not None and known["record_sha256"] == record.sha256:
                    self._state.execute(
                        "UPDATE publications SET date = ? WHERE id = ?", (date.isoformat(), record.identifier)
                    )
                    continue
                self._state.execute(
                    "INSERT OR REPLACE INTO publications VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                    (
                        record.identifier, date.isoformat(), record.title, "; ".join(record.types),
                        record.creator, record.modified and record.modified.isoformat(), record.changed_at,
                        _written(record), record.sha256, PublicationState.PENDING,
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
            _read(row["record"]),
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
        note: str | None = None,
    ) -> None:
        """Say which items a publication has. Items that are known stay as they are.

        It is complete then, unless ``failure`` says why there may be more.
        """
        with self._state.transaction():
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
            "INSERT OR REPLACE INTO items (url, kind, state, source_url, http, attempts, sha256, bytes, "
            "mime, etag, file, model, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                item.url, item.kind, item.state, item.source_url, item.http, item.attempts, item.sha256,
                item.num_bytes, item.mime, item.etag, item.file, item.model, item.error,
            ),
        )  # fmt: skip

    def needs_bytes(self, sha256: str) -> bool:
        """Whether an item waits for, or keeps, the file with this digest."""
        row = self._state.one(
            "SELECT 1 FROM items WHERE sha256 = ? AND file IS NOT NULL AND state IN (?, ?) LIMIT 1",
            (sha256, ItemState.FETCHED, ItemState.KEPT),
        )
        return row is not None

    def undropped(self) -> list[Item]:
        """Items whose bytes were to go when the process ended."""
        rows = self._state.rows(
            "SELECT * FROM items WHERE file IS NOT NULL AND state NOT IN (?, ?)",
            (ItemState.FETCHED, ItemState.KEPT),
        )
        return [_item(row) for row in rows]

    # -- files that stay -----------------------------------------------------------------------------------

    def kept_files(self, sha256: str) -> dict[int, KeptFile]:
        """What stays of the file with this digest, by page."""
        rows = self._state.rows("SELECT * FROM files WHERE sha256 = ? ORDER BY page", (sha256,))
        return {
            row["page"]: KeptFile(
                row["page"], row["file"], row["bytes"], row["width"], row["height"], row["drawn"]
            )
            for row in rows
        }

    def keep_files(self, sha256: str, files: Iterable[KeptFile]) -> list[str]:
        """Say what stays of a file; returns the paths of what stayed before and does not any more."""
        before = {each.file for each in self.kept_files(sha256).values()}
        with self._state.transaction():
            self._state.execute("DELETE FROM files WHERE sha256 = ?", (sha256,))
            for each in files:
                self._state.execute(
                    "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (sha256, each.page, each.file, each.num_bytes, each.width, each.height, each.drawn),
                )
                before.discard(each.file)
        return sorted(path for path in before if not self.is_kept(path))

    def is_kept(self, path: str) -> bool:
        """Whether a file is what stays of something."""
        return self._state.one("SELECT 1 FROM files WHERE file = ? LIMIT 1", (path,)) is not None

    # -- how many ------------------------------------------------------------------------------------------

    def count_publications(self, date: dt.date) -> dict[str, int]:
        """How many publications of a day there are in each state that occurs."""
        rows = self._state.rows(
            "SELECT state, count(*) AS number FROM publications WHERE date = ? GROUP BY state",
            (date.isoformat(),),
        )
        return {row["state"]: row["number"] for row in rows}

    def count_items(self, first: dt.date = dt.date.min, last: dt.date = dt.date.max) -> dict[str, int]:
        """How many items of a range of days there are in each state that occurs. Each is counted once."""
        rows = self._state.rows(
            "SELECT state, count(*) AS number FROM items WHERE url IN (SELECT url FROM placements "
            "JOIN publications ON id = pub_id WHERE date BETWEEN ? AND ?) GROUP BY state ORDER BY state",
            (first.isoformat(), last.isoformat()),
        )
        return {row["state"]: row["number"] for row in rows}

    def number_of_publications(self, first: dt.date = dt.date.min, last: dt.date = dt.date.max) -> int:
        """Of a range of days."""
        row = self._state.one(
            "SELECT count(*) AS number FROM publications WHERE date BETWEEN ? AND ?",
            (first.isoformat(), last.isoformat()),
        )
        return 0 if row is None else int(row["number"])

    def number_of_files(self) -> int:
        """That stay."""
        row = self._state.one("SELECT count(*) AS number FROM files")
        return 0 if row is None else int(row["number"])

    def disk_bytes(self) -> int:
        """Of all files that are here; those of the same content are one."""
        row = self._state.one(
            "SELECT total(bytes) AS bytes FROM (SELECT file, bytes FROM items WHERE file IS NOT NULL UNION "
            "SELECT file, bytes FROM files)"
        )
        return 0 if row is None else int(row["bytes"])

    def count_wanted(self, date: dt.date, by: Fingerprints | None) -> int:
        """How many items of a day have a picture that the verdicts say to download: of what stays the
        verdicts ``by`` this judge, else those that decided."""
        row = self._state.one(
            "SELECT count(DISTINCT items.url) AS number FROM publications "  # noqa: S608
            "JOIN placements ON pub_id = id JOIN items ON items.url = placements.url "
            "JOIN verdicts ON verdicts.sha256 = items.sha256 "
            f"AND verdicts.model = CASE items.state WHEN :kept THEN {_BY} ELSE items.model END "
            "WHERE date = :date AND would_download",
            {"kept": ItemState.KEPT, "date": date.isoformat(), **_judge(by)},
        )
        return 0 if row is None else int(row["number"])

    def count_judged_otherwise(self, by: Fingerprints, date: dt.date | None = None) -> int:
        """How many items (of a day) that could be had were decided by verdicts not ``by`` this judge."""
        of_day = "SELECT url FROM placements JOIN publications ON id = pub_id WHERE date = :date"
        row = self._state.one(
            f"SELECT count(*) AS number FROM items WHERE model IS NOT NULL AND model != {_BY} "  # noqa: S608
            f"AND state NOT IN (:gone, :failed) {'' if date is None else f'AND url IN ({of_day})'}",
            {
                "gone": ItemState.GONE, "failed": ItemState.FAILED, "date": date and date.isoformat(),
                **_judge(by),
            },
        )  # fmt: skip
        return 0 if row is None else int(row["number"])

    def troubles(self, date: dt.date, limit: int) -> list[tuple[str, str]]:
        """Publications and items of a day that failed, at most ``limit``: what, and why."""
        rows = self._state.rows(
            "SELECT id AS what, error FROM publications WHERE date = :date AND state = :failed UNION "
            "SELECT items.url, items.error FROM publications JOIN placements ON pub_id = id "
            "JOIN items ON items.url = placements.url WHERE date = :date AND items.state = :failed "
            "ORDER BY 1 LIMIT :limit",
            {"date": date.isoformat(), "failed": ItemState.FAILED, "limit": limit},
        )
        return [(row["what"], row["error"] or "") for row in rows]


def _judge(by: Fingerprints | None) -> dict[str, str | None]:
    document, image = (None, None) if by is None else (by.document, by.image)
    return {"pdf": PDF_TYPE, "document": document, "image": image}


def _item(row: sqlite3.Row) -> Item:
    return Item(
        row["url"], ItemKind(row["kind"]), ItemState(row["state"]), row["source_url"], row["http"],
        row["attempts"], row["sha256"], row["bytes"], row["mime"], row["etag"], row["file"], row["model"],
        row["error"],
    )  # fmt: skip


def _written(record: Record) -> str:
    return json.dumps(dataclasses.asdict(record), default=dt.date.isoformat, ensure_ascii=False)


def _read(text: str) -> Record:
    fields: dict[str, Any] = json.loads(text)
    for name in ("available", "modified"):
        fields[name] = fields[name] and dt.date.fromisoformat(fields[name])
    for name in ("types", "type_verkeersbesluit", "sign_codes", "unreadable_attachments"):
        fields[name] = tuple(fields[name])
    fields["attachments"] = tuple(AttachmentName(**each) for each in fields["attachments"])
    return Record(**fields)
