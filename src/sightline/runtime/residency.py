"""Which models are in memory: loaded on demand or at start, one load however many ask, unloaded when idle.

Loading runs on a thread of its own, so models that are already there keep answering meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

from sightline.errors import (
    ModelBroken,
    ModelLoading,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
    WeightsError,
)
from sightline.models import Catalogue, GraphLoader, ModelDefinition, Runs
from sightline.runtime import threads
from sightline.runtime.installing import Installing, Progress
from sightline.runtime.memory import return_memory
from sightline.runtime.precision import allow, choose
from sightline.runtime.rehearsal import RECIPE
from sightline.runtime.resident import Failure, ModelState, Resident, closed, companions, connected, wanted
from sightline.runtime.telemetry import Step, Telemetry, current_trace
from sightline.runtime.threads import DaemonThreads
from sightline.settings import MIB, DetectorPrecision, Settings
from sightline.types import ModelRef, Provenance
from sightline.weights.store import Installed, Store, Wanted

__all__ = ["RETRY_FAILED_LOAD_S", "ModelState", "Residency", "Resident", "wanted"]

_log = logging.getLogger(__name__)

# A failed load is not tried again sooner: an unreachable hub takes seconds to find out, per request.
RETRY_FAILED_LOAD_S = 30.0
HOUSEKEEPING_S = 1.0
# A process that generates text had 1.8 to 2.2 times the size of its files in memory.
GENERATOR_MEMORY_FACTOR = 2


class Residency:
    """Loads, keeps and unloads models. Belongs to one event loop; only loading itself happens on a thread."""

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
        self._store = store
        self._graphs = graphs
        self._telemetry = telemetry
        self._settings = settings
        self._idle_unload_s = settings.idle_unload_s
        self._budget_bytes = settings.memory_budget_mib * MIB if budget_bytes is None else budget_bytes
        self._loader = DaemonThreads(2, "loader")
        self._residents: dict[str, Resident] = {}
        self._loading: dict[str, asyncio.Task[Resident]] = {}
        self._failures: dict[str, Failure] = {}
        self._installing: dict[str, Installing] = {}
        self._users: Counter[str] = Counter()
        self._pinned: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._complained: set[str] = set()
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
        # Whoever waits for a model is its user already: it must not be evicted before they get it.
        self._users[name] += 1
        try:
            resident = self._residents.get(name) or await self._loaded(name, deadline)
            yield resident
            resident.last_used = time.monotonic()
        finally:
            self._users[name] -= 1

    def state(self, name: str) -> ModelState:
        """Where a model stands; looks at the disk for models that are not loaded."""
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
        return ModelState.AVAILABLE if self._store.installed(wanted(definition)) else ModelState.MISSING

    def within_reach(self, name: str) -> bool:
        """Whether a request would get the model, perhaps after it was loaded or downloaded, as far as can be
        known without trying; looks at the disk for models that are not loaded.

        A load that failed counts only while requests are refused for it. Longer, and whoever sends requests
        by this answer would send none again, though the next would try anew.
        """
        if name in self._residents or name in self._loading:
            return True
        if self._failed_lately(name) is not None:
            return False
        definition = self._catalogue[name]
        if definition.connect is not None:
            return definition.lacking(self._settings) is None
        comes_by_itself = self._settings.rehearse or (self._settings.auto_pull and not self._settings.offline)
        return comes_by_itself or self._store.installed(wanted(definition)) is not None

    def _failed_lately(self, name: str) -> Failure | None:
        """The failure that requests are refused with until it is ``RETRY_FAILED_LOAD_S`` old."""
        failure = self._failures.get(name)
        if failure is None or time.monotonic() - failure.at >= RETRY_FAILED_LOAD_S:
            return None
        return failure

    def failure(self, name: str) -> str | None:
        """What the last attempt to load said, if it failed, or what has to be set before one."""
        if name in self._residents:
            return None
        failure = self._failures.get(name)
        return str(failure.error) if failure else self._catalogue[name].lacking(self._settings)

    def installed_ref(self, name: str) -> ModelRef | None:
        """The weights ``name`` would be loaded with, as its manifest says; looks at the disk."""
        installed = self._store.installed(wanted(self._catalogue[name]))
        return ModelRef(name, installed.fingerprint, installed.provenance) if installed else None

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
        started = time.monotonic()
        task = self._start_loading(name)
        try:
            resident = await asyncio.wait_for(asyncio.shield(task), max(0.0, deadline - started))
        except TimeoutError:
            raise self._still_loading(name) from None
        except asyncio.CancelledError:
            if self._closed and task.cancelled():
                raise SightlineError("the engine was shut down") from None
            raise
        current_trace().steps.add(Step(load_ms=(time.monotonic() - started) * 1000))
        return resident

    def _still_loading(self, name: str) -> ModelLoading:
        coming = self.progress(name)
        if coming is None:
            return ModelLoading(f"{name} is still being loaded; try again shortly")
        message = f"{name} is being installed: {coming.words}; try again in {coming.retry_after_s} s"
        return ModelLoading(message, coming.retry_after_s)

    def progress(self, name: str) -> Progress | None:
        """Return how far the download of a model's files is, or None if none is under way."""
        installing = self._installing.get(name)
        return installing.progress() if installing else None

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
            resident = cast(Resident, await self._loader.run(self._load_blocking, definition))
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

    def _load_blocking(self, definition: ModelDefinition) -> Resident:
        """Raises nothing but SightlineErrors: a SystemExit, of a plug-in say, would end the event loop."""
        try:
            if definition.connect is not None:
                resident = connected(definition.name, definition.connect(self._settings))
            else:
                resident = self._load_files(definition)
        except SightlineError:
            raise
        except BaseException as error:
            _log.exception("loading %s", definition.name)
            message = f"{definition.name} does not load ({type(error).__name__}); see the log"
            raise ModelBroken(message) from error
        if resident.ref.provenance is Provenance.RANDOM:
            _log.warning("%s has random weights: its answers mean nothing", definition.name)
        return resident

    def _load_files(self, definition: ModelDefinition) -> Resident:
        assert definition.load is not None
        installed = self._weights(definition)
        model = definition.load(installed.files, self._graphs_for(installed))
        num_bytes = sum(path.stat().st_size for path in installed.files.values())
        if definition.card.runs is Runs.ELSEWHERE:
            num_bytes *= GENERATOR_MEMORY_FACTOR
        return Resident(
            model, ModelRef(definition.name, installed.fingerprint, installed.provenance), num_bytes
        )

    def _graphs_for(self, installed: Installed) -> GraphLoader:
        """Opens what detects in the precision that a measurement of these weights allows, if there is one."""
        if self._settings.detector_precision is not DetectorPrecision.MEASURED:
            return self._graphs
        choice = choose(self._settings, installed)
        if choice.complaint is not None and installed.model not in self._complained:
            self._complained.add(installed.model)
            _log.warning("%s computes in %s: %s", installed.model, choice.precision.value, choice.complaint)
        if choice.measured:
            _log.info("%s computes in %s: %s", installed.model, choice.precision.value, choice.why)
        return allow(self._graphs, choice)

    def _weights(self, definition: ModelDefinition) -> Installed:
        want = wanted(definition)
        try:
            installed = self._store.installed(want, verify=True)
            if installed is None and self._settings.rehearse:
                installed = self._store.make_up(want, RECIPE)
            elif installed is None and self._settings.auto_pull:
                installed = self._pulled(want)
        except WeightsError as error:
            raise ModelUnavailable(str(error)) from error
        if installed is None:
            raise ModelUnavailable(
                f"the weights of {want.model} are not here; bring them in with {want.instructions}"
            )
        return installed

    def _pulled(self, want: Wanted) -> Installed:
        """The store's pull, logged at its start and end; its failure is logged where every failed load is."""
        installing = Installing(want)

        def report(label: str, done: int, total: int | None) -> None:
            if self._closed:  # nobody will use the model any more; the download resumes next time
                raise SightlineError("the engine was shut down")
            installing(label, done, total)

        total = installing.progress().total_bytes
        size = "size unknown" if total is None else f"{total / 1e6:,.0f} MB"
        _log.info("installing %s (%s)", want.model, size)
        started = time.monotonic()
        self._installing[want.model] = installing
        others = companions(want, self._catalogue)
        try:
            with self._store.together([want, *others]):
                installed = self._store.pull(want, report)
                _log.info("installed %s in %.1f s", want.model, time.monotonic() - started)
                for other in others:
                    self._pull_companion(other)
        finally:
            del self._installing[want.model]
        return installed

    def _pull_companion(self, want: Wanted) -> None:
        """Install what is made of the same download. Its failure is told when somebody asks for it."""
        try:
            self._store.pull(want)
            _log.info("installed %s from the same download", want.model)
        except WeightsError as error:
            _log.warning("%s is not installed yet: %s", want.model, error)

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
        closing = asyncio.create_task(closed(resident))  # a process of its own ends
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
        for task in list(self._loading.values()):
            task.cancel()
        if not await self._loader.join(threads.CLOSE_TIMEOUT_S):
            _log.warning("a model that is being loaded or downloaded is left behind")
        for resident in self._residents.values():
            await closed(resident)
        self._residents.clear()
        await asyncio.gather(*self._closing)
