"""Which files stay: images as they came, and pages of documents, drawn. By content: items share them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sightline.jobs.koop.lifecycle import ItemState
from sightline.jobs.koop.store.blobs import Blobs, digest_in
from sightline.jobs.koop.store.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.store.results import WHOLE
from sightline.jobs.koop.store.state import State

_log = logging.getLogger(__name__)

_AT_ONCE = 200
# A file in whose place another one has come stays until that one is settled: see ``Documents.supersede``.
_ABANDONED = """
SELECT url, sha256, file FROM items WHERE NOT EXISTS (SELECT 1 FROM placements WHERE url = items.url)
AND NOT EXISTS (
    SELECT 1 FROM items AS newer WHERE newer.state IN ('pending', 'fetched')
    AND newer.url = substr(items.url, 1, length(items.url) - length(items.sha256) - 1)
)
LIMIT ?
"""
# Pages of a file that no item is any more, as one was fetched anew after a failure.
_OF_NOBODY = """
SELECT DISTINCT sha256 FROM files WHERE NOT EXISTS (SELECT 1 FROM items WHERE items.sha256 = files.sha256)
"""
_MARKS = "?, ?"
_HELD = (ItemState.FETCHED, ItemState.KEPT)
_DECIDED_AGAINST = (ItemState.REJECTED, ItemState.CLASSIFIED)


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


class KeptFiles:
    """Those of one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def of(self, sha256: str) -> dict[int, KeptFile]:
        """What stays of the file with this digest, by page."""
        rows = self._state.rows("SELECT * FROM files WHERE sha256 = ? ORDER BY page", (sha256,))
        return {
            row["page"]: KeptFile(
                row["page"], row["file"], row["bytes"], row["width"], row["height"], row["drawn"]
            )
            for row in rows
        }

    def replace(self, sha256: str, files: Iterable[KeptFile]) -> list[str]:
        """Say what stays of a file; the paths of what stayed before and that nothing needs any more."""
        before = {each.file for each in self.of(sha256).values()}
        with self._state.transaction():
            self._state.execute("DELETE FROM files WHERE sha256 = ?", (sha256,))
            for each in files:
                self._state.execute(
                    "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (sha256, each.page, each.file, each.num_bytes, each.width, each.height, each.drawn),
                )
            return self.unneeded(sorted(before))

    def names(self, path: str) -> bool:
        """Whether a file is what stays of something."""
        return self._state.one("SELECT 1 FROM files WHERE file = ? LIMIT 1", (path,)) is not None

    def needs_bytes(self, sha256: str) -> bool:
        """Whether an item waits for, or keeps, the file with this digest."""
        row = self._state.one(
            f"SELECT 1 FROM items WHERE sha256 = ? AND file IS NOT NULL AND state IN ({_MARKS}) "  # noqa: S608
            "LIMIT 1",
            (sha256, *_HELD),
        )
        return row is not None

    def unneeded(self, paths: Sequence[str]) -> list[str]:
        """Those of a few hundred files that no item waits for or keeps and that are not what stays of one."""
        marks = ", ".join("?" * len(paths))
        # Files are found by their digest: there is no index of items' files.
        rows = self._state.rows(
            f"SELECT file FROM files WHERE file IN ({marks}) UNION SELECT file FROM items "  # noqa: S608
            f"WHERE sha256 IN ({marks}) AND state IN ({_MARKS}) AND file IS NOT NULL",
            (*paths, *map(digest_in, paths), *_HELD),
        )
        needed = {row["file"] for row in rows}
        return [path for path in paths if path not in needed]

    def wanted_pages(self, sha256: str) -> set[int]:
        """Pages of a file that must stay, as far as they are here: those that the verdict says to download by
        which an item was decided, unless the decision was not to keep it. Those of an item that failed since
        are among them, until another verdict says otherwise. Of what is kept as it came, :data:`WHOLE`."""
        rows = self._state.rows(
            "SELECT verdicts.page FROM items JOIN verdicts ON verdicts.sha256 = items.sha256 "  # noqa: S608
            f"AND verdicts.model = items.model WHERE items.sha256 = ? AND state NOT IN ({_MARKS}) "
            "AND would_download UNION "
            "SELECT ? AS page FROM items LEFT JOIN judgements ON judgements.sha256 = items.sha256 "
            "AND judgements.model = items.model WHERE items.sha256 = ? AND state = ? "
            "AND coalesce(judgements.pages, 0) = 0",
            (sha256, *_DECIDED_AGAINST, WHOLE, sha256, ItemState.KEPT),
        )
        return {row["page"] for row in rows}


def remove_abandoned(state: State, blobs: Blobs) -> None:
    """Forget them, and remove what stays of them unless another one needs it. Nothing else may be at work.

    Raises:
        RunEnded: the disk is broken.
    """
    kept = KeptFiles(state)
    while rows := list(state.rows(_ABANDONED, (_AT_ONCE,))):
        with state.transaction():
            for row in rows:
                state.execute("DELETE FROM items WHERE url = ?", (row["url"],))
            paths = {row["file"] for row in rows if row["file"] is not None}
            for sha256 in {row["sha256"] for row in rows if row["sha256"] is not None}:
                paths.update(_pages(kept, sha256))
        _remove(sorted(paths), kept, blobs)
    for row in list(state.rows(_OF_NOBODY)):
        _remove(kept.replace(row["sha256"], ()), kept, blobs)


def _pages(kept: KeptFiles, sha256: str) -> list[str]:
    """What does not stay of a file when an item is not one any more that was it."""
    wanted = kept.wanted_pages(sha256)
    return kept.replace(sha256, [each for page, each in kept.of(sha256).items() if page in wanted])


def _remove(paths: list[str], kept: KeptFiles, blobs: Blobs) -> None:
    """Those that nothing needs. What a killed process leaves here goes at the start of the next one, see
    ``Decisions.clear``, and so does what cannot be removed now."""
    for path in kept.unneeded(paths):
        try:
            with disk_trouble_ends_the_run(blobs.root):
                blobs.remove(path)
        except OSError as error:
            _log.warning("%s cannot be removed: %s", path, error)
