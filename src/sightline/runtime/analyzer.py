"""Questions in, answers out: the one way in for the server, the command line and the Python API."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sightline import capabilities, models, operations
from sightline.errors import (
    ConfigurationError,
    InvalidParameters,
    InvalidRequest,
    SightlineError,
    TargetNotFound,
    UnknownOperation,
)
from sightline.fetching import Fetcher, FetchPolicy
from sightline.imaging import ImageLimits, Picture, open_picture
from sightline.imaging.isolation import DecodeWorkers, workers
from sightline.operations import Answer, Operation, Params
from sightline.operations.written import read_written
from sightline.runtime.engine import Context, Engine, until
from sightline.runtime.rehearsal import Rehearsal, rehearsed
from sightline.runtime.scene import Scene
from sightline.runtime.telemetry import Telemetry, Trace
from sightline.settings import Settings
from sightline.weights.store import Store

_log = logging.getLogger(__name__)

# Decoders are looked after so often, and so often while none starts.
MEND_EVERY_S, MEND_AGAIN_S = 1.0, 10.0
_FILLED = "the image is truncated: the result is about the part that is there, the rest was filled"

# The engine's own errors at the deadline say more than the one that ends an operation which overlooks it.
DEADLINE_GRACE_S = 0.25
# Of one finding about a parameter; a message echoes no large request.
_MAX_FINDING_CHARS = 500


@dataclass(frozen=True, slots=True)
class Task:
    """One question: an operation with parameters, under an id of the caller's.

    ``written``: the parameters are text, from a query string or a command line.
    """

    id: str
    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)
    written: bool = False


@dataclass(frozen=True, slots=True)
class BoundTask:
    """A task whose operation exists and whose parameters fit."""

    id: str
    operation: Operation[Any, Any]
    params: Params


class Status(StrEnum):
    """``SKIPPED`` is an honest "there is nothing to work on"; ``ERROR`` is a failure of this task alone."""

    OK = "ok"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one task. ``crop_png`` is set if crops were requested and the region is a crop."""

    id: str
    operation: Operation[Any, Any]
    status: Status
    total_ms: float
    trace: Trace
    answer: Answer[Any] | None = None
    crop_png: bytes | None = None
    error: SightlineError | None = None

    def result(self) -> Any:
        """Return the operation's result. Raises the task's error if it has none."""
        if self.error is not None:
            raise self.error.with_traceback(None)  # a second call must not add to the frames of the first
        return self.answer.data if self.answer is not None else None

    def words(self) -> str | None:
        """Return how the result reads for people; None if the task failed or the fields say enough."""
        if self.answer is None or self.answer.data is None:
            return None
        words: str | None = self.operation.words(self.answer.data)
        return words


async def _mend(isolated: DecodeWorkers) -> None:
    """Replace decoders that end, until cancelled. While none starts, try less often."""
    while True:
        await asyncio.sleep(MEND_EVERY_S if isolated.is_able else MEND_AGAIN_S)
        if isolated.needs_mending:
            await asyncio.to_thread(isolated.mend)


