"""Who says which animals a photo shows: this process, or a server (``jobs.wildlife.remote``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sightline import operations
from sightline.capabilities import Capability
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.capabilities.places import PLACES
from sightline.capabilities.species import SPECIES, SPECIES_ENSEMBLE
from sightline.capabilities.text import TEXT_LINES
from sightline.errors import ModelUnavailable
from sightline.jobs.describing import answered
from sightline.jobs.looking import look, unrefused
from sightline.jobs.wildlife.boxes import Boxes
from sightline.jobs.wildlife.places import Place
from sightline.operations import Operation
from sightline.runtime.analyzer import Analyzer, BoundTask, Task, bind
from sightline.runtime.report import warnings_of
from sightline.settings import Settings
from sightline.types import Priority

OPERATION = "identify_species"
_TASK_ID = "animals"
# The text of an info strip. The parser needs whole lines, unsure ones as well: their score is told.
TEXT_TASK = Task("text", "read_text", {"min_score": 0.5, "max_lines": 100})
# Nobody waits for a single photo.
_TIMEOUT_S = 3600.0
_SHARED = ("version", "format", "min_confidence", "max_classifications")
_OF_A_RELEASE = (SPECIES, SPECIES_ENSEMBLE)


@dataclass(frozen=True)
class Query:
    """What is asked of every photo; only the place and given detections may differ.

    ``with_strip``: the text at the edges of photos is read as well.
    """

    catalogue: Mapping[str, Operation[Any, Any]]
    params: Mapping[str, Any]
    with_strip: bool = False

    @classmethod
    def create(cls, settings: Settings, params: Mapping[str, Any], *, with_strip: bool = False) -> Query:
        """``params`` are the operation's, without the place; those not given are its defaults.

        Raises:
            ConfigurationError: a plug-in is wrong.
            InvalidParameters: the parameters do not fit.
        """
        catalogue = operations.catalogue(settings.plugins_dir)
        known = bind(catalogue, Task(_TASK_ID, OPERATION, params)).params.model_dump(mode="json")
        return cls(catalogue, {name: known[name] for name in _SHARED}, with_strip)

    def about(self, place: Place, boxes: Boxes | None = None) -> BoundTask:
        """Raises InvalidParameters: there is no such place, or a detection is wrong."""
        return bind(self.catalogue, self.task(place, boxes))

    def task(self, place: Place, boxes: Boxes | None = None) -> Task:
        """The question as a server is sent it."""
        # A parameter without a value is left out: an older server does not know it.
        params = {name: value for name, value in self.params.items() if value is not None}
        given = {} if boxes is None else {"detections": list(boxes)}
        return Task(_TASK_ID, OPERATION, {**params, **place.known(), **given})

    @property
    def version(self) -> str:
        return str(self.params["version"])


@dataclass(frozen=True, slots=True)
class Identified:
    """An entry of the query's format. ``warnings`` are what a reader must know, such as random weights."""

    entry: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Printed:
    """One line of text in a photo. ``middle``: its height in the photo, 0 (top) to 1 (bottom)."""

    text: str
    score: float
    middle: float

    @classmethod
    def create(cls, line: Mapping[str, Any], height: int) -> Printed:
        """From a line of ``read_text``, in a photo of ``height`` pixels."""
        middle = sum(float(y) for _, y in line["quad"]) / len(line["quad"]) / max(height, 1)
        return cls(str(line["text"]), float(line["score"]), middle)


class Identifier(Protocol):
    """Looks at photos, several at a time."""

    async def load(self) -> Mapping[str, str]:
        """Make sure of all models that have a say; their fingerprints by name.

        Raises:
            UnknownModel: there is no such release.
            ModelUnavailable: weights are missing; the message names all of them and how to get them.
            ModelBroken: weights are there and do not load.
            RunEnded: the server that computes does not, or says one of these things.
        """
        ...

    async def read(self, photo: Path) -> Sequence[Printed]:
        """The lines of text in the photo. Raises as ``identify`` does."""
        ...

    async def identify(self, photo: Path, place: Place, boxes: Boxes | None = None) -> Identified:
        """What the file shows. With ``boxes`` no detector is asked.

        Raises:
            RunEnded: no photo can be looked at.
            SightlineError: this one cannot.
        """
        ...


@asynccontextmanager
async def identifying_here(
    settings: Settings,
    query: Query,
    *,
    with_places: bool,
    with_detector: bool = True,
    fill_truncated: bool = False,
) -> AsyncIterator[Identifier]:
    """An identifier that computes in this process, as bulk work. ``with_places``: countries are to be looked
    up by coordinates. ``with_detector``: some photos come without boxes. ``fill_truncated``: photos whose end
    is missing are looked at as far as they go.

    Raises:
        ConfigurationError: a setting or a plug-in is wrong.
    """
    async with Analyzer.create(unrefused(settings)) as analyzer:
        unneeded: dict[Capability[Any, Any], bool] = {PLACES: with_places, ANIMAL_BOXES: with_detector}
        yield _Here(
            analyzer, query, {need for need, wanted in unneeded.items() if not wanted}, fill_truncated
        )


class _Here:
    def __init__(
        self, analyzer: Analyzer, query: Query, unneeded: set[Capability[Any, Any]], fill_truncated: bool
    ) -> None:
        self._analyzer = analyzer
        self._fill_truncated = fill_truncated
        self._query = query
        self._unneeded = unneeded

    async def load(self) -> Mapping[str, str]:
        engine = self._analyzer.engine
        names = [
            engine.find(need, self._query.version if need in _OF_A_RELEASE else None)
            for need in self._analyzer.operations[OPERATION].needs
            if need not in self._unneeded
        ]
        if self._query.with_strip:
            names.append(engine.find(TEXT_LINES, None))
        ends = await asyncio.gather(*map(engine.residency.preload, names), return_exceptions=True)
        missing = [str(error) for error in ends if isinstance(error, ModelUnavailable)]
        if missing:
            raise ModelUnavailable("; ".join(missing))
        for error in ends:
            if error is not None:
                raise error
        refs = [engine.ref(name) for name in names]
        return {ref.name: ref.fingerprint for ref in refs if ref is not None}

    async def identify(self, photo: Path, place: Place, boxes: Boxes | None = None) -> Identified:
        task = self._query.about(place, boxes)
        seen = await look(
            self._analyzer, str(photo), [task], _TIMEOUT_S,
            priority=Priority.BULK, fill_truncated=self._fill_truncated,
        )  # fmt: skip
        outcome, data = answered(seen)
        return Identified(data.model_dump(mode="json"), tuple(warnings_of(outcome)))

    async def read(self, photo: Path) -> Sequence[Printed]:
        seen = await look(
            self._analyzer, str(photo), [bind(self._query.catalogue, TEXT_TASK)], _TIMEOUT_S,
            priority=Priority.BULK, fill_truncated=self._fill_truncated,
        )  # fmt: skip
        _, data = answered(seen)
        height = seen.picture.height if seen.picture is not None else 0
        return [Printed.create(line, height) for line in data.model_dump(mode="json")["lines"]]
