"""The engine: prepares on worker threads, queues in lanes, computes in slots, loads models as needed.

One engine per process and one process per machine: decoding, resizing and inference all release the GIL.
A lane is where another machine could stand later, so callers see ``infer`` and nothing of what is behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from sightline.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ModelUnavailable,
    Overloaded,
    UnknownModel,
)
from sightline.imaging import View
from sightline.models import Catalogue
from sightline.operations import Inference
from sightline.runtime.graphs import Graphs
from sightline.runtime.lanes import Lane, LaneLoad, Slots, Work
from sightline.runtime.residency import ModelState, Residency, Resident
from sightline.runtime.telemetry import Telemetry, Unmeasured, current_trace
from sightline.settings import MIB, Settings
from sightline.types import Capability, ModelRef, Priority
from sightline.weights.store import Store

# A batch that takes longer means a hung runtime, not a large picture: readiness says so.
STUCK_S = 120.0


@dataclass(frozen=True, slots=True)
class Context:
    """How long a request may take and how urgent it is. ``deadline`` is ``time.monotonic()`` seconds."""

    deadline: float
    priority: Priority = Priority.INTERACTIVE

    @classmethod
    def lasting(cls, timeout_s: float, priority: Priority = Priority.INTERACTIVE) -> Context:
        return cls(time.monotonic() + timeout_s, priority)


class Engine:
    """Runs models. Create it inside the event loop it will serve; ``await start()`` before use."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        store: Store,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry or Unmeasured()
        self._catalogue = catalogue
        self._preload = _preload_names(settings, catalogue)
        self._workers = ThreadPoolExecutor(
            max_workers=settings.worker_threads or (psutil.cpu_count() or 1) + 2,
            thread_name_prefix="worker",
        )
        self._slots = Slots(settings.compute_slots, self._telemetry)
        self._lanes: dict[str, Lane] = {}
        for definition in catalogue.values():
            lane = Lane(
                definition.name,
                max_batch=definition.card.max_batch,
                max_items=settings.queue_items,
                max_bytes=settings.queue_mib * MIB,
            )
            self._lanes[definition.name] = lane
            self._slots.add(lane)
        self.residency = Residency(
            catalogue,
            store,
            Graphs(settings, cache_dir=store.root / ".compiled"),
            self._telemetry,
            auto_pull=settings.auto_pull,
            idle_unload_s=settings.idle_unload_s,
            budget_bytes=settings.memory_budget_mib * MIB,
        )
        self._background: list[asyncio.Task[None]] = []

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin preloading and housekeeping; returns at once."""
        self._background = [asyncio.create_task(self.residency.housekeep(), name="housekeeping")]
        for name in self._preload:
            self._background.append(asyncio.create_task(self._preload_one(name), name=f"preload {name}"))

    async def _preload_one(self, name: str) -> None:
        try:
            await self.residency.preload(name)
        except Exception:  # said in the log and in /readyz; the server goes on without this model
            return

    async def close(self) -> None:
        """Stop threads and let go of every model. Work still queued fails."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.to_thread(self._slots.close)
        self._workers.shutdown(wait=True, cancel_futures=True)
        await asyncio.to_thread(self.residency.close)

    # -- work ----------------------------------------------------------------------------------------------

    async def infer(self, model: str, subject: View | str, context: Context) -> Inference:
        """One model on one subject: admitted or refused at once, prepared, queued, computed.

        Raises:
            UnknownModel, ModelUnavailable, ModelLoading, ModelBroken: see ``Residency.using``.
            Overloaded: the model's lane is full.
            DeadlineExceeded: the context's deadline passed.
            InferenceFailed: the model failed on this subject.
            ImageError: the subject's pixels do not decode.
        """
        lane = self._lanes.get(model)
        if lane is None:
            raise UnknownModel(f"there is no model {model!r}; there are {', '.join(self._lanes)}")
        size = subject.num_bytes if isinstance(subject, View) else len(subject)
        try:
            with lane.admitted(size):
                async with self.residency.using(model, context.deadline) as resident:
                    return await self._compute(lane, resident, subject, context)
        except Overloaded:
            self._telemetry.item_refused(model)
            raise

    async def _compute(
        self, lane: Lane, resident: Resident, subject: View | str, context: Context
    ) -> Inference:
        started = time.monotonic()
        async with _until(context):
            item = await self.work(resident.model.prepare, subject)
            work = Work(resident.model, item, context.deadline, context.priority)
            del item
            output = await asyncio.wrap_future(self._slots.submit(lane, work))
        prepare_s, queue_s = work.enqueued_at - started, work.started_at - work.enqueued_at
        self._telemetry.item_waited(lane.model, prepare_s, queue_s)
        trace = current_trace()
        trace.prepare_ms += prepare_s * 1000
        trace.queue_ms += queue_s * 1000
        trace.infer_ms += (work.finished_at - work.started_at) * 1000
        return Inference(output, resident.ref)

    async def work(self, function: Any, *arguments: Any) -> Any:
        """Run CPU work (decoding, resizing, encoding) on a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)

    # -- what there is -------------------------------------------------------------------------------------

    def find(self, capability: Capability, space: str | None = None) -> str:
        """Name of the first model with ``capability``, in ``space`` if given. See ``operations.Models``."""
        able = [d.card for d in self._catalogue.values() if capability in d.card.capabilities]
        for card in able:
            if space is None or card.space == space:
                return card.name
        if space is not None and able:
            spaces = ", ".join(sorted({card.space for card in able if card.space}))
            raise UnknownModel(f"no model {space!r} gives {capability.value}; these do: {spaces}")
        raise ModelUnavailable(f"not available: no installed model gives {capability.value}")

    def ref(self, model: str) -> ModelRef | None:
        """Which weights ``model`` is loaded with; None while it is not loaded."""
        resident = self.residency.residents.get(model)
        return resident.ref if resident else None

    def has(self, capability: Capability) -> bool:
        return any(capability in definition.card.capabilities for definition in self._catalogue.values())

    def loads(self) -> Mapping[str, LaneLoad]:
        """How full each model's lane is."""
        return {name: lane.load for name, lane in self._lanes.items()}

    @property
    def alive(self) -> bool:
        """Whether compute slots run and none has been on one batch for minutes."""
        return self._slots.alive and self._slots.longest_running_s < STUCK_S

    @property
    def preload(self) -> tuple[str, ...]:
        return self._preload

    @property
    def ready(self) -> bool:
        """Whether work can be computed and every model that was to be preloaded is."""
        preloaded = all(self.residency.state(name) is ModelState.READY for name in self._preload)
        return self.alive and preloaded


class _until:  # noqa: N801 - reads as a statement: async with _until(context)
    """``asyncio.timeout`` to a context's deadline that raises DeadlineExceeded."""

    def __init__(self, context: Context) -> None:
        self._timeout = asyncio.timeout(max(0.0, context.deadline - time.monotonic()))

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exception: Any) -> None:
        try:
            await self._timeout.__aexit__(*exception)
        except TimeoutError:
            raise DeadlineExceeded("the request's time ran out") from None


def _preload_names(settings: Settings, catalogue: Catalogue) -> tuple[str, ...]:
    if settings.preload == ("all",):
        return tuple(catalogue)
    unknown = [name for name in settings.preload if name not in catalogue]
    if unknown:
        raise ConfigurationError(
            f"SIGHTLINE_PRELOAD names {', '.join(unknown)}; models are {', '.join(catalogue)}, or 'all'"
        )
    return settings.preload
