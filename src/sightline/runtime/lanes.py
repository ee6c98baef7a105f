"""Queues in front of models and the slots that empty them.

A lane is one model's bounded queue. A slot is a thread that computes. A slot that falls idle takes at once
everything one lane has, up to that model's batch limit: nobody ever waits for a batch to fill, so latency
alone is the latency without batching, and load makes its own batches.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sightline.errors import DeadlineExceeded, InferenceFailed, Overloaded, SightlineError
from sightline.models import Model
from sightline.runtime.fairness import FairQueue
from sightline.runtime.telemetry import Telemetry
from sightline.types import Priority

_log = logging.getLogger(__name__)

# Bulk work gets a turn after this many interactive batches, however many more of those wait.
INTERACTIVE_BATCHES_IN_A_ROW = 8
# Bulk work may hold this part of a lane, so that a caller who waits for the answer always finds room.
BULK_SHARE = 0.5
# One caller may hold this part of a lane while others use the lane too, which they do if they have been there
# within so many seconds.
CALLER_SHARE = 0.5
CALLER_WINDOW_S = 60.0
# Completions older than this say nothing about the rate a caller would meet now.
RATE_WINDOW_S = 10.0
LONGEST_RETRY_AFTER_S = 60
# Slots are looked after so often. One that has died makes the server not ready until its thread is replaced.
LOOK_AFTER_S = 1.0
# More deaths than this in a process mean a defect that new threads do not cure.
MAX_RESTARTS = 5
# A batch that is not done by then hangs; its thread is a daemon and ends with the process.
CLOSE_TIMEOUT_S = 10.0


@dataclass(slots=True, eq=False)
class Work:
    """One prepared item on its way through a lane. Times are ``time.monotonic()`` seconds."""

    model: Model
    item: Any
    deadline: float
    priority: Priority
    caller: str = ""
    enqueued_at: float = field(default_factory=time.monotonic)
    started_at: float = 0.0
    finished_at: float = 0.0
    future: Future[Any] = field(default_factory=Future)

    def forget_item(self) -> None:
        """Let go of the pixels: whoever has the future may keep it for a while yet."""
        self.item = None


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """How full a lane is: admitted and unfinished items, their decoded bytes, items in the queue proper."""

    items: int
    num_bytes: int
    queued: int


@dataclass(slots=True)
class Held:
    """Places taken in a lane, of those that may be taken."""

    max_items: int
    max_bytes: int
    items: int = 0
    num_bytes: int = 0

    def has_room(self, num_bytes: int) -> bool:
        """An item larger than all the room there is would never be answered: alone, it is let in."""
        return not self.items or (
            self.items < self.max_items and self.num_bytes + num_bytes <= self.max_bytes
        )

    def take(self, items: int, num_bytes: int) -> None:
        self.items += items
        self.num_bytes += num_bytes


class Place:
    """One item's place in a lane, while it has one."""

    def __init__(self, held: tuple[Held, ...], lock: threading.Lock, num_bytes: int) -> None:
        self._held = held
        self._lock = lock
        self._num_bytes = num_bytes

    def hold(self, num_bytes: int) -> None:
        """Say how much memory the item keeps by now. Nobody is refused who is in; the next one may be."""
        with self._lock:
            for places in self._held:
                places.take(0, num_bytes - self._num_bytes)
            self._num_bytes = num_bytes

    def give_back(self) -> None:
        with self._lock:
            for places in self._held:
                places.take(-1, -self._num_bytes)


