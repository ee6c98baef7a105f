"""The models in memory: loaded on demand or at start, once for all who ask, unloaded when idle.

Loading (``loading.py``) runs on a thread of its own, so loaded models keep answering meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

from sightline.errors import ModelLoading, ModelUnavailable, SightlineError, UnknownModel
from sightline.models import Catalogue, GraphLoader, ModelDefinition
from sightline.runtime import threads
from sightline.runtime.installing import Progress
from sightline.runtime.loading import Loader
from sightline.runtime.memory import return_memory
from sightline.runtime.resident import Failure, ModelState, Resident, closed, wanted
from sightline.runtime.telemetry import Telemetry
from sightline.runtime.threads import DaemonThreads
from sightline.settings import MIB, Settings
from sightline.types import ModelRef
from sightline.weights.store import Store

__all__ = ["RETRY_FAILED_LOAD_S", "ModelState", "Residency", "Resident", "wanted"]

_log = logging.getLogger(__name__)

# A failed load is not tried again sooner: an unreachable hub takes seconds to find out, per request.
RETRY_FAILED_LOAD_S = 30.0
HOUSEKEEPING_S = 1.0


class Residency:
    """The models in memory, their states and failures. Belongs to one event loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        graphs: GraphLoader,
        telemetry: Telemetry,
        settings: Settings,
        *,
        budget_bytes: int | None = None,
    ) -> None:
        """``budget_bytes`` overrides that of the settings, which is in megabytes."""
        self._catalogue = catalogue
        self._loader = Loader(catalogue, store, graphs, settings)
        self._telemetry = telemetry
        self._settings = settings
        self._idle_unload_s = settings.idle_unload_s
        self._budget_bytes = settings.memory_budget_mib * MIB if budget_bytes is None else budget_bytes
        self._loading_threads = DaemonThreads(2, "loader")
        self._residents: dict[str, Resident] = {}
        self._loading: dict[str, asyncio.Task[Resident]] = {}
        self._failures: dict[str, Failure] = {}
        self._users: Counter[str] = Counter()
        self._pinned: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- asking --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def using(self, name: str, deadline: float) -> AsyncIterator[Resident]:
        """The loaded model, kept in memory while the block runs. ``deadline`` is on ``time.monotonic()``.

        Raises:
            UnknownModel: there is no model of that name.
            ModelUnavailable: its weights are missing and could not be had.
            ModelLoading: it was not ready by the deadline; loading goes on.
            ModelBroken: its weights are there and do not load.
            ConfigurationError: the device of the settings is not on this machine.
        """
        # A request that waits for a model counts as a user, so that the model is not evicted first.
        self._users[name] += 1
        try:
            resident = self._residents.get(name) or await self._loaded(name, deadline)
            yield resident
            resident.last_used = time.monotonic()
        finally:
            self._users[name] -= 1

    def state(self, name: str) -> ModelState:
        """Return a model's state; read the disk if it is not loaded."""
        if name in self._residents:
            return ModelState.READY
        if name in self._loading:
            return ModelState.LOADING
        failure = self._failures.get(name)
        if failure is not None and not isinstance(failure.error, ModelUnavailable):
            return ModelState.FAILED
        definition = self._catalogue[name]
        if definition.connect is not None:
            lacking = failure or definition.lacking(self._settings)
            return ModelState.MISSING if lacking else ModelState.AVAILABLE
        return ModelState.AVAILABLE if self._loader.is_installed(name) else ModelState.MISSING

    def within_reach(self, name: str) -> bool:
        """Return whether a request would get the model, perhaps after a load or a download.

        Reads the disk for models that are not loaded. A failed load counts only while requests are refused
        for it: a caller that sends requests by this answer would otherwise never send the next one.
        """
        if name in self._residents or name in self._loading:
            return True
        if self._failed_lately(name) is not None:
            return False
        return self._loader.is_obtainable(name)

    def _failed_lately(self, name: str) -> Failure | None:
        """The failure that requests are refused with until it is ``RETRY_FAILED_LOAD_S`` old."""
        failure = self._failures.get(name)
        if failure is None or time.monotonic() - failure.at >= RETRY_FAILED_LOAD_S:
            return None
        return failure

    def failure(self, name: str) -> str | None:
        """Return the error of the last load if it failed, or the setting that is missing; else None."""
        if name in self._residents:
            return None
        failure = self._failures.get(name)
        return str(failure.error) if failure else self._catalogue[name].lacking(self._settings)

    def installed_ref(self, name: str) -> ModelRef | None:
        """See ``Loader.installed_ref``."""
        return self._loader.installed_ref(name)

    @property
    def residents(self) -> Mapping[str, Resident]:
        return self._residents

    # -- loading -------------------------------------------------------------------------------------------

    async def preload(self, name: str) -> None:
        """Load a model and keep it, whatever the budget or the idle time says."""
        self._pinned.add(name)
        if name not in self._residents:
            await asyncio.shield(self._start_loading(name))

    def begin(self, name: str) -> None:
        """Start to download and load a model, unless that is done or under way.

        Raises:
            UnknownModel: there is no such model.
            SightlineError: its last load failed a moment ago, or the engine is shut down.
        """
        if name not in self._residents:
            self._start_loading(name)

    async def _loaded(self, name: str, deadline: float) -> Resident:
        task = self._start_loading(name)
        try:
            return await asyncio.wait_for(asyncio.shield(task), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise self._still_loading(name) from None
        except asyncio.CancelledError:
            if self._closed and task.cancelled():
                raise SightlineError("the engine was shut down") from None
            raise

    def _still_loading(self, name: str) -> ModelLoading:
        coming = self.progress(name)
        if coming is None:
            return ModelLoading(f"{name} is still being loaded; try again shortly")
        message = f"{name} is being installed: {coming.words}; try again in {coming.retry_after_s} s"
        return ModelLoading(message, coming.retry_after_s)

    def progress(self, name: str) -> Progress | None:
        """See ``Loader.progress``."""
        return self._loader.progress(name)

    def _start_loading(self, name: str) -> asyncio.Task[Resident]:
        task = self._loading.get(name)
        if task is None:
            definition = self._catalogue.get(name)
            if definition is None:
                raise UnknownModel(f"there is no model {name!r}; there are {', '.join(self._catalogue)}")
            if failure := self._failed_lately(name):
                raise failure.again()
            if self._closed:
                raise SightlineError("the engine is shut down")
            task = asyncio.create_task(self._load(definition), name=f"load {name}")
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # always retrieved
            self._loading[name] = task
        return task

    async def _load(self, definition: ModelDefinition) -> Resident:
        name = definition.name
        started = time.monotonic()
        try:
            resident = cast(Resident, await self._loading_threads.run(self._loader.load, definition))
        except SightlineError as error:
            self._failures[name] = Failure(type(error)(str(error)), time.monotonic())
            _log.warning("%s did not load: %s", name, str(error).removeprefix(f"{name}: "))
            raise
        finally:
            del self._loading[name]
        self._failures.pop(name, None)
        self._residents[name] = resident
        load_s = time.monotonic() - started
        self._telemetry.model_loaded(name, load_s)
        _log.info("%s is ready after %.1f s", name, load_s)
        self._keep_to_budget(newest=name)
        return resident

    # -- unloading -----------------------------------------------------------------------------------------

    async def housekeep(self) -> None:
        """Unload what has been idle too long or is over the budget; runs until cancelled."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            now = time.monotonic()
            # Names only: a variable that held a model would keep it in memory until the next round.
            for name in list(self._residents):
                if self._idle_unload_s and now - self._residents[name].last_used > self._idle_unload_s:
                    self._unload_if_unused(name)
            # Models that were in use when the budget was passed may be idle now.
            newest = max(self._residents, key=lambda name: self._residents[name].last_used, default=None)
            self._keep_to_budget(newest)

    def _keep_to_budget(self, newest: str | None) -> None:
        """Unload the least recently used. ``newest`` stays, even if it is larger than the budget alone."""
        if not self._budget_bytes:
            return
        by_age = sorted(self._residents, key=lambda name: self._residents[name].last_used)
        for name in by_age:
            if sum(resident.num_bytes for resident in self._residents.values()) <= self._budget_bytes:
                return
            if name != newest:
                self._unload_if_unused(name)

    def unload_idle(self, most: int | None = None) -> None:
        """Unload models that nobody uses and that are not pinned, the least recently used first."""
        for name in sorted(self._residents, key=lambda name: self._residents[name].last_used):
            if most == 0:
                return
            if self._unload_if_unused(name) and most is not None:
                most -= 1

    def _unload_if_unused(self, name: str) -> bool:
        # Letting go of a model that stands on settings frees nothing and costs its open connections.
        if name in self._pinned or self._users[name] or self._catalogue[name].connect is not None:
            return False
        resident = self._residents.pop(name)
        if hasattr(resident.model, "close"):  # a process of its own ends
            closing = asyncio.create_task(closed(resident))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        del resident
        self._telemetry.model_unloaded(name)
        _log.info("%s was unloaded", name)
        asyncio.get_running_loop().run_in_executor(None, return_memory)
        return True

    async def close(self) -> None:
        """Stop loading and let go of every model.

        A download ends at its next piece; one that stalls is left to its thread, and resumes next time.
        """
        self._closed = True
        self._loader.stop()
        for task in list(self._loading.values()):
            task.cancel()
        if not await self._loading_threads.join(threads.CLOSE_TIMEOUT_S):
            _log.warning("a model that is being loaded or downloaded is left behind")
        for resident in self._residents.values():
            await closed(resident)
        self._residents.clear()
        await asyncio.gather(*self._closing)
