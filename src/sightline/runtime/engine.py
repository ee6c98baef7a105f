"""The engine: prepares on worker threads, queues in lanes, computes in slots, loads models as needed.

One engine per process and one process per machine: decoding, resizing and inference all release the GIL.
A lane is where another machine could stand later, so callers see ``infer`` and nothing of what is behind.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import numpy as np
from threadpoolctl import threadpool_limits

from sightline.capabilities import Capability, OutputT, Subject, SubjectT, held_bytes, pictures_of
from sightline.capabilities.embedding import TEXT_EMBEDDING
from sightline.errors import InferenceFailed, Overloaded, SightlineError, UnknownModel
from sightline.imaging import Picture
from sightline.models import Catalogue, Model, RemoteModel, Runs
from sightline.operations import Inference
from sightline.runtime import intermediate, threads
from sightline.runtime.context import Context, until
from sightline.runtime.cores import usable_cores
from sightline.runtime.directory import Directory, preload_names
from sightline.runtime.graphs import Graphs
from sightline.runtime.lanes import Lane, LaneLoad, Place, Slots, Work
from sightline.runtime.memory import MemoryGuard, limit_bytes, relieve
from sightline.runtime.pixels import PixelBudget
from sightline.runtime.recall import Readings, TextVectors
from sightline.runtime.residency import RETRY_FAILED_LOAD_S, ModelState, Residency, Resident
from sightline.runtime.telemetry import Step, Telemetry, current_trace
from sightline.runtime.threads import DaemonThreads
from sightline.settings import MIB, Settings
from sightline.types import ModelRef
from sightline.weights.store import Store

__all__ = ["Context", "Engine", "until"]

_log = logging.getLogger(__name__)

LONGEST_PRELOAD_PAUSE_S = 600.0
# A batch that takes longer means a hung runtime, not a large picture: readiness says so.
STUCK_S = 120.0
# Worker threads beyond the cores, which no request takes for itself.
SPARE_WORKERS = 2
# Room for two of the largest pictures that are accepted by default, with half of it for one request.
LEAST_DECODED_BYTES = 512 * MIB


class Engine:
    """Runs models for one event loop. ``start`` it there before use and ``close`` it after."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        store: Store,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Raises ConfigurationError: a setting is wrong, or what it names."""
        for definition in catalogue.values():
            definition.check(settings)
        self._telemetry = telemetry or Telemetry()
        self._catalogue = catalogue
        self.directory = Directory(catalogue, settings)
        self._preload = preload_names(settings, catalogue)
        workers = settings.worker_threads or math.ceil(usable_cores()) + SPARE_WORKERS
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._request_threads = max(1, workers - SPARE_WORKERS)
        self._slots = Slots(settings.compute_slots, self._telemetry)
        self._lanes: dict[str, Lane] = {}
        self._under_way: dict[str, asyncio.Semaphore] = {}
        for definition in catalogue.values():
            lane = Lane(
                definition.name,
                max_batch=definition.card.max_batch,
                max_items=settings.queue_items,
                max_bytes=settings.queue_mib * MIB,
            )
            self._lanes[definition.name] = lane
            self._slots.add(lane)
            if definition.card.runs is Runs.ELSEWHERE:
                self._under_way[definition.name] = asyncio.Semaphore(definition.card.max_batch)
        self._graphs = Graphs(settings, cache_dir=intermediate.folder(settings.models_dir))
        self.residency = Residency(
            catalogue,
            store,
            self._graphs,
            self._telemetry,
            settings,
        )
        self._memory = MemoryGuard(settings.memory_refuse_percent, settings.memory_drop_percent)
        self.pixels = PixelBudget(
            settings.decoded_mib * MIB or max(LEAST_DECODED_BYTES, limit_bytes() // 4),
            settings.queue_items,
            self._memory,
        )
        self._text_vectors = TextVectors(settings.text_cache_mib * MIB)
        self._readings = Readings()
        self._background: list[asyncio.Task[None]] = []
        self._closed = False

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin preloading and housekeeping; returns at once.

        Raises:
            ConfigurationError: the device of the settings is not on this machine.
        """
        self._graphs.require_device()
        # Threads of numpy's products go on spinning after each and take a core from the graphs.
        threadpool_limits(1, user_api="blas")
        self._background = [
            asyncio.create_task(self.residency.housekeep(), name="housekeeping"),
            asyncio.create_task(self._slots.look_after(), name="housekeeping"),
            asyncio.create_task(
                relieve(self._memory, self._text_vectors.clear, self.residency.unload_idle),
                name="housekeeping",
            ),
        ]
        for name in self._preload:
            self._background.append(asyncio.create_task(self._preload_one(name), name=f"preload {name}"))

    async def _preload_one(self, name: str) -> None:
        """Try until it is there: a server that is not ready gets no requests, which would try again."""
        pause_s = RETRY_FAILED_LOAD_S
        while True:
            try:
                return await self.residency.preload(name)
            except SightlineError:  # said in the log and in /readyz; the server goes on without this model
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PRELOAD_PAUSE_S)

    async def close(self) -> None:
        """Stop threads and let go of every model. Work that has not begun fails."""
        self._closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.to_thread(self._slots.close)
        closing = DaemonThreads(1, "closing")
        with suppress(TimeoutError):  # a decode under way cannot be interrupted
            await asyncio.wait_for(closing.run(self._workers.shutdown), threads.CLOSE_TIMEOUT_S)
        await self.residency.close()

    # -- work ----------------------------------------------------------------------------------------------

    async def infer(self, model: str, subject: Subject, context: Context) -> Inference[Any]:
        """One model on one subject: admitted or refused at once, prepared, queued, computed.

        A text that an embedder of texts has read lately is not read again, and one that is being read is not
        read twice.

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
        text = self._kept_text(model, subject)
        if text is None:
            return await self._admitted(lane, subject, context)
        if known := await self._recall(model, text):
            return known
        async with until(context):
            return await self._readings.share(
                model, text, lambda: self._read(lane, text, context), context.deadline
            )

    async def infer_with(
        self,
        capability: Capability[SubjectT, OutputT],
        subject: SubjectT,
        context: Context,
        space: str | None = None,
    ) -> Inference[OutputT]:
        """:meth:`infer` with the model that :meth:`find` names."""
        return await self.infer(self.find(capability, space), subject, context)

    async def _admitted(self, lane: Lane, subject: Subject, context: Context) -> Inference[Any]:
        """Pixels are admitted before the lane: what waits for them must not fill a lane that a picture which
        has its pixels needs to get on. Nor does a picture hold pixels while its model is loaded."""
        pictures = pictures_of(subject)
        try:
            if lane.model not in self.residency.residents:
                self._memory.require()
                async with (
                    context.places.place(lane, held_bytes(subject), context.priority, context.deadline),
                    self.residency.using(lane.model, context.deadline),
                ):
                    pass
            await self.pixels.admit(pictures, context.pixels, context.deadline)
            async with (
                context.places.place(lane, held_bytes(subject), context.priority, context.deadline) as place,
                self.residency.using(lane.model, context.deadline) as resident,
            ):
                return await self._compute(lane, place, resident, subject, context)
        except Overloaded:
            self._telemetry.item_refused(lane.model)
            raise

    async def _read(self, lane: Lane, text: str, context: Context) -> Inference[Any]:
        inference = await self._admitted(lane, text, context)
        if isinstance(inference.output, np.ndarray):
            self._text_vectors.keep(text, inference)
        return inference

    def _kept_text(self, model: str, subject: Subject) -> str | None:
        """The subject, if what the model says of it is worth keeping: a vector of a text, computed here."""
        card = self._catalogue[model].card
        reads = TEXT_EMBEDDING in card.capabilities and card.runs is Runs.IN_SLOT
        return subject if reads and isinstance(subject, str) else None

    async def _recall(self, model: str, text: str) -> Inference[Any] | None:
        """What was said before, if the model's weights are still the same, whether it is loaded or not."""
        known = self._text_vectors.get(model, text)
        if known is None:
            return None
        if known.model != (self.ref(model) or await self.work(self.residency.installed_ref, model)):
            return None
        self._telemetry.text_recalled(model)
        return known

    def at_once(self, model: str, subject: Subject) -> Inference[Any] | None:
        """What a loaded model with ``Runs.IN_LOOP`` says, or one that read this text lately; else None.

        Such an answer takes microseconds, and a place in a queue and a task would take more. Raises like
        :meth:`infer`.
        """
        resident = self.residency.residents.get(model)
        if resident is None:
            return None
        if self._catalogue[model].card.runs is Runs.IN_LOOP:
            return Inference(self._look_up(model, cast(Model, resident.model), subject), resident.ref)
        kept = self._kept_text(model, subject)
        known = None if kept is None else self._text_vectors.get(model, kept)
        if known is None or known.model != resident.ref:
            return None
        self._telemetry.text_recalled(model)
        return known

    async def _compute(
        self, lane: Lane, place: Place, resident: Resident, subject: Subject, context: Context
    ) -> Inference[Any]:
        runs, model = self._catalogue[lane.model].card.runs, resident.model
        if runs is Runs.IN_LOOP:
            return Inference(self._look_up(lane.model, cast(Model, model), subject), resident.ref)
        async with until(context):
            if runs is Runs.ON_WORKER:
                output = await self._decoding(
                    pictures_of(subject), context, self._look_up, lane.model, model, subject
                )
            elif runs is Runs.ELSEWHERE:
                output = await self._ask(lane.model, cast(RemoteModel, model), subject, context)
            else:
                output = await self._in_slot(lane, place, cast(Model, model), subject, context)
        return Inference(output, resident.ref)

    async def _in_slot(
        self, lane: Lane, place: Place, model: Model, subject: Subject, context: Context
    ) -> Any:
        started = time.monotonic()
        item = await self._decoding(pictures_of(subject), context, self._prepare, lane.model, model, subject)
        place.hold(held_bytes(subject) + int(getattr(item, "nbytes", 0)))
        work = Work(model, item, context.deadline, context.priority, context.caller)
        del item
        output = await asyncio.wrap_future(self._slots.submit(lane, work))
        prepare_s, queue_s = work.enqueued_at - started, work.started_at - work.enqueued_at
        self._telemetry.item_waited(lane.model, prepare_s, queue_s)
        infer_s = work.finished_at - work.started_at
        self._telemetry.step("decode", lane.model, started, work.enqueued_at)
        self._telemetry.step("queue", lane.model, work.enqueued_at, work.started_at)
        self._telemetry.step("infer", lane.model, work.started_at, work.finished_at)
        current_trace().steps.add(
            Step(prepare_ms=prepare_s * 1000, queue_ms=queue_s * 1000, infer_ms=infer_s * 1000)
        )
        return output

    async def _ask(self, name: str, model: RemoteModel, subject: Subject, context: Context) -> Any:
        """A question to a model elsewhere, in its turn."""
        enqueued = time.monotonic()
        async with self._under_way[name]:
            asked = time.monotonic()
            try:
                answer = await model.answer(subject, max(0.0, context.deadline - asked))
            except (SightlineError, asyncio.CancelledError):
                raise
            except Exception as error:
                raise self._failure(name, error) from None
        answered = time.monotonic()
        self._telemetry.step("queue", name, enqueued, asked)
        self._telemetry.step("infer", name, asked, answered)
        self._telemetry.item_waited(name, 0.0, asked - enqueued)
        current_trace().steps.add(
            Step(prepare_ms=0.0, queue_ms=(asked - enqueued) * 1000, infer_ms=(answered - asked) * 1000)
        )
        return answer

    def _prepare(self, name: str, model: Model, subject: Subject) -> Any:
        return self._guarded(name, lambda: model.prepare(subject))

    def _look_up(self, name: str, model: Model, subject: Subject) -> Any:
        return self._guarded(name, lambda: model.infer([model.prepare(subject)])[0])

    def _guarded(self, name: str, step: Callable[[], Any]) -> Any:
        if self._closed:
            raise SightlineError("the engine was shut down")
        try:
            return step()
        except SightlineError:
            raise
        except BaseException as error:  # a panic in Rust is one, and SystemExit would end the event loop
            raise self._failure(name, error) from None

    def _failure(self, name: str, error: BaseException) -> InferenceFailed:
        _log.error("%s failed on an input", name, exc_info=error)
        self._telemetry.item_failed(name)
        return InferenceFailed(f"{name} failed on this input ({type(error).__name__})")

    async def work(self, function: Any, *arguments: Any) -> Any:
        """Run CPU work (decoding, resizing, encoding) on a worker thread.

        Raises:
            SightlineError: the engine is shut down.
        """
        if self._closed:
            raise SightlineError("the engine is shut down")
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)

    async def decode(self, pictures: Sequence[Picture], context: Context, function: Callable[[], Any]) -> Any:
        """Run ``function``, which may decode ``pictures``, on a worker thread.

        Raises:
            MemoryLow, Overloaded, DeadlineExceeded: see ``PixelBudget.admit``.
        """
        await self.pixels.admit(pictures, context.pixels, context.deadline)
        return await self._decoding(pictures, context, function)

    async def _decoding(
        self, pictures: Sequence[Picture], context: Context, function: Any, *arguments: Any
    ) -> Any:
        """:meth:`work` that counts as decoding until its thread is done, however long anybody waits for it.

        A request leaves some threads to others. When it ends before a thread has begun, none begins.
        """
        if not pictures:
            return await self.work(function, *arguments)
        threads = context.pixels.threads(self._request_threads)
        await threads.acquire()
        if self._closed:
            raise SightlineError("the engine is shut down")
        decoding = self._workers.submit(function, *arguments)
        ended = self.pixels.decoding(pictures, threads.release)
        decoding.add_done_callback(lambda _: ended())
        return await asyncio.wrap_future(decoding)

    # -- what there is -------------------------------------------------------------------------------------

    def find(self, capability: Capability[Any, Any], space: str | None = None) -> str:
        """See ``Directory.find``."""
        return self.directory.find(capability, space)

    def similarity_scale(self, model: str) -> float | None:
        """See ``Directory.similarity_scale``."""
        return self.directory.similarity_scale(model)

    def ref(self, model: str) -> ModelRef | None:
        """Which weights ``model`` is loaded with; None while it is not loaded."""
        resident = self.residency.residents.get(model)
        return resident.ref if resident else None

    def loads(self) -> Mapping[str, LaneLoad]:
        """How full each model's lane is."""
        return {name: lane.load for name, lane in self._lanes.items()}

    @property
    def alive(self) -> bool:
        """Whether compute slots run and none has been on one batch for minutes."""
        return self._slots.alive and self._slots.longest_running_s < STUCK_S

    @property
    def lanes(self) -> tuple[str, ...]:
        """Names of all models, loaded or not."""
        return tuple(self._lanes)

    @property
    def preload(self) -> tuple[str, ...]:
        return self._preload

    @property
    def ready(self) -> bool:
        """Whether work can be computed and every model that was to be preloaded is."""
        preloaded = all(self.residency.state(name) is ModelState.READY for name in self._preload)
        return self.alive and preloaded