class Lane:
    """One model's queue. Admission is counted from before decoding until the answer is there."""

    def __init__(self, model: str, *, max_batch: int, max_items: int, max_bytes: int) -> None:
        self.model = model
        self.max_batch = max_batch
        self._all = Held(max_items, max_bytes)
        self._bulk = self.share(BULK_SHARE)
        self._lock = threading.Lock()
        self._done: deque[tuple[float, int]] = deque()
        self._busy_since = 0.0
        self._rate_per_s: float | None = None
        self._callers: dict[str, Held] = {}
        self._seen_at: dict[str, float] = {}
        self.queues: Mapping[Priority, FairQueue[Work]] = {priority: FairQueue() for priority in Priority}

    def share(self, part: float) -> Held:
        """A bound of that part of the lane, with nothing taken, to be given to :meth:`admit`."""
        return Held(max(1, int(self._all.max_items * part)), int(self._all.max_bytes * part))

    @contextmanager
    def admitted(self, num_bytes: int, priority: Priority = Priority.INTERACTIVE) -> Iterator[Place]:
        """:meth:`admit` for the block."""
        place = self.admit(num_bytes, priority)
        try:
            yield place
        finally:
            place.give_back()

    def admit(self, num_bytes: int, priority: Priority, *more: Held, caller: str = "") -> Place:
        """Take a place for one item that keeps ``num_bytes`` of memory now, and may keep more once decoded.

        Bulk work gets ``BULK_SHARE`` of the places and of the bytes at most. A lone item larger than the
        whole byte budget is let in when nothing else waits. ``more`` are further bounds that it counts in.
        ``caller`` gets ``CALLER_SHARE`` while others use the lane, and all of it else.

        Raises:
            Overloaded: the lane is full; ``retry_after_s`` comes from the measured drain rate.
        """
        held = (self._all, self._bulk, *more) if priority is Priority.BULK else (self._all, *more)
        with self._lock:
            own = self._of_caller(caller)
            if not all(places.has_room(num_bytes) for places in held) or (
                self._has_others(caller) and not own.has_room(num_bytes)
            ):
                raise Overloaded(f"{self.model} has all the work it can queue", self._retry_after_s())
            if not self._all.items:
                self._busy_since = time.monotonic()
            held = (*held, own)
            for places in held:
                places.take(1, num_bytes)
        return Place(held, self._lock, num_bytes)

    def _of_caller(self, caller: str) -> Held:
        """Return the places a caller holds, and note the caller as active. Call it with the lock."""
        self._seen_at[caller] = time.monotonic()
        if caller not in self._callers:
            self._callers[caller] = self.share(CALLER_SHARE)
        return self._callers[caller]

    def _has_others(self, caller: str) -> bool:
        since = time.monotonic() - CALLER_WINDOW_S
        return any(at > since for other, at in self._seen_at.items() if other != caller)

    @property
    def load(self) -> LaneLoad:
        with self._lock:
            queued = sum(len(queue) for queue in self.queues.values())
            return LaneLoad(self._all.items, self._all.num_bytes, queued)

    def completed(self, count: int) -> None:
        """Note that ``count`` items were just computed."""
        now = time.monotonic()
        with self._lock:
            self._done.append((now, count))
            while self._done and self._done[0][0] < now - RATE_WINDOW_S:
                self._done.popleft()

    def _retry_after_s(self) -> int:
        """Seconds until what is waiting now should be done, at the rate of the last ten busy seconds.

        Idle time says nothing about the rate; right after it the rate of the last busy time counts.
        """
        now = time.monotonic()
        since = max(self._busy_since, now - RATE_WINDOW_S)
        done = sum(count for at, count in self._done if at >= since)
        if done:
            self._rate_per_s = done / max(now - since, 0.001)
        if self._rate_per_s is None:
            return 1
        return min(max(1, math.ceil(self._all.items / self._rate_per_s)), LONGEST_RETRY_AFTER_S)


