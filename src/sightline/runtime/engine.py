"""The engine: every model behind its lane, with one pool of worker threads and one set of compute slots.

There is one engine per process and one process per machine: decoding, resizing and inference release the GIL.
Another machine could later take the place of a lane, so callers see only ``infer``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from sightline.capabilities import Capability, OutputT, Subject, SubjectT
from sightline.capabilities.embedding import TEXT_EMBEDDING
from sightline.errors import SightlineError, UnknownModel
from sightline.imaging import Picture
from sightline.models import Catalogue, ModelDefinition, Runs
from sightline.operations import Inference
from sightline.runtime import intermediate
from sightline.runtime.context import Context, until
from sightline.runtime.directory import Directory, preload_names
from sightline.runtime.graphs import Graphs
from sightline.runtime.lanes import Lane, LaneLoad, Slots
from sightline.runtime.memory import MemoryGuard, limit_bytes, relieve
from sightline.runtime.pixels import PixelBudget
from sightline.runtime.residency import RETRY_FAILED_LOAD_S, ModelState, Residency
from sightline.runtime.runners import runner_of
from sightline.runtime.served import Served
from sightline.runtime.telemetry import Telemetry
from sightline.runtime.text_cache import CachedTexts, Readings, TextVectors
from sightline.runtime.workers import Workers
from sightline.settings import MIB, Settings
from sightline.types import ModelRef
from sightline.weights.store import Store

__all__ = ["Context", "Engine", "until"]

LONGEST_PRELOAD_PAUSE_S = 600.0
# A batch that takes longer means a hung runtime, not a large picture: readiness reports it.
STUCK_S = 120.0
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
        """Raise ConfigurationError if a setting, or a model or file that it names, is wrong."""
        for definition in catalogue.values():
            definition.check(settings)
        self._settings = settings
        self._telemetry = telemetry or Telemetry()
        self.directory = Directory(catalogue, settings)
        self._preload = preload_names(settings, catalogue)
        self._slots = Slots(settings.compute_slots, self._telemetry)
        self._graphs = Graphs(settings, cache_dir=intermediate.folder(settings.models_dir))
        self.residency = Residency(catalogue, store, self._graphs, self._telemetry, settings)
        self._memory = MemoryGuard(settings.memory_refuse_percent, settings.memory_drop_percent)
        self.pixels = PixelBudget(
            settings.decoded_mib * MIB or max(LEAST_DECODED_BYTES, limit_bytes() // 4),
            settings.queue_items,
            self._memory,
        )
        self._workers = Workers(settings.worker_threads, self.pixels, self._telemetry)
        self._text_vectors = TextVectors(settings.text_cache_mib * MIB)
        self._readings = Readings()
        self._lanes: dict[str, Lane] = {}
        self._served: dict[str, Served | CachedTexts] = {}
        for definition in catalogue.values():
            self._serve(definition)
        self._background: list[asyncio.Task[None]] = []

    def _serve(self, definition: ModelDefinition) -> None:
        """Give a model its lane and its runner."""
        card, settings = definition.card, self._settings
        lane = Lane(
            card.name,
            max_batch=card.max_batch,
            max_items=settings.queue_items,
            max_bytes=settings.queue_mib * MIB,
        )
        self._lanes[card.name] = lane
        self._slots.add(lane)
        runner = runner_of(card, lane, self._slots, self._workers, self._telemetry)
        served = Served(lane, runner, self.residency, self.pixels, self._memory, self._telemetry)
        self._served[card.name] = served
        if TEXT_EMBEDDING in card.capabilities and card.runs is Runs.IN_SLOT:
            self._served[card.name] = CachedTexts(
                served, self._text_vectors, self._readings, self.residency, self._workers, self._telemetry
            )

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
        """Try until the model is loaded. A server that is not ready gets no requests that would try again."""
        pause_s = RETRY_FAILED_LOAD_S
        while True:
            try:
                return await self.residency.preload(name)
            except SightlineError:  # the log and /readyz report it; the server runs without this model
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PRELOAD_PAUSE_S)

    async def close(self) -> None:
        """Stop threads and unload every model. Work that has not begun fails."""
        self._workers.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.to_thread(self._slots.close)
        await self._workers.close()
        await self.residency.close()

    # -- work ----------------------------------------------------------------------------------------------

    async def infer(self, model: str, subject: Subject, context: Context) -> Inference[Any]:
        """Run one model on one subject: admitted or refused at once, prepared, queued, computed.

        A text embedder reuses vectors in its cache, and embeds a text once for all who ask meanwhile.

        Raises:
            UnknownModel, ModelUnavailable, ModelLoading, ModelBroken: see ``Residency.using``.
            Overloaded: the model's lane is full.
            DeadlineExceeded: the context's deadline passed.
            InferenceFailed: the model failed on this subject.
            ImageError: the subject's pixels do not decode.
        """
        served = self._served.get(model)
        if served is None:
            raise UnknownModel(f"there is no model {model!r}; there are {', '.join(self._lanes)}")
        return await served.infer(subject, context)

    async def infer_with(
        self,
        capability: Capability[SubjectT, OutputT],
        subject: SubjectT,
        context: Context,
        space: str | None = None,
    ) -> Inference[OutputT]:
        """:meth:`infer` with the model that :meth:`find` names."""
        return await self.infer(self.find(capability, space), subject, context)

    def at_once(self, model: str, subject: Subject) -> Inference[Any] | None:
        """Return an answer that takes microseconds; None if the subject needs a place in the lane.

        Models with ``Runs.IN_LOOP`` give one once loaded, text embedders for a cached text.
        Raises like :meth:`infer`.
        """
        return self._served[model].at_once(subject)

    async def work(self, function: Any, *arguments: Any) -> Any:
        """Run CPU work (decoding, resizing, encoding) on a worker thread.

        Raises:
            SightlineError: the engine is shut down.
        """
        return await self._workers.run(function, *arguments)

    async def decode(self, pictures: Sequence[Picture], context: Context, function: Callable[[], Any]) -> Any:
        """Run ``function``, which may decode ``pictures``, on a worker thread.

        Raises:
            MemoryLow, Overloaded, DeadlineExceeded: see ``PixelBudget.admit``.
        """
        await self.pixels.admit(pictures, context.pixels, context.deadline)
        return await self._workers.decode(pictures, context, function)

    # -- what there is -------------------------------------------------------------------------------------

    def find(self, capability: Capability[Any, Any], space: str | None = None) -> str:
        """See ``Directory.find``."""
        return self.directory.find(capability, space)

    def similarity_scale(self, model: str) -> float | None:
        """See ``Directory.similarity_scale``."""
        return self.directory.similarity_scale(model)

    def ref(self, model: str) -> ModelRef | None:
        """Return the weights that ``model`` is loaded with; None while it is not loaded."""
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
