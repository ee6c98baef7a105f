from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.capabilities import Capability
from sightline.capabilities.detection import FACE_BOXES, PERSON_BOXES
from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ModelUnavailable,
    TargetNotFound,
)
from sightline.imaging import Picture, View
from sightline.models import Runs
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.engine import Context
from sightline.runtime.scene import Scene
from sightline.types import Box, Detection, FaceContext, PixelBox, Region, Target
from sightline.weights.sources import Artifact

WAIT_S = 10.0
LENGTH: Capability[str, int] = Capability("length")
PERSON = Detection(Box(10.9, 5.2, 40.7, 44.9), 0.9, "person")
FACE = Detection(Box(-0.5, 3.7, 12.6, 20.2), 0.8, "face", ((1.0, 2.0),))

Enter = Callable[..., Scene]


def found(*detections: Detection) -> Callable[[View], list[Detection]]:
    return lambda view: list(detections)


@pytest.fixture
def detectors(define: Any, finder: Any) -> Callable[..., Any]:
    """A person detector and a face detector that find what they are told to."""

    def make(persons: list[Detection], faces: Callable[[View], list[Detection]]) -> Any:
        person, face = finder(found(*persons)), finder(faces)
        definitions = (
            define("persons", person, PERSON_BOXES),
            define("faces", face, FACE_BOXES),
        )
        return person, face, definitions

    return make


def a_scene(analyzer: Analyzer, picture: Picture | None, seconds: float = WAIT_S) -> Scene:
    return Scene(analyzer.engine, Context.lasting(seconds), picture)


# -- remembering -------------------------------------------------------------------------------------------


async def test_whoever_needs_the_same_box_waits_for_one_detection(
    start: Any, detectors: Any, photo: Picture
) -> None:
    person, face, definitions = detectors([PERSON], found(FACE))
    async with a_scene(start(*definitions), photo) as scene:
        boxes = await asyncio.gather(*(scene.face(FaceContext.PROMINENT_PERSON) for _ in range(10)))
        await scene.person()
        await scene.region(Target.PROMINENT_PERSON, FaceContext.WHOLE_IMAGE)
    assert len(person.seen) == len(face.seen) == 1
    assert all(box is boxes[0] for box in boxes)


async def test_faces_of_the_two_contexts_are_kept_apart(start: Any, detectors: Any, photo: Picture) -> None:
    elsewhere = Detection(Box(50, 1, 60, 9), 0.99, "face")
    person, face, definitions = detectors([PERSON], lambda view: [FACE] if view.box else [elsewhere])
    async with a_scene(start(*definitions), photo) as scene:
        inside, anywhere = await asyncio.gather(
            scene.face(FaceContext.PROMINENT_PERSON), scene.face(FaceContext.WHOLE_IMAGE)
        )
    assert anywhere == elsewhere
    assert inside.box == Box(9.5, 8.7, 22.6, 25.2)
    assert sorted(face.seen, key=str) == [None, [10, 5, 40, 44]]
    assert len(person.seen) == 1


async def test_an_embedding_is_computed_once_per_region(
    start: Any, define: Any, mean_colour: Any, photo: Picture
) -> None:
    analyzer = start(define("colour", mean_colour, IMAGE_EMBEDDING))
    async with a_scene(analyzer, photo) as scene:
        whole = [View(photo) for _ in range(3)]
        part = View(photo, PixelBox(0, 0, 8, 8))
        await asyncio.gather(*(scene.infer(IMAGE_EMBEDDING, view) for view in (*whole, part, part)))
    assert mean_colour.count == 2


async def test_what_answers_at_once_is_remembered_too(start: Any, define: Any, photo: Picture) -> None:
    class Counting:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def prepare(self, subject: str) -> str:
            return subject

        def infer(self, items: Any) -> list[int]:
            if "!" in items[0]:
                raise TargetNotFound("loud")
            self.asked.extend(items)
            return [len(self.asked)]

    model = Counting()
    definition = define("quick", model, LENGTH)
    definition = replace(definition, card=replace(definition.card, runs=Runs.IN_LOOP))
    analyzer = start(definition)
    for expected in (
        ["a", "b"],
        ["a", "b", "a", "b"],
    ):  # loaded by the first scene, loaded already in the second
        async with a_scene(analyzer, photo) as scene:
            answers = [await scene.infer(LENGTH, subject) for subject in ("a", "b", "a", "b")]
            assert answers[0] is answers[2]
            assert answers[1].output == answers[3].output
            assert model.asked == expected
            with pytest.raises(TargetNotFound, match="loud"):
                await scene.infer(LENGTH, "!")
    assert answers[0].model == analyzer.engine.ref("quick")


async def test_a_caller_that_goes_away_leaves_the_finding_to_the_others(
    start: Any, detectors: Any, photo: Picture
) -> None:
    person, _, definitions = detectors([PERSON], found())
    person.gate.clear()
    async with a_scene(start(*definitions), photo) as scene:
        first, second = (asyncio.create_task(scene.person()) for _ in range(2))
        assert await asyncio.to_thread(person.entered.acquire, timeout=WAIT_S)
        first.cancel()
        await asyncio.sleep(0)
        person.gate.set()
        assert (await second).score == 0.9
    assert first.cancelled()
    assert len(person.seen) == 1


