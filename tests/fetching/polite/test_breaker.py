"""A host that keeps failing is left alone and then tried by one."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sightline.jobs.koop.polite import Clock, PolitenessPolicy
from sightline.jobs.koop.polite.breaker import Breaker


class Stepped:
    """A clock that moves when it is told to; sleepers wake when their time has come."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []
        self.clock = Clock(lambda: self.now_s, lambda: self.now_s, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        awake = asyncio.Event()
        self._sleepers.append((self.now_s + seconds, awake))
        await awake.wait()

    async def pass_(self, seconds: float) -> None:
        self.now_s += seconds
        for until_s, awake in self._sleepers:
            if until_s <= self.now_s:
                awake.set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def steps() -> Stepped:
    return Stepped()


@pytest.fixture
def breaker(steps: Stepped) -> Breaker:
    policy = PolitenessPolicy(
        "https://example.org/about", breaker_failures=3, breaker_pause_s=60.0, max_breaker_pause_s=200.0
    )
    return Breaker(policy, steps.clock)


async def go(breaker: Breaker, *outcomes: bool) -> None:
    for was_well in outcomes:
        async with breaker.turn() as turn:
            (turn.well if was_well else turn.ill)()


class Worker:
    """Asks for a turn, and holds it until it is told how the host was."""

    def __init__(self, breaker: Breaker) -> None:
        self.has_turn = False
        self._outcome = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._work(breaker))

    async def _work(self, breaker: Breaker) -> None:
        async with breaker.turn() as turn:
            self.has_turn = True
            (turn.well if await self._outcome else turn.ill)()

    async def end(self, was_well: bool) -> None:
        self._outcome.set_result(was_well)
        await settle()

    async def drop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        await settle()


async def workers_of(breaker: Breaker, count: int) -> list[Worker]:
    workers = [Worker(breaker) for _ in range(count)]
    await settle()
    return workers


def with_turn(workers: list[Worker]) -> list[Worker]:
    return [worker for worker in workers if worker.has_turn and not worker.task.done()]


async def test_failures_in_a_row_open_it_and_a_success_between_them_does_not(breaker):
    await go(breaker, False, False, True, False, False)
    assert not breaker.is_open
    await go(breaker, False)
    assert breaker.is_open


async def test_nobody_goes_during_the_pause_and_one_goes_after_it(breaker, steps):
    await go(breaker, False, False, False)
    workers = await workers_of(breaker, 4)
    await steps.pass_(59.0)
    assert with_turn(workers) == []
    await steps.pass_(1.0)
    assert len(with_turn(workers)) == 1
    await with_turn(workers)[0].end(True)
    assert len(with_turn(workers)) == 3
    assert not breaker.is_open
    for worker in with_turn(workers):
        await worker.end(True)


async def test_each_failed_probe_doubles_the_pause_up_to_a_bound(breaker, steps):
    await go(breaker, False, False, False)
    for pause_s in (60.0, 120.0, 200.0, 200.0):
        (worker,) = await workers_of(breaker, 1)
        await steps.pass_(pause_s - 1)
        assert not worker.has_turn
        await steps.pass_(1.0)
        assert worker.has_turn
        await worker.end(False)
    (worker,) = await workers_of(breaker, 1)
    await steps.pass_(200.0)
    await worker.end(True)
    # Well again: the next trouble begins with the short pause.
    await go(breaker, False, False, False)
    (worker,) = await workers_of(breaker, 1)
    await steps.pass_(60.0)
    assert worker.has_turn
    await worker.end(True)


async def test_those_who_wait_for_a_failed_probe_wait_for_the_next(breaker, steps):
    await go(breaker, False, False, False)
    workers = await workers_of(breaker, 3)
    await steps.pass_(60.0)
    await with_turn(workers)[0].end(False)
    assert with_turn(workers) == []
    await steps.pass_(120.0)
    assert len(with_turn(workers)) == 1
    await with_turn(workers)[0].end(True)
    for worker in with_turn(workers):
        await worker.end(True)


async def test_a_probe_that_is_cancelled_makes_room_for_another(breaker, steps):
    await go(breaker, False, False, False)
    workers = await workers_of(breaker, 2)
    await steps.pass_(60.0)
    (probe,) = with_turn(workers)
    await probe.drop()
    (second,) = with_turn(workers)
    assert second is not probe
    await second.end(True)
    assert not breaker.is_open


async def test_requests_that_were_under_way_when_it_opened_change_nothing_by_failing(breaker, steps):
    workers = await workers_of(breaker, 5)
    for worker in workers:
        await worker.end(False)
    assert breaker.is_open
    (late,) = await workers_of(breaker, 1)
    await steps.pass_(60.0)
    assert late.has_turn
    await late.end(True)


async def test_saying_nothing_counts_as_neither(breaker):
    await go(breaker, False, False)
    async with breaker.turn():
        pass
    assert not breaker.is_open
    await go(breaker, False)
    assert breaker.is_open
