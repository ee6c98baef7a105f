"""Pictures with labels become examples: each embedded as ``classify`` will, or remembered from before."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sightline.capabilities import Capability
from sightline.capabilities.detection import FACE_BOXES, PERSON_BOXES
from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.collections import Space
from sightline.errors import (
    ConfigurationError,
    InvalidExamples,
    ModelBroken,
    ModelLoading,
    ModelUnavailable,
    Overloaded,
    SightlineError,
    UnknownModel,
)
from sightline.imaging import Picture
from sightline.jobs.collections.examples import Examples, examples
from sightline.jobs.collections.kept_vectors import KeptVectors, Key, Vector
from sightline.jobs.collections.plans import Plan
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.engine import Context
from sightline.runtime.scene import Scene
from sightline.types import FaceContext, ModelRef, Priority, Provenance, Target

_log = logging.getLogger(__name__)

# The next picture would fail for these as well.
HOPELESS = (ConfigurationError, ModelBroken, ModelLoading, ModelUnavailable, UnknownModel)
# A picture may wait for a model's download, and nobody waits for any single one.
PICTURE_TIMEOUT_S = 3600.0
# Besides those that are computed: a batch that waits, and one that is decoded.
BATCHES_AHEAD = 2
KEPT_AT_ONCE = 256

# Called with how many of how many pictures are done.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Supplied:
    """One picture to learn from. ``read`` opens it; None: only its digest is known, from an earlier training.

    ``name`` is for messages.
    """

    name: str
    inside: bool
    read: Callable[[], Awaitable[Picture]] | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture that nothing was learnt from, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """Examples and how they came about.

    Attributes:
        reused: pictures whose vectors were kept from before.
        images: digest of each example's file, in the examples' order.
        warnings: what a reader must know.
    """

    examples: Examples
    skipped: tuple[Skipped, ...] = ()
    reused: int = 0
    images: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sight:
    """What became of one picture: its digest and vector, or why there is none."""

    sha256: str = ""
    vector: Vector | None = None
    reused: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Makers:
    """The models of a plan, loaded, and per space a digest of all that has a say in a vector."""

    refs: tuple[ModelRef, ...]
    digests: tuple[str, ...]


@dataclass(slots=True)
class Embedding:
    """Embeds pictures by one plan, as bulk work. ``at_once``: pictures under way; None: enough that batches
    are full."""

    analyzer: Analyzer
    plan: Plan
    kept: KeptVectors
    at_once: int | None = None
    _new: dict[Key, Vector] = field(default_factory=dict)

    async def examples(
        self, supplied: Sequence[Supplied], progress: Progress = lambda done, total: None
    ) -> Embedded:
        """Embed all. Pictures that cannot be are listed and left out, as are copies of others.

        Raises:
            ModelUnavailable, ModelBroken, UnknownModel, ConfigurationError: none could be embedded.
            InvalidExamples: too few are left, or all of one class.
        """
        async with AsyncExitStack() as stack:
            makers = await self._loaded(stack)
            sights = await self._look(supplied, makers, progress)
        found, skipped = _sorted(supplied, sights)
        if not found:
            raise InvalidExamples(f"no picture could be used{_first_reasons(skipped)}")
        try:
            made = examples(
                [_vector(sights[number]) for number in found],
                [supplied[number].inside for number in found],
                [
                    Space(space, ref.fingerprint)
                    for space, ref in zip(self.plan.spaces, makers.refs, strict=True)
                ],
                target=self.plan.target,
                face_context=self.plan.face_context,
                names=[supplied[number].name for number in found],
            )
        except InvalidExamples as error:
            raise InvalidExamples(f"{error}{_first_reasons(skipped)}") from None
        return Embedded(
            made,
            tuple(skipped),
            sum(sights[number].reused for number in found),
            tuple(sights[number].sha256 for number in found),
            tuple(
                f"{ref.name} has random weights: its vectors mean nothing"
                for ref in makers.refs
                if ref.provenance is Provenance.RANDOM
            ),
        )

    # -- models --------------------------------------------------------------------------------------------

    async def _loaded(self, stack: AsyncExitStack) -> _Makers:
        """The models, held in memory until ``stack`` is left."""
        engine = self.analyzer.engine
        embedders = [engine.find(IMAGE_EMBEDDING, space) for space in self.plan.spaces]
        refs = [await self._ref(name, stack) for name in embedders]
        part = f"{self.plan.target}"
        for detector in self._detectors():
            try:
                ref = await self._ref(engine.find(detector), stack)
            except ModelUnavailable:
                if detector is FACE_BOXES or self.plan.target is Target.PROMINENT_PERSON:
                    raise
                part += "\0none"  # faces are looked for in the whole image then
            else:
                part += f"\0{ref.fingerprint}"
        if self.plan.target is Target.PROMINENT_FACE:
            part += f"\0{self.plan.face_context}"
        digests = tuple(
            hashlib.sha256(f"{space}\0{ref.fingerprint}\0{part}".encode()).hexdigest()
            for space, ref in zip(self.plan.spaces, refs, strict=True)
        )
        return _Makers(tuple(refs), digests)

    def _detectors(self) -> tuple[Capability[Any, Any], ...]:
        if self.plan.target is Target.WHOLE_IMAGE:
            return ()
        if self.plan.target is Target.PROMINENT_PERSON:
            return (PERSON_BOXES,)
        if self.plan.face_context is FaceContext.WHOLE_IMAGE:
            return (FACE_BOXES,)
        return (FACE_BOXES, PERSON_BOXES)

    async def _ref(self, model: str, stack: AsyncExitStack) -> ModelRef:
        deadline = time.monotonic() + PICTURE_TIMEOUT_S
        resident = await stack.enter_async_context(self.analyzer.engine.residency.using(model, deadline))
        return resident.ref

    # -- pictures ------------------------------------------------------------------------------------------

    async def _look(self, supplied: Sequence[Supplied], makers: _Makers, progress: Progress) -> list[_Sight]:
        sights = [_Sight() for _ in supplied]
        waiting = iter(range(len(supplied)))
        done = 0

        async def work() -> None:
            nonlocal done
            for number in waiting:
                await self._see(supplied[number], sights[number], makers)
                done += 1
                progress(done, len(supplied))
                if len(self._new) >= KEPT_AT_ONCE:
                    await self._keep()

        progress(0, len(supplied))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(supplied), self.at_once or self._full_batches(makers))):
                    group.create_task(work())
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            raise first from first.__cause__
        finally:
            await asyncio.shield(self._keep())
        return sights

    def _full_batches(self, makers: _Makers) -> int:
        batches = [self.analyzer.models[ref.name].card.max_batch for ref in makers.refs]
        return (self.analyzer.settings.compute_slots + BATCHES_AHEAD) * max(batches)

    async def _keep(self) -> None:
        new, self._new = self._new, {}
        if new:
            await asyncio.to_thread(self.kept.keep, new)

    async def _see(self, supplied: Supplied, sight: _Sight, makers: _Makers) -> None:
        try:
            picture = await supplied.read() if supplied.read else None
            sight.sha256 = picture.facts.sha256 if picture else supplied.sha256
            keys = [(digest, sight.sha256) for digest in makers.digests]
            vectors = await asyncio.to_thread(self.kept.find, keys)
            sight.reused = len(vectors) == len(keys)
            if not sight.reused:
                if picture is None:
                    sight.reason = "no vectors of it are kept here for this embedding; send the picture"
                    return
                fresh = await self._embedded(picture, makers, [key not in vectors for key in keys])
                new = {key: fresh[number] for number, key in enumerate(keys) if number in fresh}
                self._new |= new
                vectors |= new
            sight.vector = np.concatenate([vectors[key] for key in keys])
        except HOPELESS:
            raise
        except SightlineError as error:
            sight.reason = str(error)
        except Exception as error:  # or one picture would end the training of all
            _log.exception("embedding %s", supplied.name)
            sight.reason = f"internal error ({type(error).__name__})"

    async def _embedded(
        self, picture: Picture, makers: _Makers, missing: Sequence[bool]
    ) -> dict[int, Vector]:
        """Vectors by number of the space, for those that are missing."""
        while True:
            context = Context.lasting(PICTURE_TIMEOUT_S, Priority.BULK)
            try:
                async with Scene(self.analyzer.engine, context, picture) as scene:
                    return await self._in_scene(scene, makers, missing)
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)

    async def _in_scene(self, scene: Scene, makers: _Makers, missing: Sequence[bool]) -> dict[int, Vector]:
        region = await scene.region(self.plan.target, self.plan.face_context)
        view = scene.view(region)
        numbers = [number for number, is_missing in enumerate(missing) if is_missing]
        inferences = await asyncio.gather(
            *(scene.infer(IMAGE_EMBEDDING, view, self.plan.spaces[number]) for number in numbers)
        )
        for number, inference in zip(numbers, inferences, strict=True):
            if inference.model.fingerprint != makers.refs[number].fingerprint:
                raise ModelBroken(f"{inference.model.name} was replaced while pictures were embedded")
        return {number: each.output for number, each in zip(numbers, inferences, strict=True)}


def _vector(sight: _Sight) -> Vector:
    assert sight.vector is not None
    return sight.vector


def _sorted(supplied: Sequence[Supplied], sights: Sequence[_Sight]) -> tuple[list[int], list[Skipped]]:
    """Numbers of the pictures to learn from, and the others.

    A copy on both sides of the held-out line would flatter the scores, and a picture that is both inside and
    outside teaches nothing.
    """
    contradictory = _contradictory(supplied, sights)
    first: dict[str, str] = {}
    found: list[int] = []
    skipped: list[Skipped] = []
    for number, (each, sight) in enumerate(zip(supplied, sights, strict=True)):
        if sight.vector is None:
            skipped.append(Skipped(each.name, sight.reason))
        elif sight.sha256 in contradictory:
            skipped.append(Skipped(each.name, "the same picture is inside and outside"))
        elif sight.sha256 in first:
            skipped.append(Skipped(each.name, f"the same picture as {first[sight.sha256]}"))
        else:
            first[sight.sha256] = each.name
            found.append(number)
    return found, skipped


def _contradictory(supplied: Sequence[Supplied], sights: Sequence[_Sight]) -> set[str]:
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for each, sight in zip(supplied, sights, strict=True):
        if sight.vector is not None:
            sides[each.inside].add(sight.sha256)
    return sides[True] & sides[False]


def _first_reasons(skipped: Sequence[Skipped]) -> str:
    return f"; {len(skipped)} were skipped: {'; '.join(_lines(skipped))}" if skipped else ""


def _lines(skipped: Sequence[Skipped], most: int = 3) -> Iterator[str]:
    for each in skipped[:most]:
        yield f"{each.name}: {each.reason}"
    if len(skipped) > most:
        yield "…"