class Slots:
    """The threads that compute. All lanes share them; interactive work goes first, bulk is never starved."""

    def __init__(self, count: int, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._ready = threading.Condition()
        self._lanes: list[Lane] = []
        self._interactive_in_a_row = 0
        self._closed = False
        self._busy_since: dict[int, float] = {}
        self._restarts = 0
        self._threads = [self._started(number) for number in range(count)]

    def _started(self, number: int) -> threading.Thread:
        thread = threading.Thread(target=self._serve, args=(number,), name=f"slot-{number}", daemon=True)
        thread.start()
        return thread

    def restart_dead(self) -> None:
        """Replace threads that have died, at most ``MAX_RESTARTS`` of them in the life of the process.

        Past that, :attr:`alive` stays False, so that whoever supervises the process restarts it.
        """
        for number, thread in enumerate(self._threads):
            with self._ready:
                if self._closed or thread.is_alive() or self._restarts >= MAX_RESTARTS:
                    continue
                self._restarts += 1
                self._busy_since.pop(number, None)
            _log.error(
                "compute slot %d has died and is restarted (%d of %d)", number, self._restarts, MAX_RESTARTS
            )
            self._threads[number] = self._started(number)

    async def look_after(self) -> None:
        """Restart dead slots until cancelled."""
        while True:
            await asyncio.sleep(LOOK_AFTER_S)
            self.restart_dead()

    def add(self, lane: Lane) -> None:
        with self._ready:
            self._lanes.append(lane)

    def submit(self, lane: Lane, work: Work) -> Future[Any]:
        """Queue work. Cancelling the future before its batch starts takes it out of the queue."""
        with self._ready:
            if self._closed:
                raise SightlineError("the engine is shut down")
            lane.queues[work.priority].append(work)
            self._ready.notify()
        work.future.add_done_callback(lambda _: self._settled(lane, work))
        return work.future

    def _settled(self, lane: Lane, work: Work) -> None:
        work.forget_item()
        if work.future.cancelled():
            with self._ready, suppress(ValueError):  # a slot may have thrown it out already
                lane.queues[work.priority].remove(work)

    @property
    def alive(self) -> bool:
        """Whether every slot's thread runs."""
        return not self._closed and all(thread.is_alive() for thread in self._threads)

    @property
    def longest_running_s(self) -> float:
        """Age of the oldest batch being computed now; 0 when idle."""
        started = list(self._busy_since.values())
        return time.monotonic() - min(started) if started else 0.0

    def close(self) -> None:
        """Finish batches under way, refuse the rest, end the threads. A hanging batch is not waited for."""
        with self._ready:
            self._closed = True
            waiting = [work for lane in self._lanes for queue in lane.queues.values() for work in queue]
            for lane in self._lanes:
                for queue in lane.queues.values():
                    queue.clear()
            self._ready.notify_all()
        for work in waiting:
            _fail(work, SightlineError("the engine was shut down"))
        until = time.monotonic() + CLOSE_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    # -- a slot's own life ---------------------------------------------------------------------------------

    def _serve(self, number: int) -> None:
        while True:
            with self._ready:
                while not (chosen := self._take()):
                    if self._closed:
                        return
                    self._ready.wait()
                self._busy_since[number] = time.monotonic()
            lane, batch = chosen
            try:
                self._compute(lane, batch)
            except BaseException:  # no model's doing, and still no reason to lose a slot
                _log.exception("computing a batch of %s", lane.model)
                for work in batch:
                    _fail(work, InferenceFailed(f"{lane.model} failed on this input"))
            finally:
                self._busy_since.pop(number, None)
                del chosen, batch

    def _take(self) -> tuple[Lane, list[Work]] | None:
        """The next batch, of the priority whose turn it is, from the lane whose first item waited longest."""
        for priority in self._turns():
            waiting = [lane for lane in self._lanes if lane.queues[priority]]
            while waiting:
                lane = min(waiting, key=lambda lane: lane.queues[priority].next.enqueued_at)
                batch = _drain(lane.queues[priority], lane.max_batch)
                if batch:
                    in_a_row = self._interactive_in_a_row + 1
                    self._interactive_in_a_row = in_a_row if priority is Priority.INTERACTIVE else 0
                    return lane, batch
                waiting = [lane for lane in waiting if lane.queues[priority]]
        return None

    def _turns(self) -> tuple[Priority, ...]:
        if self._interactive_in_a_row >= INTERACTIVE_BATCHES_IN_A_ROW:
            return (Priority.BULK, Priority.INTERACTIVE)
        return (Priority.INTERACTIVE, Priority.BULK)

    def _compute(self, lane: Lane, batch: Sequence[Work]) -> None:
        started_at = time.monotonic()
        for work in batch:
            work.started_at = started_at
        try:
            outputs = batch[0].model.infer([work.item for work in batch])
            if len(outputs) != len(batch):
                raise InferenceFailed(f"{lane.model} answered {len(outputs)} of {len(batch)} items")
        except BaseException as error:  # a panic in Rust is one, and SystemExit would end the event loop
            self._isolate(lane, batch, error)
            return
        finished_at = time.monotonic()
        self._telemetry.batch_computed(lane.model, len(batch), finished_at - started_at)
        lane.completed(len(batch))
        for work, output in zip(batch, outputs, strict=True):
            work.finished_at = finished_at
            work.future.set_result(output)

    def _isolate(self, lane: Lane, batch: Sequence[Work], error: BaseException) -> None:
        """A batch failed: halve it until only the guilty item fails."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._compute(lane, batch[:middle])
            self._compute(lane, batch[middle:])
            return
        _log.warning("%s failed on an item: %s", lane.model, error, exc_info=error)
        self._telemetry.item_failed(lane.model)
        lane.completed(1)
        if not isinstance(error, SightlineError):
            error = InferenceFailed(f"{lane.model} failed on this input ({type(error).__name__})")
        _fail(batch[0], error)


def _drain(queue: FairQueue[Work], most: int) -> list[Work]:
    """Take up to ``most`` items somebody still waits for, of each caller in turn."""
    batch: list[Work] = []
    now = time.monotonic()
    model: Model | None = None
    while queue and len(batch) < most:
        # A reloaded model's items do not share a batch with those prepared for the one before it.
        if model is not None and queue.next.model is not model:
            break
        work = queue.pop()
        if not work.future.set_running_or_notify_cancel():
            continue
        if work.deadline <= now:
            work.future.set_exception(DeadlineExceeded("the request's time ran out before its turn came"))
            continue
        model = work.model
        batch.append(work)
    return batch


def _fail(work: Work, error: SightlineError) -> None:
    if not work.future.done():
        work.future.set_exception(error)
