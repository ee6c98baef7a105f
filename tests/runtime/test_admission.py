"""A request is refused before it is in, and never for its own items."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sightline.capabilities.geolocation import GEOLOCATION, Geolocation, LocationCandidate
from sightline.capabilities.places import PLACES, Place
from sightline.errors import DeadlineExceeded, Overloaded
from sightline.runtime.analyzer import Analyzer, Status, Task
from sightline.runtime.engine import Context, Engine
from sightline.types import Coordinate, Priority

WAIT_S = 10.0


def soon(**more: Any) -> Context:
    return Context.lasting(more.pop("timeout_s", WAIT_S), **more)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.002)


def asked(engine: Engine, context: Context, subjects: range) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(engine.infer("held", str(each), context)) for each in subjects]


@pytest.mark.parametrize("queue_items", [1, 2, 5, 64])
async def test_a_request_is_not_refused_for_its_own_items(
    start: Any, define: Any, held_model: Any, queue_items: int
) -> None:
    engine = start(define("held", held_model), queue_items=queue_items).engine
    answers = await asyncio.gather(*asked(engine, soon(), range(200)))
    assert [answer.output for answer in answers] == [str(each) * 10 for each in range(200)]
    assert engine.loads()["held"].items == 0


async def test_a_request_leaves_half_of_a_lane_to_others(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model), queue_items=8).engine
    held_model.gate.clear()
    many = asked(engine, soon(), range(100))
    await until(lambda: engine.loads()["held"].items == 4)
    others = [task for each in range(4) for task in asked(engine, soon(), range(each, each + 1))]
    await until(lambda: engine.loads()["held"].items == 8)
    with pytest.raises(Overloaded):
        await engine.infer("held", "late", soon())
    held_model.gate.set()
    assert len(await asyncio.gather(*many, *others)) == 104
    assert engine.loads()["held"].items == 0


async def test_a_lane_that_others_fill_refuses_the_first_item(
    start: Any, define: Any, held_model: Any
) -> None:
    engine = start(define("held", held_model), queue_items=2).engine
    held_model.gate.clear()
    others = [task for each in range(2) for task in asked(engine, soon(), range(each, each + 1))]
    await until(lambda: engine.loads()["held"].items == 2)
    refused = await asyncio.gather(*asked(engine, soon(), range(5)), return_exceptions=True)
    assert all(isinstance(error, Overloaded) for error in refused)
    held_model.gate.set()
    await asyncio.gather(*others)


async def test_bytes_of_a_request_wait_for_each_other(start: Any, define: Any, held_model: Any) -> None:
    """Half a lane of one megabyte holds two texts of 200 KB, not three."""
    engine = start(define("held", held_model), queue_mib=1).engine
    held_model.gate.clear()
    context = soon()
    texts = [str(number) * 200_000 for number in range(8)]
    waiting = [asyncio.create_task(engine.infer("held", text, context)) for text in texts]
    await until(lambda: engine.loads()["held"].items == 2)
    assert engine.loads()["held"].num_bytes <= 1024 * 1024
    held_model.gate.set()
    answers = await asyncio.gather(*waiting)
    assert [len(answer.output) for answer in answers] == [2_000_000] * 8
    assert engine.loads()["held"].num_bytes == 0


async def test_who_waits_for_a_place_can_leave(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model), queue_items=2).engine
    held_model.gate.clear()
    context = soon()
    tasks = asked(engine, context, range(6))
    await until(lambda: engine.loads()["held"].items == 1)
    for task in tasks[1:4]:
        task.cancel()
    held_model.gate.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert engine.loads()["held"].items == 0


async def test_waiting_for_a_place_ends_at_the_deadline(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model), queue_items=2).engine
    await engine.infer("held", "warm", soon())
    held_model.gate.clear()
    ends = await asyncio.gather(*asked(engine, soon(timeout_s=0.2), range(6)), return_exceptions=True)
    assert all(isinstance(end, DeadlineExceeded) for end in ends)
    held_model.gate.set()
    await until(lambda: engine.loads()["held"].items == 0)
    assert (await engine.infer("held", "1", soon())).output


async def test_bulk_work_of_one_request_waits_as_well(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model), queue_items=4).engine
    answers = await asyncio.gather(*asked(engine, soon(priority=Priority.BULK), range(50)))
    assert len(answers) == 50
    assert engine.loads()["held"].items == 0


class Locator:
    """Knows a hundred places, as GeoCLIP does."""

    def prepare(self, view: Any) -> Any:
        return view

    def infer(self, items: Any) -> list[Geolocation]:
        places = tuple(LocationCandidate(Coordinate(n / 2, -n / 2), 0.01) for n in range(100))
        return [Geolocation(places, (), 1.0, 2.0)] * len(items)


class Towns:
    def prepare(self, coordinate: Any) -> Any:
        return coordinate

    def infer(self, items: Any) -> list[Place]:
        return [Place(f"Town {item.latitude}", "", "XX", 1.0) for item in items]


@pytest.mark.parametrize("queue_items", [4, 64])
async def test_a_hundred_places_of_sixteen_pictures_all_have_names(
    start: Callable[..., Analyzer], define: Any, photo: Any, queue_items: int
) -> None:
    analyzer = start(
        define("locator", Locator(), GEOLOCATION),
        define("towns", Towns(), PLACES),
        queue_items=queue_items,
    )
    task = analyzer.bind(Task("where", "geolocate", {"top_k": 100}))
    context = analyzer.context([task])

    def entry() -> Awaitable[Any]:
        return analyzer.analyze(photo, [task], context)

    for (outcome,) in await asyncio.gather(*(entry() for _ in range(16))):
        assert outcome.status is Status.OK
        assert outcome.answer is not None
        assert outcome.answer.warnings == ()
        names = [candidate.place for candidate in outcome.answer.data.candidates]
        assert names == [f"Town {n / 2}, XX" for n in range(100)]
