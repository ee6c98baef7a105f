"""One picture during one request: everything found in it is remembered and shared by the request's tasks."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from sightline.capabilities import Capability, OutputT, Subject, SubjectT
from sightline.capabilities.detection import FACE_BOXES, PERSON, PERSON_BOXES
from sightline.errors import InvalidRequest, ModelUnavailable, TargetNotFound
from sightline.imaging import Picture, View, encode_png
from sightline.operations import Inference
from sightline.runtime.engine import Context, Engine, until
from sightline.runtime.telemetry import Trace
from sightline.types import Box, Detection, FaceContext, PixelBox, Region, Target

ValueT = TypeVar("ValueT")
ParamT = ParamSpec("ParamT")

# Tasks for a list of subjects, such as the texts of labels: as many as a request may have in a usual lane.
_MANY_AT_ONCE = 32


class Scene:
    """Implements ``operations.Scene``. Use as an async context manager: leaving cancels what still runs.

    ``trace`` records the work behind the answers of one task. Tasks share findings: see :meth:`task`.
    """

    def __init__(
        self, engine: Engine, context: Context, picture: Picture | None, others: Sequence[Picture] = ()
    ) -> None:
        self._engine = engine
        self.context = context
        self._picture = picture
        self._others = tuple(others)
        self.trace = Trace()
        self._findings: dict[Hashable, tuple[asyncio.Future[Any], Trace]] = {}
        self._inferences: dict[tuple[str, Subject], asyncio.Future[Inference[Any]]] = {}

    async def __aenter__(self) -> Scene:
        return self

    async def __aexit__(self, *exception: object) -> None:
        tasks = [*(task for task, _ in self._findings.values()), *self._inferences.values()]
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        # The frames of an error hold the scene, and with it the pixels, until the garbage collector comes.
        for end in ends:
            if isinstance(end, BaseException):
                end.__traceback__ = None
        self._findings.clear()
        self._inferences.clear()
        for picture in (self._picture, *self._others):
            if picture is not None:
                self._engine.pixels.leave(picture)

    def task(self) -> Scene:
        """Return this scene for one more task: findings are shared, its trace is its own."""
        own = copy.copy(self)
        own.trace = Trace()
        return own

    @property
    def picture(self) -> Picture:
        if self._picture is None:
            raise InvalidRequest("this operation needs an image and the request has none")
        return self._picture

    @property
    def is_filled(self) -> bool:
        """Whether there is a picture and a part of it was missing from its file."""
        return self._picture is not None and self._picture.is_filled

    def view(self, region: Region) -> View:
        return View(self.picture, region.box)

    @property
    def others(self) -> tuple[View, ...]:
        """See ``operations.Scene.others``."""
        return tuple(View(picture, None) for picture in self._others)

    # -- what is in it -------------------------------------------------------------------------------------

    async def person(self) -> Detection | None:
        """See ``operations.Scene.person``. Its box is cut to whole pixels and to the picture."""
        return await self._once("person", Scene._find_person)

    async def faces(self, context: FaceContext) -> list[Detection]:
        return await self._once(("faces", context), lambda scene: scene._find_faces(context))

    async def face(self, context: FaceContext) -> Detection | None:
        return next(iter(await self.faces(context)), None)

    async def region(self, target: Target, context: FaceContext) -> Region:
        if target is Target.PROMINENT_FACE:
            face = await self.face(context)
            if face is None:
                raise TargetNotFound("no prominent face found")
            return Region(target, face.box.truncated())
        if target is Target.PROMINENT_PERSON and (person := await self.person()):
            return Region(target, person.box.truncated())
        return Region(Target.WHOLE_IMAGE)

    async def infer(
        self, capability: Capability[SubjectT, OutputT], subject: SubjectT, space: str | None = None
    ) -> Inference[OutputT]:
        return await self._infer(self._engine.find(capability, space), subject)

    async def _infer(self, model: str, subject: Subject) -> Inference[Any]:
        answer = self._known(model, subject)
        if answer is None:
            key = (model, subject)
            task = self._inferences.get(key)
            if task is None:
                task = asyncio.create_task(self._engine.infer(model, subject, self.context))
                self._inferences[key] = task
            answer = await asyncio.shield(task)
            self.trace.note(answer)
        return answer

    async def infer_all(
        self,
        capability: Capability[SubjectT, OutputT],
        subjects: Sequence[SubjectT],
        space: str | None = None,
    ) -> list[Inference[OutputT]]:
        """See ``operations.Scene.infer_all``."""
        model = self._engine.find(capability, space)
        answers = {subject: self._known(model, subject) for subject in subjects}
        remaining = iter([subject for subject, answer in answers.items() if answer is None])

        async def work() -> None:
            for subject in remaining:
                answers[subject] = await self._infer(model, subject)

        unknown = sum(answer is None for answer in answers.values())
        await asyncio.gather(*(work() for _ in range(min(unknown, _MANY_AT_ONCE))))
        return [cast("Inference[OutputT]", answers[subject]) for subject in subjects]

    def known(
        self, capability: Capability[SubjectT, OutputT], subject: SubjectT, space: str | None = None
    ) -> Inference[OutputT] | None:
        """See ``operations.Scene.known``."""
        return self._known(self._engine.find(capability, space), subject)

    def _known(self, model: str, subject: Subject) -> Inference[Any] | None:
        key = (model, subject)
        found = self._inferences.get(key)
        if found is None:
            answer = self._engine.at_once(model, subject)
            if answer is None:
                return None
            self._inferences[key] = asyncio.get_running_loop().create_future()
            self._inferences[key].set_result(answer)
        elif found.done() and not found.cancelled() and found.exception() is None:
            answer = found.result()
        else:
            return None
        self.trace.note(answer)
        return answer

    async def work(
        self, function: Callable[ParamT, ValueT], *args: ParamT.args, **kwargs: ParamT.kwargs
    ) -> ValueT:
        """Run ``function`` on a worker thread. The result is not remembered."""
        pictures = [each.picture for each in (*args, *kwargs.values()) if isinstance(each, View)]
        call = partial(function, *args, **kwargs)
        async with until(self.context):
            value: ValueT = await self._engine.decode(pictures, self.context, call)
        return value

    async def crop_png(self, region: Region) -> bytes:
        """The region's pixels as a PNG file."""
        view = self.view(region)
        return await self._once(
            ("png", region.box),
            lambda scene: scene._engine.decode(
                (view.picture,), scene.context, lambda: encode_png(view.pixels())
            ),
        )

    async def _find_person(self) -> Detection | None:
        found = (await self.infer(PERSON_BOXES, View(self.picture, None))).output
        persons = (thing for thing in found if thing.label == PERSON)
        best = max(persons, key=lambda person: person.score, default=None)
        if best is None:
            return None
        box = _clamped(best.box.truncated(), self.picture.width, self.picture.height)
        return Detection(box, best.score, best.label, best.landmarks) if box else None

    async def _find_faces(self, context: FaceContext) -> list[Detection]:
        within = await self._where_to_look(context)
        found = (await self.infer(FACE_BOXES, View(self.picture, within))).output
        if within is not None:
            found = [_moved(face, within.x_min, within.y_min) for face in found]
        return sorted(found, key=lambda face: face.score, reverse=True)

    async def _where_to_look(self, context: FaceContext) -> PixelBox | None:
        if context is FaceContext.WHOLE_IMAGE:
            return None
        if self._engine.directory.has(PERSON_BOXES):
            try:
                person = await self.person()
            except ModelUnavailable:
                reason = "the person detector's weights are missing"
            else:
                return person.box.truncated() if person else None
        else:
            reason = "no person detector is installed"
        self.trace.warnings.append(f"{reason}, so the face was looked for in the whole image")
        return None

    # -- remembering ---------------------------------------------------------------------------------------

    async def _once(self, key: Hashable, find: Callable[[Scene], Coroutine[Any, Any, ValueT]]) -> ValueT:
        """Return the value under ``key``, found by the first caller; the others wait for the same finding.

        A cancelled caller leaves the finding to the others.
        """
        found = self._findings.get(key)
        if found is None:
            own = self.task()
            found = self._findings[key] = asyncio.create_task(find(own)), own.trace
        task, trace = found
        value = await asyncio.shield(task)
        self.trace.add(trace)
        return cast("ValueT", value)


def _moved(found: Detection, dx: float, dy: float) -> Detection:
    landmarks = tuple((x + dx, y + dy) for x, y in found.landmarks)
    return Detection(found.box.shifted(dx, dy), found.score, found.label, landmarks)


def _clamped(box: PixelBox, width: int, height: int) -> Box | None:
    """The part of ``box`` inside the picture; None if there is none."""
    x_min, y_min = max(0, box.x_min), max(0, box.y_min)
    x_max, y_max = min(width, box.x_max), min(height, box.y_max)
    return Box(x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None
