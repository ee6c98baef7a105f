"""Loading one model: its files from the store, its graphs in the right precision, or a connection."""

from __future__ import annotations

import logging
import time

from sightline.errors import ModelBroken, ModelUnavailable, SightlineError, WeightsError
from sightline.models import Catalogue, GraphLoader, ModelDefinition, Runs
from sightline.runtime.installing import Installing, Progress
from sightline.runtime.precision import allow, choose
from sightline.runtime.rehearsal import RECIPE
from sightline.runtime.resident import Resident, companions, connected, wanted
from sightline.settings import DetectorPrecision, Settings
from sightline.types import ModelRef, Provenance
from sightline.weights.store import Installed, Store, Wanted

_log = logging.getLogger(__name__)

# A process that generates text had 1.8 to 2.2 times the size of its files in memory.
GENERATOR_MEMORY_FACTOR = 2


class Loader:
    """Makes models of files or settings. Thread-safe; it does not remember what it loaded."""

    def __init__(self, catalogue: Catalogue, store: Store, graphs: GraphLoader, settings: Settings) -> None:
        self._catalogue = catalogue
        self._store = store
        self._graphs = graphs
        self._settings = settings
        self._installing: dict[str, Installing] = {}
        self._complained: set[str] = set()
        self._stopped = False

    def stop(self) -> None:
        """End downloads at their next piece."""
        self._stopped = True

    def progress(self, name: str) -> Progress | None:
        """Return the progress of a model's download, or None if none is under way."""
        installing = self._installing.get(name)
        return installing.progress() if installing else None

    def is_installed(self, name: str) -> bool:
        """Return whether the files of a model are on the disk."""
        return self._store.installed(wanted(self._catalogue[name])) is not None

    def is_obtainable(self, name: str) -> bool:
        """Return whether a request would get the model's files or connection, as far as is known untried."""
        definition = self._catalogue[name]
        if definition.connect is not None:
            return definition.lacking(self._settings) is None
        comes_by_itself = self._settings.rehearse or (self._settings.auto_pull and not self._settings.offline)
        return comes_by_itself or self.is_installed(name)

    def installed_ref(self, name: str) -> ModelRef | None:
        """Return the weights that ``name`` would be loaded with, from its manifest on the disk."""
        installed = self._store.installed(wanted(self._catalogue[name]))
        return ModelRef(name, installed.fingerprint, installed.provenance) if installed else None

    def load(self, definition: ModelDefinition) -> Resident:
        """Return a loaded model, after a download if its files are missing. Blocks; runs on a thread.

        Raises only errors of ``sightline.errors``: a SystemExit of a plug-in would end the event loop.
        """
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
        """Return a loader that opens detectors in the precision that a measurement of them allows."""
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
        """Download the files; a failure is logged where every failed load is."""
        installing = Installing(want)

        def report(label: str, done: int, total: int | None) -> None:
            if self._stopped:  # the model will not be used; the download resumes next time
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
        """Install a model made of the same download. A failure is reported when that model is requested."""
        try:
            self._store.pull(want)
            _log.info("installed %s from the same download", want.model)
        except WeightsError as error:
            _log.warning("%s is not installed yet: %s", want.model, error)
