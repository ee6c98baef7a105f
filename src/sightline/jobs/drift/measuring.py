"""Every photo computed twice, in f32 and in half precision: the same weights, the same prepared pixels."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

from threadpoolctl import threadpool_limits

from sightline.capabilities import Subject
from sightline.capabilities.caption import CAPTION, CaptionRequest
from sightline.errors import InvalidRequest, SightlineError
from sightline.imaging import ImageLimits, View, open_picture
from sightline.jobs.drift.comparing import Figures, Tally, Verdict
from sightline.jobs.images import listings
from sightline.jobs.looking import read_image
from sightline.models import AS_SET, Graph, GraphOptions, Model, ModelDefinition
from sightline.models.generation import GenerationLimits
from sightline.runtime.graphs import Graphs
from sightline.settings import DetectorPrecision, Precision, Settings
from sightline.weights.drift import Limits

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Twins:
    """One model, loaded twice. ``precision`` is what ``half`` computes in, or most of it."""

    f32: Model
    half: Model
    precision: Precision


@dataclass(frozen=True, slots=True)
class PhotoEnd:
    """What became of one photo, or of a folder that could not be read. ``error``: why it was not compared."""

    source: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """``f32_s`` and ``half_s``: seconds of computing per photo, the median, decoding left out."""

    figures: Figures
    verdict: Verdict
    f32_s: float
    half_s: float


def photos_in(sources: Iterable[Path]) -> Iterator[Path | PhotoEnd]:
    """Files as they are, and the photos of folders and of those below; each once."""
    met: set[Path] = set()
    for source in sources:
        if not source.is_dir():
            found: Iterable[Path | PhotoEnd] = [source]
        else:
            found = _below(source)
        for each in found:
            if isinstance(each, PhotoEnd) or each not in met:
                yield each
            if isinstance(each, Path):
                met.add(each)


def _below(folder: Path) -> Iterator[Path | PhotoEnd]:
    for listing in listings(folder, recursive=True):
        if listing.error is not None:
            reason = listing.error.strerror or str(listing.error)
            yield PhotoEnd(str(listing.folder), f"the folder cannot be read: {reason}")
        yield from (listing.folder / name for name in listing.names)


@contextmanager
def loaded_twice(
    settings: Settings, definition: ModelDefinition, files: Mapping[str, Path]
) -> Iterator[Twins]:
    """The model in f32 and in what ``auto`` means here, for as long as the block runs.

    Raises:
        InvalidRequest: both would compute the same; the message says why.
        ModelBroken: the files do not load.
        ConfigurationError: the device of the settings is not on this machine.
    """
    assert definition.load is not None
    with _graph_copies(settings.models_dir.expanduser()) as folder:
        half = _Opening(settings, Precision.AUTO, folder / "half" if folder else None)
        model = cast(Model, definition.load(files, half))  # those elsewhere have no graphs to open
        if None in half.met:
            raise InvalidRequest(
                f"{settings.device} does not say what it computes in, so nothing can be compared"
            )
        if not half.met:
            raise InvalidRequest(
                f"{definition.name} computes with no graph, so no precision changes its answers"
            )
        precision = next((each for each in half.met if each not in (None, Precision.F32)), None)
        if precision is None:
            raise InvalidRequest(
                f"{definition.name} computes in f32 whatever the settings say: there is nothing to compare"
            )
        f32 = _Opening(settings, Precision.F32, folder / "f32" if folder else None)
        yield Twins(cast(Model, definition.load(files, f32)), model, precision)


@contextmanager
def _graph_copies(models_dir: Path) -> Iterator[Path | None]:
    """Where graphs are kept as a server would keep them: in half precision their weights are rounded there.

    In a folder of its own, as a server keeps one precision only. None where a server could keep none either.
    """
    try:
        folder = TemporaryDirectory(dir=models_dir, prefix=".drift-", ignore_cleanup_errors=True)
    except OSError:
        folder = None
    with folder or nullcontext() as name:
        yield Path(name) if name else None


class _Opening:
    """Opens graphs in one precision, and notes what those really compute in."""

    def __init__(self, settings: Settings, precision: Precision, cache_dir: Path | None) -> None:
        changes = {
            "precision": precision,
            "detector_precision": DetectorPrecision(precision.value),
            "compute_slots": 1,
        }
        self._graphs = Graphs(settings.model_copy(update=changes), cache_dir)
        self.met: set[Precision | None] = set()

    @property
    def threads(self) -> int:
        return self._graphs.threads

    def __call__(self, path: Path, options: GraphOptions = AS_SET) -> Graph:
        self.met.add(self._graphs.computes_in(options))
        return self._graphs(path, options)

    def generator(self, name: str, folder: Path, limits: GenerationLimits) -> NoReturn:
        """Raises InvalidRequest: text is generated in one precision only."""
        raise InvalidRequest(f"{name} generates text in one precision: there is nothing to compare")


class Measuring:
    """Goes through photos one by one: a photo that decodes while another is computed would slow that down.

    Args:
        report: called with each photo's end.
    """

    def __init__(
        self,
        definition: ModelDefinition,
        twins: Twins,
        tally: Tally,
        limits: ImageLimits,
        report: Callable[[PhotoEnd], None],
    ) -> None:
        self._captions = CAPTION in definition.card.capabilities
        self._twins = twins
        self._tally = tally
        self._limits = limits
        self._report = report
        self._seconds: tuple[list[float], list[float]] = ([], [])

    @property
    def photos(self) -> int:
        """How many have been compared."""
        return len(self._seconds[0])

    def run(self, photos: Iterable[Path | PhotoEnd]) -> None:
        """Compare both answers to each photo, past those that do not open or that the model fails on."""
        # As the engine does: threads of numpy's products would take cores from the graphs.
        with threadpool_limits(1, user_api="blas"):
            for photo in photos:
                self._report(photo if isinstance(photo, PhotoEnd) else self._compare(photo))

    def measured(self, limits: Limits) -> Measured:
        """What came of it.

        Raises:
            InvalidRequest: no photo could be compared.
        """
        if not self.photos:
            raise InvalidRequest("no photo could be compared; name photos, or folders with some")
        f32_s, half_s = map(statistics.median, self._seconds)
        return Measured(self._tally.figures(), self._tally.judge(limits), f32_s, half_s)

    def _compare(self, photo: Path) -> PhotoEnd:
        try:
            picture = open_picture(read_image(str(photo), self._limits.max_bytes), self._limits)
            view = View(picture)
            subject: Subject = CaptionRequest(view) if self._captions else view
            item = self._twins.f32.prepare(subject)
            answers, seconds = self._both(item)
            self._tally.add(*answers)
        except SightlineError as error:
            return PhotoEnd(str(photo), str(error))
        except Exception as error:  # of a model, or of a runtime: the next photo may be another matter
            _log.exception("comparing %s", photo)
            return PhotoEnd(str(photo), f"the model fails on it: {type(error).__name__}")
        for all_seconds, each in zip(self._seconds, seconds, strict=True):
            all_seconds.append(each)
        return PhotoEnd(str(photo))

    def _both(self, item: Any) -> tuple[list[Any], list[float]]:
        """Both answers and the seconds they took, f32 first."""
        models = (self._twins.f32, self._twins.half)
        if not self.photos:
            for model in models:
                model.infer([item])  # a graph's first batch takes longer
        # Which one goes first changes, for the second finds the pixels in the cache.
        order: Sequence[int] = (0, 1) if self.photos % 2 else (1, 0)
        answers: list[Any] = [None, None]
        seconds = [0.0, 0.0]
        for place in order:
            started = time.perf_counter()
            (answers[place],) = models[place].infer([item])
            seconds[place] = time.perf_counter() - started
        return answers, seconds
