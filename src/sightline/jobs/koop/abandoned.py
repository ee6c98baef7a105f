"""Files that no decision has any more: the archive has changed the decision, or what lies under the URL."""

from __future__ import annotations

import logging

from sightline.jobs.koop.blobs import Blobs
from sightline.jobs.koop.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.kept import KeptFiles
from sightline.jobs.koop.state import State

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


def let_go_of_abandoned(state: State, blobs: Blobs) -> None:
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
    ``Settling.clear``, and so does what cannot be removed now."""
    for path in kept.unneeded(paths):
        try:
            with disk_trouble_ends_the_run(blobs.root):
                blobs.remove(path)
        except OSError as error:
            _log.warning("%s cannot be removed: %s", path, error)
