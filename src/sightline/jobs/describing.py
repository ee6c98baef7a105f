"""Who puts an image into words: this process, or a server (``jobs.remote``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from sightline import operations
from sightline.errors import (
    ConfigurationError,
    InferenceFailed,
    ModelBroken,
    ModelLoading,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
)
from sightline.jobs.looking import Seen, look, unrefused
from sightline.runtime.analyzer import Analyzer, BoundTask, Outcome, Task, bind
from sightline.runtime.report import warnings_of
from sightline.settings import Settings
from sightline.types import Priority

OPERATION = "describe_image"
# The contract's script called its only task this.
TASK_ID = "caption"
# The first image may wait for a model's download, and nobody waits for any single one.
_TIMEOUT_S = 3600.0
# The next image would fail for these as well.
_HOPELESS = (ConfigurationError, ModelBroken, ModelLoading, ModelUnavailable, UnknownModel)


class RunEnded(SightlineError):
    """A run over many images cannot go on: each of the others would fail for the same reason."""

    code = "run_ended"


@dataclass(frozen=True, slots=True)
class Description:
    """``warnings`` are what a reader must know, such as that the weights are random."""

    text: str
    warnings: tuple[str, ...] = ()


def asked(settings: Settings, params: Mapping[str, Any]) -> BoundTask:
    """What each image is asked. ``params`` are the operation's; those not given are its defaults.

    Raises:
        ConfigurationError: a plug-in is wrong.
        InvalidParameters: the parameters do not fit.
    """
    return bind(operations.catalogue(settings.plugins_dir), Task(TASK_ID, OPERATION, params))


class Describer(Protocol):
    """Describes images, several at a time."""

    async def describe(self, image: Path) -> Description:
        """The file in words.

        Raises:
            RunEnded: no image can be described.
            TargetNotFound: the part to describe is not in the image.
            SightlineError: this image cannot be described.
        """
        ...


@asynccontextmanager
async def describing_here(
    settings: Settings, task: BoundTask, *, fill_truncated: bool = False
) -> AsyncIterator[Describer]:
    """A describer that computes in this process, as bulk work.

    Raises:
        ConfigurationError: a setting or a plug-in is wrong.
    """
    async with Analyzer.create(unrefused(settings)) as analyzer:
        yield _Here(analyzer, task, fill_truncated)


class _Here:
    def __init__(self, analyzer: Analyzer, task: BoundTask, fill_truncated: bool) -> None:
        self._analyzer = analyzer
        self._task = task
        self._fill_truncated = fill_truncated

    async def describe(self, image: Path) -> Description:
        seen = await look(
            self._analyzer, str(image), [self._task], _TIMEOUT_S,
            priority=Priority.BULK, fill_truncated=self._fill_truncated,
        )  # fmt: skip
        outcome, data = answered(seen)
        return Description(outcome.operation.plain(data), tuple(warnings_of(outcome)))


def answered(seen: Seen) -> tuple[Outcome, BaseModel]:
    """The end of the only task on a photo, and its answer.

    Raises:
        RunEnded: every other photo would fail for the same reason.
        SightlineError: the photo did not open, or the task failed.
    """
    if seen.error is not None:
        raise seen.error
    (outcome,) = seen.outcomes
    if isinstance(outcome.error, _HOPELESS):
        raise RunEnded(str(outcome.error)) from outcome.error
    if outcome.error is not None:
        raise outcome.error
    if outcome.answer is None or outcome.answer.data is None:
        raise InferenceFailed("there was no answer")
    return outcome, outcome.answer.data
