"""One caller's bulk does not slow another's few questions."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from sightline.errors import Overloaded
from sightline.runtime import lanes
from sightline.runtime.fairness import FairQueue
from sightline.runtime.lanes import Lane, Slots, Work
from sightline.runtime.telemetry import Telemetry
from sightline.types import Priority


class Slow:
    """Answers when it is told to, and notes the order of what it computed."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = threading.Event()
        self.order: list[str] = []

    def prepare(self, subject: str) -> str:
        return subject

    def infer(self, items: list[str]) -> list[str]:
        self.begun.set()
        self.go_on.wait(30)
        self.order += items
        return items


def work_of(model: Slow, name: str) -> Work:
    return Work(model, name, float("inf"), Priority.INTERACTIVE, caller=name[0])


def test_callers_take_turns_in_batches() -> None:
    model, lane = Slow(), Lane("slow", max_batch=2, max_items=100, max_bytes=1000)
    slots = Slots(1, Telemetry())
    slots.add(lane)
    futures: list[Future[Any]] = [slots.submit(lane, work_of(model, "a0"))]
    assert model.begun.wait(30)
    futures += [slots.submit(lane, work_of(model, f"a{number}")) for number in range(1, 7)]
    futures += [slots.submit(lane, work_of(model, name)) for name in ("b0", "c0", "b1")]
    model.go_on.set()
    for future in futures:
        future.result(30)
    slots.close()
    assert model.order == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4", "a5", "a6"]


def test_one_caller_is_served_first_in_first_out() -> None:
    model, queue = Slow(), FairQueue[Work]()
    items = [work_of(model, f"a{number}") for number in range(5)]
    for item in items:
        queue.append(item)
    queue.remove(items[2])
    assert [queue.pop().item for _ in range(len(queue))] == ["a0", "a1", "a3", "a4"]
    assert not queue


def admit(lane: Lane, caller: str, count: int) -> int:
    """How many of so many items are let in."""
    for number in range(count):
        try:
            lane.admit(1, Priority.INTERACTIVE, caller=caller)
        except Overloaded:
            return number
    return count


def test_a_caller_alone_has_the_whole_lane() -> None:
    assert admit(Lane("x", max_batch=1, max_items=10, max_bytes=1000), "a", 20) == 10


def test_callers_who_share_a_lane_leave_room_for_each_other() -> None:
    lane = Lane("x", max_batch=1, max_items=10, max_bytes=1000)
    assert admit(lane, "b", 1) == 1
    assert admit(lane, "a", 20) == 5
    assert admit(lane, "b", 20) == 4


def test_a_caller_who_left_keeps_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(lanes.time, "monotonic", lambda: now)
    lane = Lane("x", max_batch=1, max_items=10, max_bytes=1000)
    lane.admit(1, Priority.INTERACTIVE, caller="b").give_back()
    now += lanes.CALLER_WINDOW_S + 1
    assert admit(lane, "a", 20) == 10
