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

from sightline.jobs.koop.records import Record, read_written, written
from sightline.jobs.koop.revisions import Revisions
from sightline.jobs.koop.state import MANIFEST_IS_STALE, State
from sightline.jobs.koop.verdicts import PDF_TYPE, TIFF_TYPE, Fingerprints


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
_BY = "CASE WHEN items.mime IN (:pdf, :tiff) THEN :document ELSE :image END"
# How the ``error`` of an item begins that stays by an older verdict, because no newer one could be had.
NOT_JUDGED = "could not be judged again: "
_NOT_JUDGED = f"items.state = 'kept' AND substr(items.error, 1, {len(NOT_JUDGED)}) = '{NOT_JUDGED}'"
_OF_DAY = "SELECT url FROM placements JOIN publications ON id = pub_id WHERE date = :date"
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
            if before.file is not None:
                self.save(replace(before, url=f"{before.url}#{before.sha256}"))
            self.save(item)

    def undropped(self) -> list[Item]:
        """Items whose bytes were to go when the process ended."""
        rows = self._state.rows(
            "SELECT * FROM items WHERE file IS NOT NULL AND state NOT IN (?, ?)",
            (ItemState.FETCHED, ItemState.KEPT),
        )
        return [_item(row) for row in rows]

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
        row = self._state.one(
            "SELECT count(*) AS number FROM (SELECT file FROM files UNION "
            "SELECT file FROM items WHERE file IS NOT NULL AND state = ?)",
            (ItemState.KEPT,),
        )
        return 0 if row is None else int(row["number"])

    def ends_of_files(self) -> tuple[dt.date, dt.date] | None:
        """The first and the last day that has files which stay, if any does."""
        row = self._state.one(
            "SELECT min(date) AS first, max(date) AS last FROM items JOIN placements ON placements.url = "
            "items.url JOIN publications ON id = pub_id WHERE (file IS NOT NULL AND items.state = ?) "
            "OR items.sha256 IN (SELECT sha256 FROM files)",
            (ItemState.KEPT,),
        )
        if row is None or row["first"] is None:
            return None
        return dt.date.fromisoformat(row["first"]), dt.date.fromisoformat(row["last"])

    def disk_bytes(self) -> int:
        """Of all files that are here; those of the same content are one."""
        row = self._state.one(
            "SELECT total(bytes) AS bytes FROM (SELECT file, bytes FROM items WHERE file IS NOT NULL UNION "
            "SELECT file, bytes FROM files)"
        )
        return 0 if row is None else int(row["bytes"])

    def count_wanted(self, date: dt.date, by: Fingerprints | None) -> int:
        """How many items of a day have a picture that the verdicts say to download: of what an earlier run
        decided, and a dry one leaves as it is, the verdicts ``by`` this judge, else those that decided."""
        row = self._state.one(
            "SELECT count(DISTINCT items.url) AS number FROM publications "  # noqa: S608
            "JOIN placements ON pub_id = id JOIN items ON items.url = placements.url "
            "JOIN verdicts ON verdicts.sha256 = items.sha256 "
            f"AND verdicts.model = CASE WHEN items.state IN (:kept, :rejected) THEN {_BY} "
            "ELSE items.model END "
            "WHERE date = :date AND would_download",
            {
                "kept": ItemState.KEPT, "rejected": ItemState.REJECTED, "date": date.isoformat(),
                **_judge(by),
            },
        )  # fmt: skip
        return 0 if row is None else int(row["number"])

    def count_judged_otherwise(self, by: Fingerprints, date: dt.date | None = None) -> int:
        """How many items (of a day) that could be had were decided by verdicts not ``by`` this judge."""
        row = self._state.one(
            f"SELECT count(*) AS number FROM items WHERE model IS NOT NULL AND model != {_BY} "  # noqa: S608
            f"AND state NOT IN (:gone, :failed) {'' if date is None else f'AND url IN ({_OF_DAY})'}",
            {
                "gone": ItemState.GONE, "failed": ItemState.FAILED, "date": date and date.isoformat(),
                **_judge(by),
            },
        )  # fmt: skip
        return 0 if row is None else int(row["number"])

    def count_not_judged(self, date: dt.date) -> int:
        """How many items of a day stay by an older verdict because no newer one could be had."""
        row = self._state.one(
            f"SELECT count(*) AS number FROM items WHERE {_NOT_JUDGED} AND url IN ({_OF_DAY})",  # noqa: S608
            {"date": date.isoformat()},
        )
        return 0 if row is None else int(row["number"])

    def has_pages_to_look_at(self, date: dt.date) -> bool:
        """Whether there is a document of a day that was judged by some of its pages, for want of time."""
        row = self._state.one(
            "SELECT 1 FROM judgements JOIN items ON items.sha256 = judgements.sha256 "  # noqa: S608
            "AND items.model = judgements.model WHERE judgements.code IS NOT NULL "
            f"AND judgements.error IS NULL AND items.state != :gone AND url IN ({_OF_DAY}) LIMIT 1",
            {"date": date.isoformat(), "gone": ItemState.GONE},
        )
        return row is not None

    def troubles(self, date: dt.date, limit: int) -> list[tuple[str, str]]:
        """Publications and items of a day that failed, or could not be judged again, at most ``limit``: what,
        and why."""
        rows = self._state.rows(
            "SELECT id AS what, error FROM publications "  # noqa: S608
            "WHERE date = :date AND state = :failed UNION "
            "SELECT items.url, items.error FROM publications JOIN placements ON pub_id = id "
            "JOIN items ON items.url = placements.url WHERE date = :date "
            f"AND (items.state = :failed OR {_NOT_JUDGED}) UNION "
            "SELECT items.url, items.doubt FROM publications JOIN placements ON pub_id = id "
            "JOIN items ON items.url = placements.url WHERE date = :date AND items.doubt != '' "
            "ORDER BY 1 LIMIT :limit",
            {"date": date.isoformat(), "failed": ItemState.FAILED, "limit": limit},
        )
        return [(row["what"], row["error"] or "") for row in rows]


def _judge(by: Fingerprints | None) -> dict[str, str | None]:
    document, image = (None, None) if by is None else (by.document, by.image)
    return {"pdf": PDF_TYPE, "tiff": TIFF_TYPE, "document": document, "image": image}


def _item(row: sqlite3.Row) -> Item:
    return Item(
        row["url"], ItemKind(row["kind"]), ItemState(row["state"]), row["source_url"], row["http"],
        row["attempts"], row["sha256"], row["bytes"], row["mime"], row["etag"], row["file"], row["model"],
        row["error"],
    )  # fmt: skip
