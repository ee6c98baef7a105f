"""Bringing a library up to date with folders: new, changed, moved and deleted photos."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.capabilities.places import PLACES, Place
from sightline.errors import ImageError, LibraryOutdated, Overloaded, SightlineError
from sightline.imaging import Picture, View, perceptual_hash, picture_from_pixels, read_capture, read_position
from sightline.jobs.collections.embedding import HOPELESS, PICTURE_TIMEOUT_S
from sightline.jobs.libraries.folders import Differences, File, differences
from sightline.jobs.libraries.runs import Fate, Indexed, IndexOptions, IndexTally, Watcher
from sightline.jobs.looking import read_image
from sightline.libraries import Item, Library, NewItem, VectorModel
from sightline.libraries.items import StoredAnswer
from sightline.libraries.vectors import Floats
from sightline.runtime.analyzer import Analyzer, BoundTask, Status
from sightline.runtime.engine import Context
from sightline.runtime.scene import Scene
from sightline.types import Coordinate, Priority

_log = logging.getLogger(__name__)

# Written together: a transaction costs a wait for the disk.
_ITEMS_AT_ONCE, _SECONDS_AT_MOST = 256, 5.0
# Besides those that are computed: a batch that waits, and one that is decoded.
_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class _Work:
    """A file to open, and what is wanted of it. ``item``: it is in the library and only lacks something."""

    file: File
    models: tuple[VectorModel, ...]
    tasks: tuple[BoundTask, ...]
    item: Item | None = None


@dataclass(slots=True)
class Indexing:
    """One run over folders.

    Args:
        roots: absolute folders; none are added to those that the library knows.
        spaces: embedding spaces whose vectors are wanted, besides those that the library has.
        tasks: questions whose answers are stored with each photo.
    """

    analyzer: Analyzer
    library: Library
    roots: Sequence[Path]
    watcher: Watcher
    spaces: Sequence[str]
    tasks: Sequence[BoundTask] = ()
    options: IndexOptions = field(default_factory=lambda: IndexOptions())
    tally: IndexTally = field(default_factory=IndexTally)
    _items: list[NewItem] = field(default_factory=list)
    _vectors: dict[int, dict[int, Floats]] = field(default_factory=dict)
    _answers: dict[int, list[StoredAnswer]] = field(default_factory=dict)
    _failures: dict[str, tuple[int, int, str, str]] = field(default_factory=dict)
    _gone: dict[str, list[int]] = field(default_factory=dict)
    _written_at: float = 0.0

    async def run(self) -> IndexTally:
        """Bring the library up to date.

        Raises:
            LibraryBusy: another process writes to it.
            LibraryOutdated: its vectors are of other models than those that are installed, and they are
                not to be computed anew.
            ModelUnavailable, ModelBroken, UnknownModel, ConfigurationError: no photo could be embedded.
            InsufficientStorage: the disk is full. What was written stays.
        """
        with self.library.writing():
            for root in self.roots:
                self.library.add_root(str(root))
            roots = [Path(root) for root in self.library.roots()]
            found = await asyncio.to_thread(
                differences,
                self.library,
                roots,
                retry_failed=self.options.retry_failed,
                prune=self.options.prune,
            )
            self.tally.unchanged, self.tally.known_failures = found.unchanged, found.known_failures
            self.tally.warnings += found.warnings
            for item_id, digest in found.gone.items():
                self._gone.setdefault(digest, []).append(item_id)
            async with AsyncExitStack() as stack:
                await self._look(found, stack)
            await asyncio.to_thread(self._forget, found)
        return self.tally

    async def add(self, paths: Sequence[Path]) -> IndexTally:
        """Add these files and leave all others as they are. Raises as :meth:`run`."""
        with self.library.writing():
            found = Differences()
            for path in paths:
                status = path.stat()
                found.changed.append(File(str(path), status.st_size, status.st_mtime_ns))
            async with AsyncExitStack() as stack:
                await self._look(found, stack, only_changed=True)
        return self.tally

    async def _look(self, found: Differences, stack: AsyncExitStack, *, only_changed: bool = False) -> None:
        models = await self._models(stack, is_needed=bool(found.changed) or self.options.reembed)
        self.tally.warnings += [model.warning for model in models if model.warning]
        work = [each for each in self._work(found, models) if each.item is None or not only_changed]
        self.watcher.begin(len(work))
        waiting = iter(work)

        async def look() -> None:
            for each in waiting:
                await self._one(each)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(work), self._at_once(models))):
                    group.create_task(look())
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            raise first from first.__cause__
        finally:
            await asyncio.shield(asyncio.to_thread(self._write))
        for model in models:
            await asyncio.to_thread(self._finish, model)

    # -- models ----------------------------------------------------------------------------------------------

    async def _models(self, stack: AsyncExitStack, *, is_needed: bool) -> list[VectorModel]:
        """The models whose vectors are wanted, loaded; none if no photo has to be opened."""
        serving = self.library.serving()
        spaces = dict.fromkeys([*(model.space for model in serving), *self.spaces])
        fresh = set(spaces) - {model.space for model in serving}
        unfinished = [model for model in self.library.models() if self.library.lacking(model)]
        if not is_needed and not fresh and not unfinished:
            return serving
        return [await self._model(space, stack) for space in spaces]

    async def _model(self, space: str, stack: AsyncExitStack) -> VectorModel:
        engine = self.analyzer.engine
        name = engine.find(IMAGE_EMBEDDING, space)
        deadline = time.monotonic() + PICTURE_TIMEOUT_S
        resident = await stack.enter_async_context(engine.residency.using(name, deadline))
        ref = resident.ref
        before = [model for model in self.library.models() if model.space == space]
        known = next((model for model in before if model.fingerprint == ref.fingerprint), None)
        if known is not None:
            return known
        if before and not self.options.reembed:
            raise LibraryOutdated.by_fingerprints(
                self.library.name, name, before[0].fingerprint, ref.fingerprint
            )
        dimensions = await self._dimensions(name)
        return self.library.begin_model(name, space, ref.fingerprint, dimensions, ref.provenance.value)

    async def _dimensions(self, name: str) -> int:
        """How long the model's vectors are, by one of a grey picture."""
        grey = picture_from_pixels(np.full((64, 64, 3), 128, np.uint8), self.analyzer.limits, source="grey")
        context = Context.lasting(PICTURE_TIMEOUT_S, Priority.BULK)
        inference = await self.analyzer.engine.infer(name, View(grey), context)
        return len(inference.output)

    def _at_once(self, models: Sequence[VectorModel]) -> int:
        batches = [self.analyzer.models[model.name].card.max_batch for model in models]
        return (self.analyzer.settings.compute_slots + _BATCHES_AHEAD) * max(batches, default=1)

    def _finish(self, model: VectorModel) -> None:
        """Let new vectors serve once every photo has one."""
        current = next((each for each in self.library.models() if each.id == model.id), None)
        if current is None or current in self.library.serving():
            return
        lacking = self.library.lacking(current)
        if not lacking:
            self.library.serve(current)
            return
        self.tally.warnings.append(
            f"{len(lacking):,} photos have no vector of {current.name} yet, such as {lacking[0].path}; "
            "searches use the old vectors until the same command has completed them"
        )

    # -- photos ----------------------------------------------------------------------------------------------

    def _work(self, found: Differences, models: Sequence[VectorModel]) -> Iterator[_Work]:
        tasks = tuple(self.tasks)
        for file in found.changed:
            yield _Work(file, tuple(models), tasks)
        changed = {file.item_id for file in found.changed} | set(found.gone)
        lacking: dict[int, tuple[Item, list[VectorModel], list[BoundTask]]] = {}
        for model in models:
            for item in self.library.lacking(model):
                lacking.setdefault(item.id, (item, [], []))[1].append(model)
        for task in tasks:
            for item in self.library.unanswered(task.operation.name):
                lacking.setdefault(item.id, (item, [], []))[2].append(task)
        for item, some_models, some_tasks in lacking.values():
            if item.id not in changed and Path(item.path).exists():
                file = File(item.path, item.size, item.mtime_ns, item.id)
                yield _Work(file, tuple(some_models), tuple(some_tasks), item)

    async def _one(self, work: _Work) -> None:
        file = work.file
        try:
            fate = await self._looked_at(work)
        except HOPELESS:
            raise
        except SightlineError as error:
            self._fail(work, error.code, str(error), drop=isinstance(error, ImageError))
        except OSError as error:
            self._fail(work, "invalid_request", f"cannot be read: {error.strerror or error}", drop=False)
        except Exception as error:  # or one photo would end the run over all
            _log.exception("indexing %s", file.path)
            self._fail(work, "internal_error", f"internal error ({type(error).__name__})", drop=False)
        else:
            self._done(Indexed(file.path, fate))
        if len(self._items) >= _ITEMS_AT_ONCE or time.monotonic() - self._written_at > _SECONDS_AT_MOST:
            self._written_at = time.monotonic()
            await asyncio.to_thread(self._write)

    async def _looked_at(self, work: _Work) -> Fate:
        file, limits = work.file, self.analyzer.limits
        data = await asyncio.to_thread(read_image, file.path, limits.max_bytes)
        picture = await asyncio.to_thread(self.analyzer.open, data)
        if work.item is not None:
            vectors, answers, _ = await self._seen(picture, work)
            self._vectors[work.item.id] = vectors
            self._answers[work.item.id] = answers
            return Fate.COMPLETED
        digest = picture.facts.sha256
        if file.item_id is None and (moved := self._gone.get(digest)):
            await asyncio.to_thread(self.library.move, moved.pop(), file.path, file.size, file.mtime_ns)
            return Fate.MOVED
        vectors, answers, hashed = await self._seen(picture, work)
        capture, position = read_capture(data), read_position(data)
        place = await self._place(position)
        self._items.append(
            NewItem(
                path=file.path, size=file.size, mtime_ns=file.mtime_ns, sha256=digest, perceptual_hash=hashed,
                format=picture.facts.format, width=picture.width, height=picture.height,
                taken_at=capture.taken.isoformat() if capture.taken else None,
                latitude=position.latitude if position else None,
                longitude=position.longitude if position else None,
                place=place.label if place else None, country=place.country_code if place else None,
                camera=capture.camera, vectors=vectors, answers=answers,
            )
        )  # fmt: skip
        return Fate.ADDED if file.item_id is None else Fate.CHANGED

    async def _seen(self, picture: Picture, work: _Work) -> tuple[dict[int, Floats], list[StoredAnswer], int]:
        """Vectors by model, answers, and the perceptual hash."""
        while True:
            context = Context.lasting(PICTURE_TIMEOUT_S, Priority.BULK)
            try:
                async with Scene(self.analyzer.engine, context, picture) as scene:
                    view = View(picture)
                    hashed = await scene.work(perceptual_hash, view)
                    inferences = await asyncio.gather(
                        *(scene.infer(IMAGE_EMBEDDING, view, model.space) for model in work.models)
                    )
                break
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
        vectors = {model.id: each.output for model, each in zip(work.models, inferences, strict=True)}
        return vectors, await self._answered(picture, work.tasks), hashed

    async def _answered(self, picture: Picture, tasks: Sequence[BoundTask]) -> list[StoredAnswer]:
        if not tasks:
            return []
        context = Context.lasting(PICTURE_TIMEOUT_S, Priority.BULK)
        outcomes = await self.analyzer.analyze(picture, tasks, context)
        answers = []
        for outcome in outcomes:
            if isinstance(outcome.error, HOPELESS):
                raise outcome.error
            if outcome.status is Status.ERROR or outcome.answer is None or outcome.answer.data is None:
                if outcome.error is not None:
                    self._warn_once(f"{outcome.id}: {outcome.error}")
                continue
            data, operation = outcome.answer.data, outcome.operation
            result = data.model_dump(mode="json")
            answers.append(
                StoredAnswer(
                    operation.name,
                    result,
                    outcome.answer.model.fingerprint if outcome.answer.model else None,
                    fields_of(operation.fields(data), result),
                    operation.words(data) or "",
                )
            )
        return answers

    async def _place(self, position: Coordinate | None) -> Place | None:
        if position is None:
            return None
        context = Context.lasting(PICTURE_TIMEOUT_S, Priority.BULK)
        try:
            return (await self.analyzer.engine.infer_with(PLACES, position, context)).output
        except SightlineError as error:
            self._warn_once(f"places have no names: {error}")
            return None

    # -- ends ------------------------------------------------------------------------------------------------

    def _fail(self, work: _Work, code: str, reason: str, *, drop: bool) -> None:
        file = work.file
        if work.item is None and (drop or file.item_id is None):
            self._failures[file.path] = (file.size, file.mtime_ns, code, reason)
        self._done(Indexed(file.path, Fate.FAILED, reason))

    def _done(self, indexed: Indexed) -> None:
        self.tally.counts[indexed.fate] += 1
        self.watcher(indexed)

    def _warn_once(self, warning: str) -> None:
        if warning not in self.tally.warnings:
            self.tally.warnings.append(warning)

    def _write(self) -> None:
        """Write what is done. It is taken first: photos that are done meanwhile are written next time."""
        items, self._items = self._items, []
        vectors, self._vectors = self._vectors, {}
        answers, self._answers = self._answers, {}
        failures, self._failures = self._failures, {}
        if items:
            self.library.add(items)
        if vectors:
            self.library.add_vectors(vectors)
        if answers:
            self.library.add_answers(answers)
        if failures:
            self.library.note_failures(failures)

    def _forget(self, found: Differences) -> None:
        """Remove what is gone, and did not turn up elsewhere."""
        ids = [item_id for some in self._gone.values() for item_id in some]
        self.library.remove(ids)
        self.library.forget_failures(found.gone_failures)
        self.tally.deleted = len(ids)


def fields_of(given: Mapping[str, str | float] | None, result: Any) -> dict[str, str | float]:
    """Return what conditions can ask of an answer: what its operation says, else its plain values."""
    if given is not None:
        return dict(given)
    if not isinstance(result, Mapping):
        return {}
    return {
        name: float(value) if isinstance(value, bool | int | float) else value
        for name, value in result.items()
        if isinstance(value, str | int | float)
    }
