"""Trainings a server runs in the background: one at a time, one per collection, a bounded number of them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from sightline.collections import Collection, Collections
from sightline.errors import CollectionBusy, Overloaded, SightlineError
from sightline.jobs.collections.embedding import Embedded, Embedding, Supplied
from sightline.jobs.collections.kept_vectors import KeptVectors
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.reports import training_report
from sightline.jobs.collections.scikit import scikit
from sightline.jobs.collections.training import Training, train
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.report import error_report

_log = logging.getLogger(__name__)

# Pictures under way: with a batch computed and half a one ready, less than bulk work's share of a usual lane.
AT_ONCE = 24
# How many that have ended are remembered.
MOST_ENDED = 200
# For one who comes when there is no room: about what a small training takes.
RETRY_AFTER_S = 10


class JobState(StrEnum):
    """``CANCELLED``: the server was shut down first; what served goes on."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Job:
    """One training. ``done`` of ``total`` says how far ``step`` is; ``total`` is None where nobody knows."""

    collection: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: JobState = JobState.WAITING
    step: str = ""
    done: int = 0
    total: int | None = None
    created_at: str = field(default_factory=lambda: _now())
    ended_at: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.state not in (JobState.WAITING, JobState.RUNNING)

    def end(self, state: JobState, error: SightlineError | None = None) -> None:
        # Not the error itself: it would keep all the pictures in memory.
        self.state, self.ended_at = state, _now()
        self.error = error_report(error) if error else None

    def report(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "job": self.id,
            "collection": self.collection,
            "state": self.state.value,
            "step": self.step,
            "done": self.done,
            "total": self.total,
            "created_at": self.created_at,
            "ended_at": self.ended_at,
            "result": self.result,
            "error": self.error,
        }


class Trainings:
    """The trainings of one server. Use as an async context manager inside the analyzer's: leaving cancels
    those under way, and what they were to replace serves on."""

    def __init__(self, analyzer: Analyzer, collections: Collections, *, max_jobs: int) -> None:
        self.collections = collections
        self._analyzer = analyzer
        self._max_jobs = max_jobs
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(1)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def admit(self, collection: str) -> None:
        """Say early what :meth:`start` would say, before a long body is read.

        Raises:
            ExtraMissing: nothing can be trained here.
            UnknownCollection: this cannot be a collection's id.
            CollectionBusy: it is being trained or changed, by this server or another process.
            Overloaded: too many trainings are under way.
            CollectionError: the folder cannot be written.
        """
        found = self.collections.collection(collection)
        self._refuse(collection)
        await asyncio.to_thread(scikit, "linear_model")
        await asyncio.to_thread(_try_lock, found)

    def start(self, collection: str, plan: Plan, supplied: Sequence[Supplied]) -> Job:
        """Begin a training after :meth:`admit`; raises CollectionBusy and Overloaded like it."""
        self._refuse(collection)
        job = Job(collection, total=len(supplied))
        self._jobs[job.id] = job
        self._forget()
        task = asyncio.create_task(self._run(job, plan, supplied), name=f"training {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def find(self, collection: str, job_id: str) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job is not None and job.collection == collection else None

    def of(self, collection: str) -> list[Job]:
        """Trainings of one collection, the newest first."""
        return [job for job in reversed(self._jobs.values()) if job.collection == collection]

    # -- one job -------------------------------------------------------------------------------------------

    async def _run(self, job: Job, plan: Plan, supplied: Sequence[Supplied]) -> None:
        try:
            async with self._turn:
                job.state = JobState.RUNNING
                found, training = await self._trained(job, plan, supplied)
            job.result = training_report(training, found) | {"images": _images(found)}
            job.end(JobState.DONE)
        except asyncio.CancelledError:
            job.end(JobState.CANCELLED)
            raise
        except SightlineError as error:
            job.end(JobState.FAILED, error)
        except Exception:
            _log.exception("training %s of collection %s", job.id, job.collection)
            job.end(JobState.FAILED, SightlineError("internal error; the server's log has the details"))
        finally:
            why = f": {job.error['message']}" if job.error else ""
            _log.info("training %s of collection %s %s%s", job.id, job.collection, job.state.value, why)

    async def _trained(self, job: Job, plan: Plan, supplied: Sequence[Supplied]) -> tuple[Embedded, Training]:
        def progress(done: int, total: int) -> None:
            job.step, job.done, job.total = "embedding", done, total

        def report(step: str) -> None:
            # On the training's own thread, which cannot be interrupted but ends here: nothing is promoted.
            if self._closed:
                raise SightlineError("the server was shut down")
            job.step, job.done, job.total = step, 0, None

        kept = KeptVectors(self.collections)
        try:
            found = await Embedding(self._analyzer, plan, kept, AT_ONCE).examples(supplied, progress)
        finally:
            kept.close()
        collection = self.collections.collection(job.collection)
        return found, await asyncio.to_thread(train, collection, found.examples, report=report)

    # -- how many ------------------------------------------------------------------------------------------

    def _refuse(self, collection: str) -> None:
        if self._closed:
            raise Overloaded("the server is being shut down", RETRY_AFTER_S)
        under_way = [job for job in self._jobs.values() if not job.ended]
        for job in under_way:
            if job.collection == collection:
                raise CollectionBusy(f"collection {collection} is being trained already, by job {job.id}")
        if len(under_way) >= self._max_jobs:
            raise Overloaded(
                f"{len(under_way)} trainings are under way, as many as may be "
                "(SIGHTLINE_TRAIN_MAX_JOBS); try again later",
                RETRY_AFTER_S,
            )

    def _forget(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.ended]
        for job_id in ended[: max(0, len(ended) - MOST_ENDED)]:
            del self._jobs[job_id]


def _try_lock(collection: Collection) -> None:
    with collection.changing():
        pass


def _images(found: Embedded) -> dict[str, list[str]]:
    """Digests of what was learnt from: what a later training can name instead of sending it again."""
    pairs = list(zip(found.images, found.examples.labels.tolist(), strict=True))
    return {
        "in": [image for image, inside in pairs if inside],
        "out": [image for image, inside in pairs if not inside],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
