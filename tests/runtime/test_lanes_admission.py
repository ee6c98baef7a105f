from __future__ import annotations

import pytest

from sightline.errors import Overloaded
from sightline.runtime import lanes
from sightline.runtime.lanes import Lane
from sightline.types import Priority


def a_lane(name: str = "model", *, max_batch: int = 4, max_items: int = 64, max_bytes: int = 10**9) -> Lane:
    return Lane(name, max_batch=max_batch, max_items=max_items, max_bytes=max_bytes)


def test_a_lane_is_bounded_in_items() -> None:
    lane = a_lane(max_items=2)
    with lane.admitted(1), lane.admitted(1), pytest.raises(Overloaded), lane.admitted(1):
        pass
    assert lane.load.items == 0


def test_a_lane_is_bounded_in_bytes() -> None:
    lane = a_lane(max_bytes=100)
    with lane.admitted(60):
        with pytest.raises(Overloaded), lane.admitted(41):
            pass
        with lane.admitted(40):
            assert lane.load.num_bytes == 100
    assert (lane.load.items, lane.load.num_bytes) == (0, 0)


def test_a_lone_item_larger_than_the_budget_is_let_in() -> None:
    lane = a_lane(max_bytes=100)
    with lane.admitted(500), pytest.raises(Overloaded), lane.admitted(1):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_place_is_given_back_whatever_happens(error: type[BaseException]) -> None:
    lane = a_lane()
    with pytest.raises(error), lane.admitted(7):
        raise error
    assert (lane.load.items, lane.load.num_bytes) == (0, 0)


def test_bulk_work_leaves_room_for_who_waits_for_the_answer() -> None:
    lane = a_lane(max_items=4, max_bytes=100)
    with lane.admitted(10, Priority.BULK), lane.admitted(10, Priority.BULK):
        with pytest.raises(Overloaded), lane.admitted(10, Priority.BULK):
            pass
        with lane.admitted(10), lane.admitted(10):
            assert lane.load.items == 4
    with lane.admitted(40, Priority.BULK), pytest.raises(Overloaded), lane.admitted(11, Priority.BULK):
        pass
    with lane.admitted(40, Priority.BULK), lane.admitted(60):
        assert lane.load.num_bytes == 100
    assert (lane.load.items, lane.load.num_bytes) == (0, 0)


def test_bulk_work_is_admitted_to_the_smallest_lane() -> None:
    lane = a_lane(max_items=1)
    with lane.admitted(10, Priority.BULK):
        assert lane.load.items == 1


def refused_after_s(lane: Lane, num_bytes: int = 1) -> int:
    with pytest.raises(Overloaded) as caught, lane.admitted(num_bytes):
        pass
    return caught.value.retry_after_s


class _Clock:
    """``time.monotonic`` that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(lanes, "time", clock)
    return clock


def test_retry_after_is_a_second_before_anything_was_measured() -> None:
    lane = a_lane(max_items=1)
    with lane.admitted(1):
        assert refused_after_s(lane) == 1


def test_retry_after_is_what_the_queue_takes_at_the_measured_rate(clock: _Clock) -> None:
    lane = a_lane(max_items=12)
    places = [lane.admitted(1) for _ in range(12)]
    for place in places:
        place.__enter__()
    clock.now += 3.0
    lane.completed(6)  # 2 items a second; 12 are held
    assert refused_after_s(lane) == 6
    clock.now += 1.0
    lane.completed(18)  # now 24 in 4 seconds
    assert refused_after_s(lane) == 2
    for place in places:
        place.__exit__(None, None, None)


def test_idle_time_does_not_lengthen_retry_after(clock: _Clock) -> None:
    lane = a_lane(max_items=2)
    with lane.admitted(1), lane.admitted(1):
        clock.now += 0.1
        lane.completed(2)
        assert refused_after_s(lane) == 1
    clock.now += 9.0  # nothing to do, for almost all of the window
    with lane.admitted(1), lane.admitted(1):
        assert refused_after_s(lane) == 1


def test_retry_after_is_measured_for_bytes_too_and_has_a_limit(clock: _Clock) -> None:
    lane = a_lane(max_items=1000, max_bytes=10)
    with lane.admitted(5), lane.admitted(5):
        clock.now += 8.0
        lane.completed(1)
        assert refused_after_s(lane, num_bytes=5) == 16
        clock.now += 100.0
        lane.completed(1)
        clock.now += 9.0
        assert refused_after_s(lane, num_bytes=5) <= 60
