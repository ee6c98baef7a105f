"""What models said of files, kept by content: the same bytes are judged once by each model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sightline.jobs.koop.archive.contents import PAGED_TYPES
from sightline.jobs.koop.store.state import State

# The "page" of an image; pages of documents count from 1.
WHOLE = 0


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What a judge is known by: digests of everything that its verdicts depend on. Those on documents depend
    on how pages are drawn, too."""

    image: str
    document: str

    def of(self, mime: str | None) -> str:
        """For files of a media type."""
        return self.document if mime in PAGED_TYPES else self.image


@dataclass(frozen=True, slots=True)
class PageResult:
    """A model on one page (or :data:`WHOLE`): the likeliest label, and the probability of each."""

    page: int
    label: str
    confidence: float
    probabilities: Mapping[str, float]
    would_download: bool


@dataclass(frozen=True, slots=True)
class Classification:
    """A model on one file.

    Attributes:
        model: the judge's fingerprint for files of this kind.
        pages: how many pages the file has; 0 for an image.
        verdicts: one per page looked at, in order; none if ``error`` says why there is no judgement.
        code: of what kind (of ``sightline.errors``) the error is. Without one: why not all pages were looked
            at that could be another time.
        note: what was left out, such as pages past a limit.
    """

    sha256: str
    model: str
    pages: int
    verdicts: tuple[PageResult, ...] = ()
    code: str | None = None
    error: str | None = None
    note: str | None = None

    @property
    def would_download(self) -> bool:
        return any(verdict.would_download for verdict in self.verdicts)

    @property
    def in_part(self) -> bool:
        """Whether it may see more pages another time."""
        return self.code is not None and self.error is None

    def and_then(self, later: Classification) -> Classification:
        """This one, in part, and what the same model said when it looked again: no page is forgotten."""
        if later.error is not None:
            return self
        verdicts = {each.page: each for each in (*self.verdicts, *later.verdicts)}
        return replace(later, verdicts=tuple(verdicts[page] for page in sorted(verdicts)))


class Results:
    """The judgements of one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, sha256: str, model: str) -> Classification | None:
        """What ``model`` said of a file, if it was asked."""
        row = self._state.one("SELECT * FROM judgements WHERE sha256 = ? AND model = ?", (sha256, model))
        if row is None:
            return None
        pages = self._state.rows(
            "SELECT * FROM verdicts WHERE sha256 = ? AND model = ? ORDER BY page", (sha256, model)
        )
        verdicts = tuple(
            PageResult(
                each["page"], each["label"], each["confidence"], json.loads(each["probabilities"]),
                bool(each["would_download"]),
            )
            for each in pages
        )  # fmt: skip
        return Classification(sha256, model, row["pages"], verdicts, row["code"], row["error"], row["note"])

    def save(self, judgement: Classification) -> None:
        """Keep a judgement whole: one with some of its pages would pass for one with all."""
        with self._state.transaction():
            key = (judgement.sha256, judgement.model)
            self._state.execute("DELETE FROM verdicts WHERE sha256 = ? AND model = ?", key)
            for each in judgement.verdicts:
                self._state.execute(
                    "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        judgement.sha256, each.page, judgement.model, each.label, each.confidence,
                        json.dumps(dict(each.probabilities)), each.would_download,
                    ),
                )  # fmt: skip
            self._state.execute(
                "INSERT OR REPLACE INTO judgements VALUES (?, ?, ?, ?, ?, ?)",
                (*key, judgement.pages, judgement.code, judgement.error, judgement.note),
            )

    def forget_failures(self, sha256: str) -> None:
        """Let a file that could not be judged be judged again."""
        self._state.execute("DELETE FROM judgements WHERE sha256 = ? AND error IS NOT NULL", (sha256,))

    def count(self) -> dict[str, int]:
        """How many verdicts there are by each model."""
        rows = self._state.rows(
            "SELECT model, count(*) AS number FROM verdicts GROUP BY model ORDER BY model"
        )
        return {row["model"]: row["number"] for row in rows}