class Analyzer:
    """Operations over an engine. Use as an async context manager; one per process."""

    def __init__(
        self,
        settings: Settings,
        operations: Mapping[str, Operation[Any, Any]],
        models: models.Catalogue,
        engine: Engine,
        store: Store,
        telemetry: Telemetry,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        self.settings = settings
        self._rehearsal = rehearsal
        self.operations = operations
        self.models = models
        self.engine = engine
        self.store = store
        self.limits = ImageLimits.from_settings(settings)
        self._telemetry = telemetry
        self._mending: asyncio.Task[None] | None = None
        self._fetcher = Fetcher(FetchPolicy.from_settings(settings))

    @classmethod
    def create(cls, settings: Settings, telemetry: Telemetry | None = None) -> Analyzer:
        """Put an analyzer together from what is built in and plugged in.

        Raises:
            ConfigurationError: a setting or a plug-in is wrong.
        """
        telemetry = telemetry or Telemetry()
        known_capabilities = capabilities.catalogue(settings.plugins_dir)
        known_models = models.catalogue(settings.plugins_dir)
        rehearsal = Rehearsal(settings) if settings.rehearse else None
        if rehearsal is not None:
            settings, known_models = rehearsal.settings, rehearsed(known_models)
        known_operations = operations.catalogue(settings.plugins_dir)
        _require_declared(known_capabilities, known_models, known_operations)
        store = Store.from_settings(settings)
        engine = Engine(settings, known_models, store, telemetry)
        return cls(settings, known_operations, known_models, engine, store, telemetry, rehearsal)

    async def __aenter__(self) -> Analyzer:
        self.engine.start()
        if (isolated := workers(self.limits.decode_workers)) is not None:
            isolated.start()  # they are ready by the time that a model is
            self._mending = asyncio.create_task(_mend(isolated), name="housekeeping")
        return self

    @property
    def can_decode(self) -> bool:
        """Whether images can be decoded: the processes that do it start."""
        isolated = workers(self.limits.decode_workers)
        return isolated is None or isolated.is_able

    async def __aexit__(self, *exception: object) -> None:
        if self._mending is not None:
            self._mending.cancel()
        await self._fetcher.aclose()
        await self.engine.close()
        if self._rehearsal is not None:
            self._rehearsal.close()

    # -- pictures ------------------------------------------------------------------------------------------

    def open(self, data: bytes, *, max_bytes: int | None = None, fill_truncated: bool = False) -> Picture:
        """Check an image's header; no pixels are decoded yet. With ``fill_truncated`` a photo whose end is
        missing is not refused later: its results have a warning.

        Raises:
            UnsupportedImage, ImageTooLarge, InvalidImage: see ``imaging.open_picture``.
        """
        limits = self.limits
        if max_bytes is not None:
            limits = dataclasses.replace(limits, max_bytes=max_bytes)
        if fill_truncated:
            limits = dataclasses.replace(limits, fills_truncated=True)
        return open_picture(data, limits)

    async def fetch(self, url: str, *, fill_truncated: bool = False) -> Picture:
        """Open the image at a URL, as :meth:`open`.

        Raises:
            UrlRefused, FetchFailed, FetchTimeout: see ``fetching.Fetcher``. Image errors as for ``open``.
        """
        return self.open(await self.fetch_bytes(url), fill_truncated=fill_truncated)

    async def fetch_bytes(self, url: str) -> bytes:
        """Return what is at a URL, at most as many bytes as an image may have.

        Raises:
            UrlRefused, FetchFailed, FetchTimeout: see ``fetching.Fetcher``.
        """
        started_s = time.monotonic()
        try:
            return await self._fetcher.fetch(url, self.limits.max_bytes)
        finally:
            self._telemetry.step("fetch", "", started_s, time.monotonic())

    # -- tasks ---------------------------------------------------------------------------------------------

    def bind(self, task: Task) -> BoundTask:
        """See :func:`bind`."""
        return bind(self.operations, task)

    def needs_params(self, operation: str) -> bool:
        """Return whether a task without parameters is refused."""
        try:
            self.bind(Task(operation, operation))
        except InvalidParameters:
            return True
        return False

    def default_tasks(self) -> list[Task]:
        """Return the tasks of a request that names none."""
        return [
            Task(template.id, operation.name, template.params)
            for operation in self.operations.values()
            for template in operation.default_tasks
        ]

    def context(self, tasks: Sequence[BoundTask]) -> Context:
        """As much time from now as the most patient of ``tasks`` wants."""
        waits_s = [task.operation.patience_s(self.settings) for task in tasks]
        return Context.lasting(max(waits_s, default=self.settings.request_timeout_s))

    async def analyze(
        self,
        picture: Picture | None,
        tasks: Sequence[BoundTask],
        context: Context | None = None,
        *,
        crops: bool | Container[str] = False,
        others: Sequence[Picture] = (),
    ) -> list[Outcome]:
        """Run all tasks on one picture at once, sharing what they find. Outcomes come in the tasks' order.
        ``crops`` may be the ids of the tasks whose answers come with one. ``others`` are further pictures
        of tasks that take several together.

        Never raises for a task's sake: a failing task is an outcome, and no other task notices.
        """
        context = context or self.context(tasks)
        async with Scene(self.engine, context, picture, others) as scene:
            return await asyncio.gather(
                *(
                    self._outcome(scene, task, crops if isinstance(crops, bool) else task.id in crops)
                    for task in tasks
                )
            )

    async def _outcome(self, scene: Scene, task: BoundTask, crops: bool) -> Outcome:
        started = time.monotonic()
        scene = scene.task()
        answer: Answer[Any] | None = None
        crop_png: bytes | None = None
        error: SightlineError | None = None
        status = Status.OK
        try:
            async with until(scene.context, DEADLINE_GRACE_S):
                answer = await task.operation.run(scene, task.params, self.engine)
                if crops and answer.region is not None and answer.region.box is not None:
                    crop_png = await scene.crop_png(answer.region)
        except TargetNotFound as missing:
            status, error = Status.SKIPPED, missing.with_traceback(None)  # its frames hold the pixels
        except SightlineError as failure:
            status, error, answer = Status.ERROR, failure.with_traceback(None), None
        except Exception:
            _log.exception("operation %s", task.operation.name)
            error = SightlineError("internal error; the server's log has the details")
            status, answer = Status.ERROR, None
        if scene.is_filled:
            scene.trace.warnings.append(_FILLED)
        total_s = time.monotonic() - started
        self._telemetry.task_finished(task.operation.name, status.value, total_s)
        return Outcome(task.id, task.operation, status, total_s * 1000, scene.trace, answer, crop_png, error)


def _require_declared(
    declared: Container[str], models: models.Catalogue, operations: Mapping[str, Operation[Any, Any]]
) -> None:
    """Raise ConfigurationError if a model or an operation names a capability that no module declares."""
    used = [(f"model {each.name}", each.card.capabilities) for each in models.values()]
    used += [(f"operation {each.name}", frozenset(each.needs)) for each in operations.values()]
    for user, named in used:
        for capability in named:
            if capability.name not in declared:
                raise ConfigurationError(
                    f"{user} uses an undeclared capability: {capability.name}; expected one in the "
                    "CAPABILITIES of a module"
                )


def takes_together(tasks: Sequence[BoundTask], num_images: int) -> bool:
    """Return whether the tasks are about all images of a request together.

    Raises:
        InvalidRequest: some are, and others are about each image.
    """
    wanting = [task for task in tasks if task.operation.together(task.params)]
    if num_images < 2 or not wanting:
        return False
    if len(wanting) < len(tasks):
        raise InvalidRequest(f"{wanting[0].id} takes all images together; expected no task about each image")
    return True


def bind(operations: Mapping[str, Operation[Any, Any]], task: Task) -> BoundTask:
    """Check a task against its operation.

    Raises:
        UnknownOperation: there is no such operation.
        InvalidParameters: the parameters do not fit; the message names each and what would.
    """
    operation = operations.get(task.operation)
    if operation is None:
        known = ", ".join(operations)
        raise UnknownOperation(f"there is no operation {task.operation[:100]!r}; there are {known}")
    target = task.params.get("target")
    if target is not None and operation.targets and target not in list(operation.targets):
        allowed = [target.value for target in operation.targets]
        raise InvalidParameters(
            f"Unsupported target {str(target)[:100]!r} for {operation.name!r}. Allowed: {allowed}"
        )
    try:
        return BoundTask(task.id, operation, _read(operation.Params, task))
    except ValidationError as error:
        found = _readable(error, operation.Params)
        raise InvalidParameters(f"{operation.name}: {found}") from None


def _read(kind: type[Params], task: Task) -> Params:
    return read_written(kind, task.params) if task.written else kind.model_validate(dict(task.params))


def _readable(error: ValidationError, kind: type[Params]) -> str:
    """Pydantic's findings as one line, without echoing long input back."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(str(part)[:100] for part in problem['loc']) or 'parameters'}: {_message(problem, kind)}"
        for problem in found[:10]
    )


def _message(problem: ErrorDetails, kind: type[Params]) -> str:
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        return f"is not a parameter; there are {', '.join(kind.model_fields)}"
    # "Value error, " is what pydantic puts before our own words.
    return problem["msg"].removeprefix("Value error, ")[:_MAX_FINDING_CHARS]
