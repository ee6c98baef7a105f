"""One run over a source: every collection of it trained, or measured, each on its own.

What is wrong with one collection is told at the end and does not stop the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sightline.collections import Collection, Collections, Scores
from sightline.errors import (
    CollectionDamaged,
    CollectionError,
    ExamplesUnreachable,
    InvalidExamples,
    SightlineError,
    UnknownCollection,
)
from sightline.jobs.collections.embedding import HOPELESS, Embedded
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.scikit import scikit
from sightline.jobs.collections.scoring import evaluate
from sightline.jobs.collections.sources import Offer, Report, Source
from sightline.jobs.collections.training import Training, split, train

DoneT = TypeVar("DoneT")


@dataclass(frozen=True, slots=True)
class Ended(Generic[DoneT]):
    """What became of one collection: ``done``, or the ``error`` that prevented it.

    ``source`` is what was learnt from; None where that is where it failed.
    """

    collection: str
    title: str = ""
    done: DoneT | None = None
    source: Embedded | None = None
    error: SightlineError | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A version on examples; or why it could not be measured on them."""

    version: str
    serving: bool
    scores: Scores | None = None
    problem: str = ""


async def train_all(
    source: Source, collections: Collections, report: Report, only: Sequence[str] = ()
) -> AsyncIterator[Ended[Training]]:
    """Train every collection of ``source``, or those named in ``only``, one after the other.

    Raises:
        ExamplesUnreachable, InvalidRequest: the source itself is not usable.
        ModelUnavailable, ModelBroken, ConfigurationError: nothing could be trained.
    """
    scikit("linear_model")  # to say at once what is missing

    def work(offer: Offer, found: Examples) -> Training:
        collection = collections.collection(offer.collection)
        return train(collection, found, report=lambda step: report(step, 0, None))

    async for ended in _all(source, report, only, work):
        yield ended


async def measure_all(
    source: Source,
    collections: Collections,
    report: Report,
    only: Sequence[str] = (),
    *,
    held_out: bool = False,
) -> AsyncIterator[Ended[tuple[Measured, ...]]]:
    """Measure every stored version on the examples of ``source``, or on the fifth of them that a training
    holds out. Raises like :func:`train_all`."""

    def work(offer: Offer, found: Examples) -> tuple[Measured, ...]:
        report("measuring", 0, None)
        asked = split(found)[1] if held_out else found
        return measured(collections.collection(offer.collection), asked)

    async for ended in _all(source, report, only, work):
        yield ended


def measured(collection: Collection, examples: Examples) -> tuple[Measured, ...]:
    """All stored versions on the same examples, the oldest first.

    Raises:
        UnknownCollection: no version of it is stored.
    """
    versions = collection.versions()
    if not versions:
        raise UnknownCollection(collection.name)
    try:
        serving = collection.index().serving
    except (UnknownCollection, CollectionDamaged):
        serving = ""
    return tuple(_measured(collection, version, examples, version == serving) for version in versions)


def _measured(collection: Collection, version: str, examples: Examples, serving: bool) -> Measured:
    try:
        return Measured(version, serving, evaluate(collection.read(version), examples))
    except CollectionError as error:
        return Measured(version, serving, problem=str(error))


async def _all(
    source: Source, report: Report, only: Sequence[str], work: Callable[[Offer, Examples], DoneT]
) -> AsyncIterator[Ended[DoneT]]:
    report("asking what there is", 0, None)
    offers = await source.offers()
    wanted = [offer for offer in offers if not only or offer.collection in only]
    missing = [name for name in only if name not in {offer.collection for offer in offers}]
    for offer in wanted:
        yield await _one(source, offer, report, work)
    for name in missing:
        there_are = ", ".join(offer.collection for offer in offers[:20]) or "none"
        error = ExamplesUnreachable(f"the source has no collection {name[:100]!r}; it has {there_are}")
        yield Ended(name, error=error)


async def _one(
    source: Source, offer: Offer, report: Report, work: Callable[[Offer, Examples], DoneT]
) -> Ended[DoneT]:
    found: Embedded | None = None
    try:
        if offer.problem:
            raise InvalidExamples(offer.problem)
        found = await source.examples(offer, report)
        done = await asyncio.to_thread(work, offer, found.examples)
    except HOPELESS:
        raise
    except SightlineError as error:
        return Ended(offer.collection, offer.title, source=found, error=error)
    return Ended(offer.collection, offer.title, done, found)
