"""Runs over a source with everything that can be wrong with one of its collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from sightline.collections import Collections, Space
from sightline.errors import (
    CollectionBusy,
    ExamplesUnreachable,
    InvalidExamples,
    ModelUnavailable,
    SightlineError,
    UnknownCollection,
)
from sightline.jobs.collections.embedding import Embedded
from sightline.jobs.collections.examples import Examples
from sightline.jobs.collections.runs import Ended, measure_all, measured, train_all
from sightline.jobs.collections.sources import Offer, Report, silent

Made = Callable[..., Examples]


@dataclass
class Shelf:
    """A source of ready-made examples, or of errors."""

    has: dict[str, Examples | SightlineError]
    problems: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def offers(self) -> Sequence[Offer]:
        return [Offer(name, f"Title {name}", problem=self.problems.get(name, "")) for name in self.has]

    async def examples(self, offer: Offer, report: Report) -> Embedded:
        self.asked.append(offer.collection)
        report("reading", 1, 2)
        found = self.has[offer.collection]
        if isinstance(found, SightlineError):
            raise found
        return Embedded(found)


async def run(shelf: Shelf, collections: Collections, *only: str, report: Report = silent) -> list[Ended]:
    return [each async for each in train_all(shelf, collections, report, only)]


async def test_what_fails_stops_nothing_else(collections: Collections, made: Made) -> None:
    shelf = Shelf(
        {"1": made(), "2": ExamplesUnreachable("gone"), "3": InvalidExamples("one class"), "4": made(),
         "..": made(), "5": made()},
        {"5": "an odd entry"},
    )  # fmt: skip
    ended = await run(shelf, collections)
    assert [(each.collection, each.title, str(each.error or "")) for each in ended] == [
        ("1", "Title 1", ""),
        ("2", "Title 2", "gone"),
        ("3", "Title 3", "one class"),
        ("4", "Title 4", ""),
        ("..", "Title ..", "there is no classifier for a collection '..'"),
        ("5", "Title 5", "an odd entry"),
    ]
    assert collections.names() == ["1", "4"]
    assert "5" not in shelf.asked
    assert all((each.done is None) == (each.error is not None) for each in ended)


async def test_what_would_fail_for_all_ends_it(collections: Collections, made: Made) -> None:
    shelf = Shelf({"1": ModelUnavailable("no weights"), "2": made()})
    with pytest.raises(ModelUnavailable):
        await run(shelf, collections)
    assert shelf.asked == ["1"]


async def test_only_the_named_are_asked_for(collections: Collections, made: Made) -> None:
    shelf = Shelf({"1": made(), "2": made(), "3": made()})
    ended = await run(shelf, collections, "3", "9", "1")
    assert shelf.asked == ["1", "3"]
    assert "no collection '9'; it has 1, 2, 3" in str(ended[-1].error)
    assert collections.names() == ["1", "3"]


async def test_one_that_is_being_trained_is_passed_over(collections: Collections, made: Made) -> None:
    with collections.collection(1).changing():
        first, second = await run(Shelf({"1": made(), "2": made()}), collections)
    assert isinstance(first.error, CollectionBusy)
    assert first.source is not None
    assert second.done is not None


async def test_steps_are_told(collections: Collections, made: Made) -> None:
    told: list[str] = []
    await run(Shelf({"1": made()}), collections, report=lambda step, done, total: told.append(step))
    assert told[:2] == ["asking what there is", "reading"]
    assert [step.split()[0] for step in told[2:]] == ["fitting", "measuring", "comparing"]


async def test_measuring_changes_nothing(collections: Collections, made: Made) -> None:
    collection = collections.collection(1)
    await run(Shelf({"1": made(1.0)}), collections)
    await run(Shelf({"1": made(9.0)}), collections)
    signature, versions = collection.signature(), collection.versions()
    opposite = Shelf({"1": made(-9.0, seed=3), "2": made()})
    one, two = [each async for each in measure_all(opposite, collections, silent)]
    assert [each.version for each in one.done] == versions
    assert [each.serving for each in one.done].count(True) == 1
    assert all(each.scores.recall < 0.2 for each in one.done)
    assert isinstance(two.error, UnknownCollection)
    (held_out, _) = [each async for each in measure_all(opposite, collections, silent, held_out=True)]
    assert {each.scores.examples for each in held_out.done} == {48}
    assert (collection.signature(), collection.versions()) == (signature, versions)


async def test_what_cannot_be_measured_says_why(collections: Collections, made: Made) -> None:
    collection = collections.collection(1)
    await run(Shelf({"1": made()}), collections)
    await run(Shelf({"1": made(space=Space("clip-vit-b-32", "e" * 16))}), collections)
    other, fits = measured(collection, made(space=Space("clip-vit-b-32", "e" * 16)))
    assert (other.scores, fits.problem) == (None, "")
    assert "was trained on" in other.problem
    (collection.root / "1" / "index.json").unlink()
    assert not any(each.serving for each in measured(collection, made()))
