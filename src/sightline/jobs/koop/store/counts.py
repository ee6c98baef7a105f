"""How many publications, items and files a state has."""

from __future__ import annotations

import datetime as dt

from sightline.jobs.koop.archive.contents import PDF_TYPE, TIFF_TYPE
from sightline.jobs.koop.lifecycle import NOT_JUDGED, ItemState
from sightline.jobs.koop.store.results import Fingerprints
from sightline.jobs.koop.store.state import State

# The fingerprint that a judge has for an item.
_BY = "CASE WHEN items.mime IN (:pdf, :tiff) THEN :document ELSE :image END"
_NOT_JUDGED = f"items.state = 'kept' AND substr(items.error, 1, {len(NOT_JUDGED)}) = '{NOT_JUDGED}'"
_OF_DAY = "SELECT url FROM placements JOIN publications ON id = pub_id WHERE date = :date"


class Counts:
    """Counts over one state."""

    def __init__(self, state: State) -> None:
        self._state = state

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
