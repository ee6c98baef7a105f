from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DeadlineExceeded, InferenceFailed, InvalidImage, SightlineError
from sightline.runtime import lanes
from sightline.runtime.lanes import INTERACTIVE_BATCHES_IN_A_ROW, Lane, Slots, Work
from sightline.runtime.telemetry import Telemetry
from sightline.types import Priority

WAIT_S = 10.0
LATER_S = 60.0


def a_lane(name: str = "model", *, max_batch: int = 4, max_items: int = 64, max_bytes: int = 10**9) -> Lane:
    return Lane(name, max_batch=max_batch, max_items=max_items, max_bytes=max_bytes)


def a_work(
    model: Any, item: Any, *, lasting_s: float = LATER_S, priority: Priority = Priority.INTERACTIVE
) -> Work:
    return Work(model, item, time.monotonic() + lasting_s, priority)


@pytest.fixture
def slots(recorder: Any) -> Iterator[Slots]:
    slots = Slots(1, recorder)
    yield slots
    slots.close()


@pytest.fixture
def lane(slots: Slots) -> Lane:
    lane = a_lane()
    slots.add(lane)
    return lane


@pytest.fixture
def busy(slots: Slots, lane: Lane, held_model: Any) -> Iterator[Callable[[], None]]:
    """The only slot is computing item 0 until the returned function is called."""
    held_model.gate.clear()
    slots.submit(lane, a_work(held_model, 0))
    assert held_model.entered.acquire(timeout=WAIT_S)
    yield held_model.gate.set
    held_model.gate.set()


# -- batching ----------------------------------------------------------------------------------------------


def test_a_lone_item_is_computed_at_once(slots: Slots, lane: Lane, held_model: Any) -> None:
    assert slots.submit(lane, a_work(held_model, 3)).result(WAIT_S) == 30
    assert held_model.batches == [[3]]


def test_what_collects_while_the_slot_is_busy_comes_as_one_batch(
    slots: Slots, lane: Lane, held_model: Any, busy: Callable[[], None]
) -> None:
    futures = [slots.submit(lane, a_work(held_model, item)) for item in (1, 2, 3)]
    busy()
    assert [future.result(WAIT_S) for future in futures] == [10, 20, 30]
    assert held_model.batches == [[0], [1, 2, 3]]


def test_no_batch_is_larger_than_the_model_takes_and_order_is_kept(
    slots: Slots, lane: Lane, held_model: Any, recorder: Any, busy: Callable[[], None]
) -> None:
    futures = [slots.submit(lane, a_work(held_model, item)) for item in range(1, 11)]
    busy()
    assert [future.result(WAIT_S) for future in futures] == [item * 10 for item in range(1, 11)]
    assert held_model.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert recorder.batches == [("model", 1), ("model", 4), ("model", 4), ("model", 2)]


def test_items_of_a_reloaded_model_do_not_join_those_of_the_one_before(
    slots: Slots, lane: Lane, held_model: Any, held_models: Any, busy: Callable[[], None]
) -> None:
    reloaded = held_models()
    futures = [slots.submit(lane, a_work(held_model, 1)), slots.submit(lane, a_work(reloaded, 2))]
    busy()
    assert [future.result(WAIT_S) for future in futures] == [10, 20]
    assert held_model.batches == [[0], [1]]
    assert reloaded.batches == [[2]]


def test_work_knows_when_it_waited_and_when_it_ran(slots: Slots, lane: Lane, held_model: Any) -> None:
    work = a_work(held_model, 1)
    slots.submit(lane, work).result(WAIT_S)
    assert work.enqueued_at <= work.started_at <= work.finished_at <= time.monotonic()


def test_two_slots_compute_at_the_same_time(recorder: Any, held_models: Any) -> None:
    slots, lane = Slots(2, recorder), a_lane(max_batch=1)
    slots.add(lane)
    model = held_models()
    model.gate.clear()
    futures = [slots.submit(lane, a_work(model, item)) for item in (1, 2)]
    assert model.entered.acquire(timeout=WAIT_S)
    assert model.entered.acquire(timeout=WAIT_S)  # the second began before the first ended
    assert not any(future.done() for future in futures)
    model.gate.set()
    assert [future.result(WAIT_S) for future in futures] == [10, 20]
    slots.close()


# -- failing -----------------------------------------------------------------------------------------------


