"""What the archive may have changed since: files in doubt, what was gone, and decisions not found any more.

A decision that was changed is read again. Its files are in doubt then: other ones may be under their URLs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState, Keep, Policy, Retried, transition
from sightline.jobs.koop.store.state import State

_OF_DAY = (
    "SELECT placements.url FROM publications JOIN placements ON pub_id = id WHERE publications.date = :date"
)


class Revisions:
    """For one run. ``in_vain`` are the URLs of files that were asked for in it and did not come."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.in_vain: set[str] = set()

    # -- files in doubt ------------------------------------------------------------------------------------

    def doubt(self, identifier: str) -> None:
        """A publication has changed: everything that is settled of its files is to be asked for again."""
        self._state.execute(
            "UPDATE items SET doubt = '' WHERE (sha256 IS NOT NULL OR state IN ('gone', 'failed')) "
            "AND url IN (SELECT url FROM placements WHERE pub_id = ?)",
            (identifier,),
        )

    def is_in_doubt(self, url: str, *, retried: bool) -> bool:
        """Whether a file is to be asked for again; one that could not be, only if that is ``retried``."""
        row = self._state.one("SELECT doubt FROM items WHERE url = ? AND doubt IS NOT NULL", (url,))
        return row is not None and url not in self.in_vain and (retried or not row["doubt"])

    def settle(self, url: str) -> None:
        """It is known what the archive has."""
        self._state.execute("UPDATE items SET doubt = NULL WHERE url = ? AND doubt IS NOT NULL", (url,))

    def fail(self, url: str, reason: str) -> None:
        """It cannot be known for now."""
        self.in_vain.add(url)
        self._state.execute("UPDATE items SET doubt = ? WHERE url = ?", (reason, url))

    def count_failed(self, date: dt.date) -> int:
        """How many files of a day are known, but could not be asked for again."""
        row = self._state.one(
            f"SELECT count(*) AS number FROM items WHERE doubt != '' AND url IN ({_OF_DAY})",  # noqa: S608
            {"date": date.isoformat()},
        )
        return 0 if row is None else int(row["number"])

    # -- what was gone -------------------------------------------------------------------------------------

    def has_gone(self, date: dt.date) -> bool:
        """Whether a file of a day was gone when it was asked for."""
        return bool(self._gone(date))

    def ask_again(self, date: dt.date) -> None:
        """Let texts and files of a day that were gone be asked for as if nobody had; files once in a run."""
        policy = Policy(Keep.NONE, dry_run=False)  # which a retry does not depend on
        again = transition(Item("", ItemKind.PDF, ItemState.GONE), Retried(), policy).item
        with self._state.transaction():
            for url in [url for url in self._gone(date) if url not in self.in_vain]:
                self._state.execute(
                    "UPDATE items SET state = ?, error = ? WHERE url = ?", (again.state, again.error, url)
                )
            self._state.execute(
                "UPDATE publications SET state = 'pending', text_gone = 0 WHERE date = ? AND text_gone",
                (date.isoformat(),),
            )

    def _gone(self, date: dt.date) -> list[str]:
        rows = self._state.rows(
            f"SELECT url FROM items WHERE state = 'gone' AND url IN ({_OF_DAY}) ORDER BY url",  # noqa: S608
            {"date": date.isoformat()},
        )
        return [row["url"] for row in rows]

    # -- what is not there any more ------------------------------------------------------------------------

    def note_absent(self, date: dt.date, found: Collection[str]) -> None:
        """Say which publications of a day a whole answer to the same question does not have any more."""
        rows = self._state.rows("SELECT id FROM publications WHERE date = ?", (date.isoformat(),))
        for identifier in [row["id"] for row in rows]:
            self._state.execute(
                "UPDATE publications SET absent = ? WHERE id = ?", (identifier not in found, identifier)
            )

    def count_absent(self, date: dt.date) -> int:
        """How many publications of a day are known, and not found any more."""
        row = self._state.one(
            "SELECT count(*) AS number FROM publications WHERE date = ? AND absent", (date.isoformat(),)
        )
        return 0 if row is None else int(row["number"])