async def test_leaving_the_scene_ends_what_still_runs(start: Any, detectors: Any, photo: Picture) -> None:
    person, _, definitions = detectors([PERSON], found())
    person.gate.clear()
    analyzer = start(*definitions)
    async with a_scene(analyzer, photo) as scene:
        asking = asyncio.create_task(scene.person())
        assert await asyncio.to_thread(person.entered.acquire, timeout=WAIT_S)
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert analyzer.engine.loads()["persons"].items == 0
    person.gate.set()


async def test_a_failed_finding_fails_for_all_and_is_not_tried_again(
    start: Any, define: Any, held_model: Any, photo: Picture
) -> None:
    held_model.poison[7] = ValueError("seven")
    held_model.prepare = lambda subject: 7
    async with a_scene(start(define("odd", held_model, LENGTH)), photo) as scene:
        for _ in range(2):
            with pytest.raises(InferenceFailed):
                await scene.infer(LENGTH, "text")
    assert held_model.batches == [[7]]


# -- without a model ---------------------------------------------------------------------------------------


async def test_a_function_looks_at_pixels_on_a_worker_thread(start: Any, photo: Picture) -> None:
    def look(view: View, *, scale: int) -> tuple[str, float]:
        return threading.current_thread().name, float(view.pixels().mean()) * scale

    analyzer = start()
    async with a_scene(analyzer, photo) as scene:
        thread, mean = await scene.work(look, View(photo), scale=2)
        assert analyzer.engine.pixels.num_bytes > 0, "the picture counts against the memory limit"
    assert thread.startswith("worker")
    assert mean == pytest.approx(2 * float(photo.rgb().mean()))


async def test_a_function_that_takes_too_long_ends_with_the_request(start: Any, photo: Picture) -> None:
    leave = threading.Event()
    async with a_scene(start(), photo, seconds=0.05) as scene:
        with pytest.raises(DeadlineExceeded):
            await scene.work(leave.wait, WAIT_S)
        leave.set()


async def test_a_function_fails_with_its_own_error(start: Any, photo: Picture) -> None:
    async with a_scene(start(), photo) as scene:
        with pytest.raises(ZeroDivisionError):
            await scene.work(divmod, 1, 0)


# -- where things are --------------------------------------------------------------------------------------


async def test_the_surest_person_counts_and_is_cut_to_the_picture(
    start: Any, detectors: Any, photo: Picture
) -> None:
    unsure = Detection(Box(0, 0, 5, 5), 0.3, "person")
    sure = Detection(Box(-3.9, 2.9, 99.0, 40.0), 0.8, "person")
    _, _, definitions = detectors([unsure, sure], found())
    async with a_scene(start(*definitions), photo) as scene:
        region = await scene.region(Target.PROMINENT_PERSON, FaceContext.WHOLE_IMAGE)
    assert region == Region(Target.PROMINENT_PERSON, PixelBox(0, 2, 64, 40))


@pytest.mark.parametrize("persons", [[], [Detection(Box(70, 0, 80, 9), 0.9, "person")]])
async def test_without_a_person_the_whole_image_is_meant(
    start: Any, detectors: Any, photo: Picture, persons: list[Detection]
) -> None:
    _, face, definitions = detectors(persons, found(FACE))
    async with a_scene(start(*definitions), photo) as scene:
        assert await scene.person() is None
        assert await scene.region(Target.PROMINENT_PERSON, FaceContext.WHOLE_IMAGE) == Region(
            Target.WHOLE_IMAGE
        )
        assert await scene.face(FaceContext.PROMINENT_PERSON) == FACE
    assert face.seen == [None]


async def test_a_face_in_a_persons_box_is_moved_and_then_truncated(
    start: Any, detectors: Any, photo: Picture
) -> None:
    """int(coordinate + offset): a corner at -0.5 in a crop that begins at 10 lies at 9."""
    _, face, definitions = detectors([PERSON], found(FACE))
    async with a_scene(start(*definitions), photo) as scene:
        detection = await scene.face(FaceContext.PROMINENT_PERSON)
        region = await scene.region(Target.PROMINENT_FACE, FaceContext.PROMINENT_PERSON)
    assert face.seen == [[10, 5, 40, 44]]
    assert region == Region(Target.PROMINENT_FACE, PixelBox(9, 8, 22, 25))
    assert detection is not None
    assert detection.landmarks == ((11.0, 7.0),)


async def test_all_faces_are_moved_and_the_surest_is_first(
    start: Any, detectors: Any, photo: Picture
) -> None:
    """Faces and the prominent face are one detection."""
    sure = Detection(Box(1, 2, 3, 4), 0.95, "face", ((2.0, 3.0),))
    _, face, definitions = detectors([PERSON], found(FACE, sure))
    async with a_scene(start(*definitions), photo) as scene:
        faces, one = await asyncio.gather(
            scene.faces(FaceContext.PROMINENT_PERSON), scene.face(FaceContext.PROMINENT_PERSON)
        )
    assert [each.box for each in faces] == [Box(11, 7, 13, 9), Box(9.5, 8.7, 22.6, 25.2)]
    assert faces[0].landmarks == ((12.0, 8.0),)
    assert one is faces[0]
    assert len(face.seen) == 1