class _Fragile:
    """Fails on any batch with a poisonous item in it, like a runtime that refuses one bad tensor."""

    def __init__(self, poisonous: set[int]) -> None:
        self.poisonous = poisonous
        self.computed: list[int] = []
        self.gate = threading.Event()

    def prepare(self, subject: Any) -> Any:
        return subject

    def infer(self, items: list[int]) -> list[int]:
        self.gate.wait(WAIT_S)
        if bad := self.poisonous.intersection(items):
            raise ValueError(f"cannot compute {bad}")
        self.computed += items
        return [item * 10 for item in items]


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 12), data=st.data())
def test_only_poisonous_items_fail_and_each_good_one_is_computed_once(
    count: int, data: st.DataObject
) -> None:
    poisonous = data.draw(st.sets(st.integers(0, count - 1)))
    model, slots, lane = _Fragile(poisonous), Slots(1, Telemetry()), a_lane(max_batch=8)
    slots.add(lane)
    try:
        futures = [slots.submit(lane, a_work(model, item)) for item in range(count)]
        model.gate.set()
        for item, future in enumerate(futures):
            if item in poisonous:
                with pytest.raises(InferenceFailed, match="model failed on this input"):
                    future.result(WAIT_S)
            else:
                assert future.result(WAIT_S) == item * 10
    finally:
        slots.close()
    assert sorted(model.computed) == [item for item in range(count) if item not in poisonous]


def test_a_models_own_error_reaches_the_caller(
    slots: Slots, lane: Lane, held_model: Any, recorder: Any
) -> None:
    held_model.poison[1] = InvalidImage("a picture without a horizon")
    with pytest.raises(InvalidImage, match="horizon"):
        slots.submit(lane, a_work(held_model, 1)).result(WAIT_S)
    assert recorder.counts["failed"] == 1


def test_a_foreign_error_is_not_shown_to_the_caller(slots: Slots, lane: Lane, held_model: Any) -> None:
    held_model.poison[1] = ValueError("/secret/path")
    with pytest.raises(InferenceFailed) as caught:
        slots.submit(lane, a_work(held_model, 1)).result(WAIT_S)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), CancelledError(), StopIteration()])
def test_a_slot_survives_whatever_a_model_raises_and_the_batch_too(
    slots: Slots, lane: Lane, held_model: Any, busy: Callable[[], None], error: BaseException
) -> None:
    held_model.poison[2] = error
    futures = [slots.submit(lane, a_work(held_model, item)) for item in (1, 2, 3)]
    busy()
    with pytest.raises(InferenceFailed):
        futures[1].result(WAIT_S)
    assert [futures[0].result(WAIT_S), futures[2].result(WAIT_S)] == [10, 30]
    assert slots.alive
    assert slots.submit(lane, a_work(held_model, 4)).result(WAIT_S) == 40


def test_a_model_that_answers_too_few_items_fails_them(slots: Slots, lane: Lane) -> None:
    class Forgetful:
        def prepare(self, subject: Any) -> Any:
            return subject

        def infer(self, items: Any) -> Any:
            return []

    with pytest.raises(InferenceFailed, match="answered 0 of 1"):
        slots.submit(lane, a_work(Forgetful(), 1)).result(WAIT_S)


# -- leaving the queue -------------------------------------------------------------------------------------


def test_expired_work_is_never_computed(
    slots: Slots, lane: Lane, held_model: Any, busy: Callable[[], None]
) -> None:
    expired = slots.submit(lane, a_work(held_model, 1, lasting_s=-1))
    alive = slots.submit(lane, a_work(held_model, 2))
    busy()
    assert alive.result(WAIT_S) == 20
    with pytest.raises(DeadlineExceeded):
        expired.result(WAIT_S)
    assert held_model.computed[1] == 0


def test_expired_work_does_not_take_a_place_in_the_batch(
    slots: Slots, lane: Lane, held_model: Any, busy: Callable[[], None]
) -> None:
    for item in range(1, 4):
        slots.submit(lane, a_work(held_model, item, lasting_s=-1))
    futures = [slots.submit(lane, a_work(held_model, item)) for item in range(4, 8)]
    busy()
    assert [future.result(WAIT_S) for future in futures] == [40, 50, 60, 70]
    assert held_model.batches == [[0], [4, 5, 6, 7]]


def test_cancelled_work_leaves_the_queue_at_once_and_is_never_computed(
    slots: Slots, lane: Lane, held_model: Any, busy: Callable[[], None]
) -> None:
    futures = [slots.submit(lane, a_work(held_model, item)) for item in (1, 2, 3)]
    assert lane.load.queued == 3
    assert futures[1].cancel()
    assert lane.load.queued == 2
    busy()
    assert [futures[0].result(WAIT_S), futures[2].result(WAIT_S)] == [10, 30]
    assert held_model.computed[2] == 0


def test_cancelling_releases_the_item(
    slots: Slots, lane: Lane, held_model: Any, busy: Callable[[], None]
) -> None:
    class Pixels:
        pass

    pixels = Pixels()
    gone = weakref.ref(pixels)
    future = slots.submit(lane, a_work(held_model, pixels))
    del pixels
    assert gone() is not None
    future.cancel()
    gc.collect()
    assert gone() is None


