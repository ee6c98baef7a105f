"""How an indexing run is asked for, and what it reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Fate(StrEnum):
    """What became of one photo."""

    ADDED = "added"
    CHANGED = "changed"
    MOVED = "moved"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Indexed:
    """One photo and what became of it; ``reason`` says why it failed."""

    path: str
    fate: Fate
    reason: str = ""


@dataclass(slots=True)
class IndexTally:
    """What a run did. ``counts`` has a :class:`Fate` for each photo that was looked at."""

    counts: Counter[Fate] = field(default_factory=Counter)
    unchanged: int = 0
    deleted: int = 0
    known_failures: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def has_failures(self) -> bool:
        """Whether a photo could not be added in this run."""
        return self.counts[Fate.FAILED] > 0


class Watcher(Protocol):
    """Is told how a run goes."""

    def begin(self, total: int) -> None:
        """So many photos are to be looked at."""

    def __call__(self, indexed: Indexed) -> None:
        """One photo is done."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How a run goes about it.

    Attributes:
        reembed: compute all vectors anew with the models that are installed now.
        retry_failed: look again at files that could not be read and have not changed.
        prune: remove the photos of folders that are empty or not there.
    """

    reembed: bool = False
    retry_failed: bool = False
    prune: bool = False
