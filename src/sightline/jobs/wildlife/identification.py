"""A run over a folder: every photo looked at once, and at the end one file with all predictions."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from sightline.errors import InvalidRequest, SightlineError
from sightline.jobs.describing import RunEnded
from sightline.jobs.wildlife.boxes import digest_of
from sightline.jobs.wildlife.checkpoint import Checkpoint
from sightline.jobs.wildlife.identifying import Identifier, Query
from sightline.jobs.wildlife.inputs import Inputs
from sightline.jobs.wildlife.photos import Photo, Unreadable
from sightline.jobs.wildlife.predictions import PredictionsFormat, failed_entry, write_predictions

_log = logging.getLogger(__name__)

# The detector always has a next photo, and crops of several make full batches for the classifier.
USUAL_CONCURRENCY = 8
# Of a hundred thousand photos all could fail: so many are kept to be told at the end.
_MOST_TOLD = 100
# Asking a thread for each alone takes longer than what it does.
_LISTED_AT_ONCE = 100


class PhotoStatus(StrEnum):
    """``KEPT`` was found by an earlier run."""

    IDENTIFIED = "identified"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PhotoEnd:
    """What became of one photo, or of a folder that could not be read. ``reason``: why it failed."""

    photo: str
    status: PhotoStatus
    reason: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """A run so far. Of failures and of different warnings the first hundred are kept."""

    counts: Counter[PhotoStatus] = field(default_factory=Counter)
    failures: list[PhotoEnd] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return self.counts[PhotoStatus.FAILED]

    def add(self, end: PhotoEnd) -> None:
        self.counts[end.status] += 1
        if end.status is PhotoStatus.FAILED and len(self.failures) < _MOST_TOLD:
            self.failures.append(end)
        for warning in end.warnings:
            if len(self.warnings) < _MOST_TOLD and warning not in self.warnings:
                self.warnings.append(warning)


class Identification:
    """One run.

    Args:
        report: called on the event loop with each photo's end, in the order of those ends.
        at_once: photos under way, which bounds the memory that is taken.
    """

    def __init__(
        self,
        inputs: Inputs,
        query: Query,
        identifier: Identifier,
        checkpoint: Checkpoint,
        report: Callable[[PhotoEnd], None],
        *,
        at_once: int = USUAL_CONCURRENCY,
    ) -> None:
        self._photos = inputs.photos
        self._places = inputs.places
        self._boxes = inputs.boxes
        self._query = query
        self._identifier = identifier
        self._checkpoint = checkpoint
        self._report = report
        self._at_once = at_once
        self._positions: dict[str, int] = {}
        self._models: Mapping[str, str] = {}
        self.tally = Tally()

    async def prepare(self, out: Path, *, force: bool = False) -> None:
        """Load the models, and go on from the checkpoint, or start over.

        Raises:
            ModelError: weights are missing or do not load.
            InvalidRequest: the checkpoint was begun with something else, or there is none and ``out`` is
                somebody else's; and not ``force``.
            RunEnded: nothing can be written.
        """
        self._models = dict(await self._identifier.load())
        await asyncio.to_thread(self._begin, self._models, out, force)

    def _begin(self, models: Mapping[str, str], out: Path, force: bool) -> None:
        begun_with = {
            "folder": str(self._photos.root.resolve()),
            **self._query.params,
            **self._places.usual.known(),
            **({"read_strip": True} if self._query.with_strip else {}),
            "models": models,
        }
        before = None if force else self._checkpoint.resume()
        if before is not None and before.get("folder") != begun_with["folder"] and self._knows_a_photo():
            before = {**before, "folder": begun_with["folder"]}  # it was renamed, or mounted elsewhere
        if before is None:
            if out.exists() and not force:
                raise InvalidRequest(
                    f"{out} is there without the checkpoint that would say what is in it; --force replaces "
                    "it, or name another --out"
                )
            self._checkpoint.begin(begun_with)
        elif changes := list(_changes(before, begun_with)):
            raise InvalidRequest(
                f"{out} was begun with {', '.join(changes)}: answers are not mixed; --force starts over, or "
                "name another --out"
            )

    def _knows_a_photo(self) -> bool:
        """Whether an earlier run found a photo that is in this folder under the same name and unchanged."""
        return any(
            isinstance(each, Photo) and self._checkpoint.recall(each.name, self._asked(each)) is not None
            for each in self._photos
        )

    def _asked(self, photo: Photo) -> dict[str, Any]:
        """What an answer depends on besides what the run began with."""
        asked: dict[str, Any] = photo.state() | self._places.of(photo.name).known()
        if photo.name in self._boxes:
            asked["detections"] = digest_of(self._boxes[photo.name])
        return asked

    async def count(self) -> int:
        """How many photos there are that no earlier run has found."""
        return await asyncio.to_thread(self._count)

    def _count(self) -> int:
        return sum(isinstance(each, Photo) and each.name not in self._checkpoint for each in self._photos)

    async def run(self) -> None:
        """Look at all photos; the tally and the checkpoint hold what came of them, even if this raises or is
        cancelled.

        Raises:
            RunEnded: no photo can be looked at, or no answer kept.
            OSError: the folder cannot be read.
        """
        turn = asyncio.Lock()

        async def work(photos: AsyncGenerator[tuple[Photo, dict[str, Any]], None]) -> None:
            while True:
                async with turn:
                    found = await anext(photos, None)
                if found is None:
                    return
                await self._look_at(*found)

        async with aclosing(self._to_look_at()) as photos:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self._at_once):
                        workers.create_task(work(photos))
            except ExceptionGroup as group:
                first = group.exceptions[0]
                raise first from first.__cause__

    def write(self, out: Path, predictions_format: PredictionsFormat) -> None:
        """Write the predictions of all photos that were met, ordered by path.

        Raises:
            OSError: it cannot be written; what was there before still is.
        """
        ordered = sorted(self._positions, key=lambda name: name.split("/"))
        entries = self._checkpoint.entries(self._positions[name] for name in ordered)
        write_predictions(out, entries, predictions_format, self._models)

    async def _to_look_at(self) -> AsyncGenerator[tuple[Photo, dict[str, Any]], None]:
        """Every photo that no earlier run was asked the same about, and what is asked. Others are noted."""
        found = ((each, self._asked(each) if isinstance(each, Photo) else {}) for each in self._photos)
        while some := await asyncio.to_thread(lambda: list(islice(found, _LISTED_AT_ONCE))):
            for each, asked in some:
                if isinstance(each, Unreadable):
                    self._note_unreadable(each)
                    continue
                position = self._checkpoint.recall(each.name, asked)
                if position is None:
                    yield each, asked
                else:
                    self._positions[each.name] = position
                    self._note(PhotoEnd(each.name, PhotoStatus.KEPT))

    async def _look_at(self, photo: Photo, asked: Mapping[str, Any]) -> None:
        place = self._places.of(photo.name)
        warnings: tuple[str, ...] = ()
        reason: str | None = None
        try:
            identified = await self._identifier.identify(photo.path, place, self._boxes.get(photo.name))
            # The first of its fields, by the name it has here.
            entry, warnings = identified.entry | {"filepath": photo.name}, identified.warnings
        except RunEnded:
            raise
        except SightlineError as error:
            reason = str(error)
        except Exception as error:  # or the photo would end every run that comes to it
            _log.exception("looking at %s", photo.path)
            reason = f"internal error: {type(error).__name__}: {error}"
        if reason is not None:
            entry = failed_entry(photo.name, place, self._query.version)
        # On the event loop on purpose: nothing can come between keeping an answer and counting it.
        self._positions[photo.name] = self._checkpoint.add(photo.name, asked, entry)
        status = PhotoStatus.IDENTIFIED if reason is None else PhotoStatus.FAILED
        self._note(PhotoEnd(photo.name, status, reason, warnings))

    def _note_unreadable(self, folder: Unreadable) -> None:
        if folder.path == self._photos.root:
            raise folder.error
        name = folder.path.relative_to(self._photos.root).as_posix()
        reason = f"the folder cannot be read: {folder.error.strerror or folder.error}"
        self._note(PhotoEnd(name, PhotoStatus.FAILED, reason))

    def _note(self, end: PhotoEnd) -> None:
        self.tally.add(end)
        self._report(end)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            others = sorted(each for each in old.keys() | new.keys() if old.get(each) != new.get(each))
            if others:
                yield f"other {name} ({', '.join(others)})"
        elif old != new:
            yield f"{'no ' if old is None else ''}{name}{'' if old is None else f' {old}'}"