def test_answering_releases_the_item(slots: Slots, lane: Lane, eventually: Any) -> None:
    class Model:
        def prepare(self, subject: Any) -> Any:
            return subject

        def infer(self, items: Any) -> Any:
            return [1 for _ in items]

    class Pixels:
        pass

    pixels = Pixels()
    gone = weakref.ref(pixels)
    work = a_work(Model(), pixels)
    del pixels
    assert slots.submit(lane, work).result(WAIT_S) == 1
    eventually(lambda: gone() is None)
    assert work.item is None


@settings(max_examples=25, deadline=None)
@given(cancelled=st.sets(st.integers(0, 19)), pauses=st.lists(st.integers(0, 3), min_size=20, max_size=20))
def test_cancelling_at_any_moment_loses_nobody_else(cancelled: set[int], pauses: list[int]) -> None:
    class Quick:
        def prepare(self, subject: Any) -> Any:
            return subject

        def infer(self, items: list[int]) -> list[int]:
            time.sleep(0.0005)
            return [item * 10 for item in items]

    model, slots, lane = Quick(), Slots(2, Telemetry()), a_lane(max_batch=3)
    slots.add(lane)
    try:
        futures = []
        for item in range(20):
            futures.append(slots.submit(lane, a_work(model, item)))
            if item in cancelled:
                time.sleep(pauses[item] * 0.0003)
                futures[item].cancel()
        for item, future in enumerate(futures):
            if future.cancelled():
                assert item in cancelled
            else:
                assert future.result(WAIT_S) == item * 10
        assert lane.load.queued == 0
    finally:
        slots.close()


# -- priorities --------------------------------------------------------------------------------------------


def test_interactive_work_goes_before_bulk_work(
    slots: Slots, lane: Lane, held_model: Any, busy: Callable[[], None]
) -> None:
    bulk = slots.submit(lane, a_work(held_model, 1, priority=Priority.BULK))
    interactive = slots.submit(lane, a_work(held_model, 2))
    busy()
    assert [bulk.result(WAIT_S), interactive.result(WAIT_S)] == [10, 20]
    assert held_model.batches == [[0], [2], [1]]


def test_bulk_work_gets_its_turn_however_much_interactive_work_waits(recorder: Any, held_models: Any) -> None:
    slots, lane, model = Slots(1, recorder), a_lane(max_batch=1), held_models()
    slots.add(lane)
    model.gate.clear()
    slots.submit(lane, a_work(model, 0))
    assert model.entered.acquire(timeout=WAIT_S)
    bulk = [slots.submit(lane, a_work(model, -item, priority=Priority.BULK)) for item in (1, 2)]
    futures = [slots.submit(lane, a_work(model, item)) for item in range(1, 31)]
    model.gate.set()
    for future in (*bulk, *futures):
        future.result(WAIT_S)
    order = [batch[0] for batch in model.batches]
    first, second = order.index(-1), order.index(-2)
    assert first <= INTERACTIVE_BATCHES_IN_A_ROW
    assert second - first <= INTERACTIVE_BATCHES_IN_A_ROW + 1
    slots.close()


def test_the_lane_that_waited_longest_is_next(
    slots: Slots, lane: Lane, held_model: Any, held_models: Any, busy: Callable[[], None]
) -> None:
    other_lane, other, order = a_lane("other"), held_models(), []
    slots.add(other_lane)
    early = slots.submit(other_lane, a_work(other, 1))
    late = slots.submit(lane, a_work(held_model, 2))
    early.add_done_callback(lambda _: order.append("early"))
    late.add_done_callback(lambda _: order.append("late"))
    busy()
    late.result(WAIT_S)
    assert order == ["early", "late"]


# -- the end -----------------------------------------------------------------------------------------------


def test_closing_finishes_what_is_computed_and_fails_what_waits(
    slots: Slots, lane: Lane, held_model: Any, eventually: Any
) -> None:
    held_model.gate.clear()
    running = slots.submit(lane, a_work(held_model, 1))
    assert held_model.entered.acquire(timeout=WAIT_S)
    waiting = slots.submit(lane, a_work(held_model, 2))
    closing: Future[None] = Future()
    threading.Thread(target=lambda: closing.set_result(slots.close())).start()
    with pytest.raises(SightlineError, match="shut down"):
        waiting.result(WAIT_S)
    assert not closing.done()
    held_model.gate.set()
    assert running.result(WAIT_S) == 10
    closing.result(WAIT_S)
    assert not slots.alive
    with pytest.raises(SightlineError, match="shut down"):
        slots.submit(lane, a_work(held_model, 3))


def test_closing_does_not_wait_for_a_batch_that_hangs(
    slots: Slots, lane: Lane, busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "CLOSE_TIMEOUT_S", 0.1)
    started = time.monotonic()
    slots.close()
    assert time.monotonic() - started < 5
    busy()


def test_a_batch_that_takes_long_is_seen(slots: Slots, busy: Callable[[], None], eventually: Any) -> None:
    eventually(lambda: slots.longest_running_s > 0.02)
    busy()
    eventually(lambda: slots.longest_running_s == 0.0)
