"""Where examples come from: a service, folders of images, Parquet files. One file each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sightline.jobs.collections.embedding import Embedded
from sightline.jobs.collections.plans import Plan

# A step in a few words, and how far it is: so many of so many (None: nobody knows).
Report = Callable[[str, int, int | None], None]


def silent(step: str, done: int, total: int | None) -> None:
    """A report to nobody."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One collection that a source has examples of.

    Attributes:
        plan: how its vectors are, or are to be, made.
        problem: why there can be no examples of it; everything else of the source goes on.
    """

    collection: str
    title: str = ""
    plan: Plan = field(default_factory=Plan)
    problem: str = ""


class Source(Protocol):
    """A place with examples of one or many collections."""

    async def offers(self) -> Sequence[Offer]:
        """The collections there are.

        Raises:
            ExamplesUnreachable: the source is not there, or says something else.
            InvalidRequest: it is no such source.
        """
        ...

    async def examples(self, offer: Offer, report: Report) -> Embedded:
        """All examples of one collection.

        Raises:
            ExamplesUnreachable: it is gone.
            InvalidExamples: they are none to learn from.
        """
        ...