async def test_without_faces_the_list_is_empty(start: Any, detectors: Any, photo: Picture) -> None:
    _, _, definitions = detectors([], found())
    async with a_scene(start(*definitions), photo) as scene:
        assert await scene.faces(FaceContext.WHOLE_IMAGE) == []
        assert await scene.face(FaceContext.WHOLE_IMAGE) is None


async def test_without_a_face_there_is_nothing_to_work_on(start: Any, detectors: Any, photo: Picture) -> None:
    _, _, definitions = detectors([PERSON], found())
    async with a_scene(start(*definitions), photo) as scene:
        with pytest.raises(TargetNotFound, match="no prominent face"):
            await scene.region(Target.PROMINENT_FACE, FaceContext.WHOLE_IMAGE)


async def test_without_a_person_detector_the_answer_says_where_it_looked(
    start: Any, define: Any, finder: Any, photo: Picture
) -> None:
    analyzer = start(define("faces", finder(found(FACE)), FACE_BOXES))
    async with a_scene(analyzer, photo) as scene:
        trace = scene.trace
        assert await scene.face(FaceContext.PROMINENT_PERSON) == FACE
    assert trace.warnings == [
        "no person detector is installed, so the face was looked for in the whole image"
    ]


async def test_other_things_than_persons_do_not_count(start: Any, detectors: Any, photo: Picture) -> None:
    """One detector may find persons and much else; a horse that it is surer of is no person."""
    horse = Detection(Box(0, 0, 64, 48), 0.99, "horse")
    _, face, definitions = detectors([horse, PERSON], found(FACE))
    async with a_scene(start(*definitions), photo) as scene:
        person = await scene.person()
        await scene.face(FaceContext.PROMINENT_PERSON)
    assert person == Detection(Box(10, 5, 40, 44), 0.9, "person")
    assert face.seen == [[10, 5, 40, 44]]


async def test_without_the_person_detectors_weights_a_face_is_found_all_the_same(
    start: Any, define: Any, finder: Any, photo: Picture
) -> None:
    missing = (Artifact("boxes.onnx", ()),)
    persons = define("persons", finder(found(PERSON)), PERSON_BOXES, files=missing)
    analyzer = start(persons, define("faces", finder(found(FACE)), FACE_BOXES))
    async with a_scene(analyzer, photo) as scene:
        trace = scene.trace
        assert await scene.face(FaceContext.PROMINENT_PERSON) == FACE
        with pytest.raises(ModelUnavailable, match="persons"):
            await scene.region(Target.PROMINENT_PERSON, FaceContext.PROMINENT_PERSON)
    assert trace.warnings == [
        "the person detector's weights are missing, so the face was looked for in the whole image"
    ]


async def test_a_person_detector_that_fails_is_no_missing_one(
    start: Any, define: Any, finder: Any, photo: Picture
) -> None:
    def fail(view: View) -> list[Detection]:
        raise ValueError("broken")

    analyzer = start(
        define("persons", finder(fail), PERSON_BOXES),
        define("faces", finder(found(FACE)), FACE_BOXES),
    )
    async with a_scene(analyzer, photo) as scene:
        with pytest.raises(InferenceFailed):
            await scene.face(FaceContext.PROMINENT_PERSON)


async def test_a_scene_without_a_picture_says_so(start: Any) -> None:
    async with a_scene(start(), None) as scene:
        with pytest.raises(InvalidRequest, match="needs an image"):
            _ = scene.picture
        with pytest.raises(InvalidRequest, match="needs an image"):
            scene.view(Region(Target.WHOLE_IMAGE))


# -- crops and times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [PixelBox(3, 4, 30, 40), PixelBox(-5, -6, 20, 10), PixelBox(50, 40, 90, 60)])
async def test_a_crop_is_what_pil_crops(start: Any, photo: Picture, box: PixelBox) -> None:
    async with a_scene(start(), photo) as scene:
        png = await scene.crop_png(Region(Target.PROMINENT_FACE, box))
    expected = Image.fromarray(photo.rgb()).crop(tuple(box.as_list()))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(expected))


async def test_a_shared_step_is_in_the_trace_once(start: Any, detectors: Any, photo: Picture) -> None:
    _, _, definitions = detectors([PERSON], found(FACE))
    async with a_scene(start(*definitions), photo) as scene:
        trace = scene.trace
        await scene.person()
        once = trace.infer_ms
        await scene.person()
        await scene.region(Target.PROMINENT_PERSON, FaceContext.WHOLE_IMAGE)
        assert trace.infer_ms == once > 0
        await scene.face(FaceContext.PROMINENT_PERSON)
        both = len(trace.steps)
        await scene.face(FaceContext.PROMINENT_PERSON)
        assert len(trace.steps) == both
