"""Runners: how a loaded model is run on one subject. One class per value of ``models.Runs``."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol, cast

from sightline.capabilities import Subject, held_bytes, pictures_of
from sightline.errors import SightlineError
from sightline.models import Model, ModelCard, RemoteModel, Runs
from sightline.operations import Timing
from sightline.runtime.context import Context
from sightline.runtime.lanes import Lane, Place, Slots, Work
from sightline.runtime.resident import Resident
from sightline.runtime.telemetry import Telemetry
from sightline.runtime.workers import Workers


class Runner(Protocol):
    """Runs one model. The caller holds the model in memory and a place in its lane."""

    async def run(
        self, resident: Resident, subject: Subject, context: Context, place: Place
    ) -> tuple[Any, Timing | None]:
        """Return the model's output and where the time went, if that is worth reporting."""
        ...


class SlotRunner:
    """Prepares on a worker thread, then queues the item for a batch in a compute slot."""

    def __init__(self, lane: Lane, slots: Slots, workers: Workers, telemetry: Telemetry) -> None:
        self._lane = lane
        self._slots = slots
        self._workers = workers
        self._telemetry = telemetry

    async def run(
        self, resident: Resident, subject: Subject, context: Context, place: Place
    ) -> tuple[Any, Timing]:
        started = time.monotonic()
        model, name = cast(Model, resident.model), self._lane.model
        item = await self._workers.decode(
            pictures_of(subject), context, self._workers.guarded, name, model.prepare, subject
        )
        place.hold(held_bytes(subject) + int(getattr(item, "nbytes", 0)))
        work = Work(model, item, context.deadline, context.priority, context.caller)
        del item  # the lane drops its own reference once the item is computed
        output = await asyncio.wrap_future(self._slots.submit(self._lane, work))
        prepare_s, queue_s = work.enqueued_at - started, work.started_at - work.enqueued_at
        self._telemetry.item_waited(name, prepare_s, queue_s)
        self._telemetry.step("decode", name, started, work.enqueued_at)
        self._telemetry.step("queue", name, work.enqueued_at, work.started_at)
        self._telemetry.step("infer", name, work.started_at, work.finished_at)
        return output, Timing.of(
            prepare_s=prepare_s, queue_s=queue_s, infer_s=work.finished_at - work.started_at
        )


class LoopRunner:
    """Runs a model on the event loop, because it answers in microseconds."""

    def __init__(self, name: str, workers: Workers) -> None:
        self._name = name
        self._workers = workers

    async def run(
        self, resident: Resident, subject: Subject, context: Context, place: Place
    ) -> tuple[Any, None]:
        return self.run_now(resident, subject), None

    def run_now(self, resident: Resident, subject: Subject) -> Any:
        """Return the output without waiting for anything."""
        return self._workers.guarded(self._name, _infer_one, resident.model, subject)


class WorkerRunner:
    """Runs a quick model on a worker thread, without waiting for a compute slot."""

    def __init__(self, name: str, workers: Workers) -> None:
        self._name = name
        self._workers = workers

    async def run(
        self, resident: Resident, subject: Subject, context: Context, place: Place
    ) -> tuple[Any, None]:
        run = self._workers.guarded
        pictures = pictures_of(subject)
        return await self._workers.decode(
            pictures, context, run, self._name, _infer_one, resident.model, subject
        ), None


class RemoteRunner:
    """Asks another service, with at most ``max_requests`` requests under way."""

    def __init__(self, name: str, max_requests: int, workers: Workers, telemetry: Telemetry) -> None:
        self._name = name
        self._requests = asyncio.Semaphore(max_requests)
        self._workers = workers
        self._telemetry = telemetry

    async def run(
        self, resident: Resident, subject: Subject, context: Context, place: Place
    ) -> tuple[Any, Timing]:
        enqueued = time.monotonic()
        async with self._requests:
            asked = time.monotonic()
            try:
                answer = await cast(RemoteModel, resident.model).answer(
                    subject, max(0.0, context.deadline - asked)
                )
            except (SightlineError, asyncio.CancelledError):
                raise
            except Exception as error:
                raise self._workers.failure(self._name, error) from None
        answered = time.monotonic()
        queue_s, infer_s = asked - enqueued, answered - asked
        self._telemetry.item_waited(self._name, 0.0, queue_s)
        self._telemetry.step("queue", self._name, enqueued, asked)
        self._telemetry.step("infer", self._name, asked, answered)
        return answer, Timing.of(queue_s=queue_s, infer_s=infer_s)


def runner_of(card: ModelCard, lane: Lane, slots: Slots, workers: Workers, telemetry: Telemetry) -> Runner:
    """Return the runner that a model's card asks for."""
    if card.runs is Runs.IN_LOOP:
        return LoopRunner(card.name, workers)
    if card.runs is Runs.ON_WORKER:
        return WorkerRunner(card.name, workers)
    if card.runs is Runs.ELSEWHERE:
        return RemoteRunner(card.name, card.max_batch, workers, telemetry)
    return SlotRunner(lane, slots, workers, telemetry)


def _infer_one(model: Model, subject: Subject) -> Any:
    return model.infer([model.prepare(subject)])[0]
