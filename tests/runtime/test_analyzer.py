from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.capabilities.detection import FACE_BOXES, PERSON_BOXES
from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ImageTooLarge,
    InvalidParameters,
    InvalidRequest,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
    UnknownOperation,
    UnsupportedImage,
)
from sightline.imaging import Picture, encode_png
from sightline.operations import Answer, Operation, Params, Result, TimingGroup
from sightline.runtime import analyzer as analyzer_module
from sightline.runtime.analyzer import Analyzer, Outcome, Status, Task
from sightline.runtime.engine import Context
from sightline.types import Box, Detection, PixelBox, Region, Target

WAIT_S = 10.0
SPACE = "clip-vit-b-32"
PERSON = Detection(Box(10.9, 5.2, 40.7, 44.9), 0.9, "person")
FACE = Detection(Box(2.5, 3.7, 12.6, 20.2), 0.8, "face", ((1.0, 2.0),) * 5)


class Nothing(Params):
    pass


class Said(Result):
    text: str = "done"


class Doing(Operation[Nothing, Said]):
    """An operation that does whatever it is made with."""

    description = "For tests."
    needs = ()
    Params = Nothing
    Result = Said
    example: dict[str, Any] = {}
    needs_picture = False
    timing_group = TimingGroup.DESCRIPTION

    def __init__(self, name: str, do: Callable[[Any], Any]) -> None:
        self.name = name
        self._do = do

    async def run(self, scene: Any, params: Nothing, models: Any) -> Answer[Said]:
        await self._do(scene)
        return Answer(Said())


@pytest.fixture
def models(define: Any, finder: Any, mean_colour: Any, counting: Any) -> dict[str, Any]:
    """A person and a face detector, an image and a text embedder of one space."""
    persons, faces = finder(lambda view: [PERSON]), finder(lambda view: [FACE])
    return {
        "persons": persons,
        "faces": faces,
        "definitions": (
            define("persons", persons, PERSON_BOXES),
            define("faces", faces, FACE_BOXES),
            define("colour", mean_colour, IMAGE_EMBEDDING, space=SPACE),
            define("words", counting, TEXT_EMBEDDING, space=SPACE),
        ),
    }


async def ask(
    analyzer: Analyzer,
    picture: Picture | None,
    *tasks: Task,
    crops: bool | set[str] = False,
    seconds: float = WAIT_S,
) -> list[Outcome]:
    bound = [analyzer.bind(task) for task in tasks]
    return await analyzer.analyze(picture, bound, Context.lasting(seconds), crops=crops)


# -- answering ---------------------------------------------------------------------------------------------


async def test_tasks_share_what_they_find_and_answers_come_in_their_order(
    start: Any, models: Any, mean_colour: Any, photo: Picture
) -> None:
    analyzer = start(*models["definitions"])
    outcomes = await ask(
        analyzer,
        photo,
        Task("c", "embed_clip_vit_b_32", {"target": "prominent_face"}),
        Task("b", "detect_bounding_box", {"target": "prominent_face"}),
        Task("a", "detect_bounding_box", {"target": "prominent_person"}),
        Task("d", "embed_clip_vit_b_32", {"target": "prominent_face", "normalize": True}),
    )
    assert [outcome.id for outcome in outcomes] == ["c", "b", "a", "d"]
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert len(models["persons"].seen) == len(models["faces"].seen) == mean_colour.count == 1
    assert outcomes[1].answer.data.box == [12, 8, 22, 25]  # type: ignore[union-attr]
    assert outcomes[2].answer.data.box == [10, 5, 40, 44]  # type: ignore[union-attr]


async def test_an_embedding_is_of_the_pixels_of_its_region(start: Any, models: Any, photo: Picture) -> None:
    (outcome,) = await ask(
        start(*models["definitions"]), photo, Task("e", "embed_clip", {"target": "prominent_face"})
    )
    box = PixelBox(12, 8, 22, 25)
    assert outcome.answer is not None
    assert outcome.answer.region == Region(Target.PROMINENT_FACE, box)
    expected = photo.rgb()[8:25, 12:22].astype(np.float32).mean((0, 1))
    np.testing.assert_allclose(outcome.answer.data.vector, expected, rtol=1e-6)
    assert outcome.answer.model is not None
    assert outcome.answer.model.name == "colour"


async def test_times_say_what_an_answer_took(start: Any, models: Any, photo: Picture) -> None:
    outcomes = await ask(
        start(*models["definitions"]),
        photo,
        Task("face", "detect_bounding_box", {"target": "prominent_face"}),
        Task("person", "detect_bounding_box"),
    )
    face, person = (outcome.trace for outcome in outcomes)
    assert all(outcome.total_ms > 0 for outcome in outcomes)
    assert person.infer_ms > 0
    assert face.steps > person.steps  # the face was found within the person
    assert face.infer_ms > person.infer_ms


async def test_crops_are_what_pil_cuts(start: Any, models: Any, photo: Picture) -> None:
    part, whole, box = await ask(
        start(*models["definitions"]),
        photo,
        Task("part", "embed_clip", {"target": "prominent_person"}),
        Task("whole", "embed_clip", {"target": "whole_image"}),
        Task("box", "detect_bounding_box", {}),
        crops=True,
    )
    expected = Image.fromarray(photo.rgb()).crop((10, 5, 40, 44))
    assert part.crop_png is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(part.crop_png))), np.asarray(expected))
    assert whole.crop_png is None
    assert box.crop_png is None


async def test_crops_are_made_only_when_asked_for(start: Any, models: Any, photo: Picture) -> None:
    (outcome,) = await ask(
        start(*models["definitions"]), photo, Task("x", "embed_clip", {"target": "prominent_person"})
    )
    assert outcome.crop_png is None


async def test_crops_can_be_asked_for_some_tasks_only(start: Any, models: Any, photo: Picture) -> None:
    with_crop, without = await ask(
        start(*models["definitions"]),
        photo,
        Task("with", "embed_clip", {"target": "prominent_person"}),
        Task("without", "embed_clip", {"target": "prominent_person"}),
        crops={"with"},
    )
    assert with_crop.crop_png is not None
    assert without.crop_png is None


async def test_base64_and_numbers_are_the_same_vector(start: Any, models: Any, photo: Picture) -> None:
    numbers, text = await ask(
        start(*models["definitions"]),
        photo,
        Task("n", "embed_clip"),
        Task("t", "embed_clip", {"encoding": "base64"}),
    )
    assert numbers.answer is not None
    assert text.answer is not None
    decoded = np.frombuffer(base64.b64decode(text.answer.data.vector), "<f4")
    np.testing.assert_array_equal(decoded, np.array(numbers.answer.data.vector, np.float32))
    assert text.answer.data.dimensions == 3


async def test_a_text_needs_no_picture(start: Any, models: Any) -> None:
    (outcome,) = await ask(
        start(*models["definitions"]), None, Task("t", "embed_text", {"text": "two words"})
    )
    assert outcome.status is Status.OK
    assert outcome.answer is not None
    assert outcome.answer.data.vector == [9.0, 2.0]


async def test_no_tasks_is_no_work(start: Any, photo: Picture) -> None:
    assert await start().analyze(photo, []) == []


# -- failing alone -----------------------------------------------------------------------------------------


async def test_a_failing_task_fails_alone(start: Any, models: Any, photo: Picture, recorder: Any) -> None:
    async def crash(scene: Any) -> None:
        raise RuntimeError("/secret/path")

    async def explain(scene: Any) -> None:
        raise ModelUnavailable("the reason")

    analyzer = start(*models["definitions"], extra=[Doing("crash", crash), Doing("explain", explain)])
    outcomes = await ask(
        analyzer, photo, Task("1", "crash"), Task("2", "detect_bounding_box"), Task("3", "explain")
    )
    crashed, fine, explained = outcomes
    assert [outcome.status for outcome in outcomes] == [Status.ERROR, Status.OK, Status.ERROR]
    assert crashed.error is not None
    assert crashed.error.code == "internal_error"
    assert "secret" not in str(crashed.error)
    assert isinstance(explained.error, ModelUnavailable)
    assert crashed.answer is None
    assert fine.error is None
    assert sorted(recorder.tasks) == [("crash", "error"), ("detect_bounding_box", "ok"), ("explain", "error")]


async def test_without_a_face_a_task_is_skipped_and_a_detection_is_empty(
    start: Any, define: Any, finder: Any, mean_colour: Any, photo: Picture
) -> None:
    analyzer = start(
        define("faces", finder(lambda view: []), FACE_BOXES),
        define("colour", mean_colour, IMAGE_EMBEDDING, space=SPACE),
    )
    target = {"target": "prominent_face", "face_context": "whole_image"}
    skipped, empty = await ask(
        analyzer, photo, Task("s", "embed_clip", target), Task("e", "detect_bounding_box", target)
    )
    assert skipped.status is Status.SKIPPED
    assert "no prominent face" in str(skipped.error)
    assert empty.status is Status.OK
    assert empty.answer is not None
    assert empty.answer.data is None
    assert empty.answer.model is not None


async def test_a_picture_is_asked_for_where_it_is_needed(start: Any, models: Any) -> None:
    analyzer = start(*models["definitions"])
    missing, text = await ask(
        analyzer, None, Task("p", "detect_bounding_box"), Task("t", "embed_text", {"text": "x"})
    )
    assert isinstance(missing.error, InvalidRequest)
    assert text.status is Status.OK


async def test_a_model_nobody_has_is_an_honest_error(start: Any, models: Any, photo: Picture) -> None:
    analyzer = start(*models["definitions"])
    (outcome,) = await ask(analyzer, photo, Task("m", "embed_clip", {"model": "clip-vit-z"}))
    assert isinstance(outcome.error, UnknownModel)
    (outcome,) = await ask(start(), photo, Task("m", "detect_bounding_box"))
    assert isinstance(outcome.error, ModelUnavailable)


async def test_pixels_that_do_not_decode_fail_their_tasks(start: Any, models: Any, photo: Picture) -> None:
    analyzer = start(*models["definitions"])
    noise = np.random.default_rng(1).integers(0, 256, (50, 50, 3), np.uint8)
    broken = analyzer.open(encode_png(noise)[:2000])
    (outcome,) = await ask(analyzer, broken, Task("b", "detect_bounding_box"))
    assert outcome.status is Status.ERROR
    assert outcome.error is not None
    assert outcome.error.code == "invalid_image"
    (outcome,) = await ask(analyzer, photo, Task("b", "detect_bounding_box"))
    assert outcome.status is Status.OK


async def test_an_operation_that_overlooks_the_deadline_is_ended(
    start: Any, photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyzer_module, "DEADLINE_GRACE_S", 0.0)
    analyzer = start(extra=[Doing("sleep", lambda scene: asyncio.sleep(60))])
    (outcome,) = await ask(analyzer, photo, Task("s", "sleep"), seconds=0.05)
    assert isinstance(outcome.error, DeadlineExceeded)


async def test_a_request_that_is_cancelled_leaves_nothing_behind(
    start: Any, models: Any, photo: Picture
) -> None:
    analyzer = start(*models["definitions"])
    models["persons"].gate.clear()
    asking = asyncio.create_task(
        ask(analyzer, photo, Task("p", "detect_bounding_box"), Task("e", "embed_clip"))
    )
    assert await asyncio.to_thread(models["persons"].entered.acquire, timeout=WAIT_S)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert all(load.items == 0 for load in analyzer.engine.loads().values())
    models["persons"].gate.set()
    (outcome,) = await ask(analyzer, photo, Task("p", "detect_bounding_box"))
    assert outcome.status is Status.OK


# -- binding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "params", "error", "told"),
    [
        ("embed_klip", {}, UnknownOperation, r"no operation 'embed_klip'; there are .*embed_clip"),
        ("x" * 9999, {}, UnknownOperation, r"x{100}'"),
        (
            "embed_clip",
            {"colour": "red"},
            InvalidParameters,
            r"embed_clip: colour: is not a parameter; there are .*model",
        ),
        (
            "embed_clip",
            {"normalize": "perhaps"},
            InvalidParameters,
            r"normalize: Input should be a valid boolean",
        ),
        ("embed_text", {}, InvalidParameters, r"embed_text: text: Field required"),
        ("embed_text", {"text": "", "encoding": "hex"}, InvalidParameters, r"encoding: .*; text: "),
        (
            "detect_bounding_box",
            {"target": "whole_image"},
            InvalidParameters,
            r"Unsupported target 'whole_image' for 'detect_bounding_box'. "
            r"Allowed: \['prominent_person', 'prominent_face'\]",
        ),
        ("embed_clip", {"target": ["x"]}, InvalidParameters, r"Unsupported target"),
        (
            "embed_text",
            {"text": "x", "target": "whole_image"},
            InvalidParameters,
            r"target: is not a parameter; there are .*text",
        ),
    ],
)
async def test_a_task_that_does_not_fit_is_refused_with_what_would(
    start: Any, operation: str, params: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        start().bind(Task("t", operation, params))


@pytest.mark.parametrize("params", [{"text": "y" * 100_000}, {"text": "x", "k" * 100_000: 1}])
async def test_a_refusal_does_not_echo_long_input(start: Any, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters) as caught:
        start().bind(Task("t", "embed_text", params))
    assert len(str(caught.value)) < 500


async def test_defaults_are_filled_in(start: Any) -> None:
    bound = start().bind(Task("t", "detect_bounding_box"))
    assert bound.params.target is Target.PROMINENT_PERSON


async def test_a_request_without_tasks_asks_the_usual_ones(start: Any) -> None:
    analyzer = start()
    tasks = analyzer.default_tasks()
    assert {task.id for task in tasks} >= {"face", "clip"}
    assert len({task.id for task in tasks}) == len(tasks)
    for task in tasks:
        analyzer.bind(task)


# -- pictures ----------------------------------------------------------------------------------------------


async def test_pictures_are_held_to_the_limits(start: Any, photo: Picture) -> None:
    analyzer = start(image_max_pixels=1000)
    with pytest.raises(ImageTooLarge):
        analyzer.open(encode_png(photo.rgb()))
    with pytest.raises(UnsupportedImage):
        analyzer.open(b"hello")
    small = encode_png(photo.rgb()[:20, :20])
    assert analyzer.open(small).width == 20
    with pytest.raises(ImageTooLarge):
        analyzer.open(small, max_bytes=len(small) - 1)


async def test_private_addresses_are_not_fetched(start: Any) -> None:
    with pytest.raises(SightlineError) as caught:
        await start().fetch("http://127.0.0.1/cat.png")
    assert caught.value.code in {"url_refused", "fetch_failed"}


# -- putting it together -----------------------------------------------------------------------------------


async def test_an_analyzer_is_made_of_what_is_built_in(configure: Any) -> None:
    async with Analyzer.create(configure()) as analyzer:
        assert {"detect_bounding_box", "embed_clip_vit_b_32", "embed_text"} <= set(analyzer.operations)
        assert set(analyzer.engine.lanes) == set(analyzer.models)
        assert analyzer.engine.alive
    assert not analyzer.engine.alive


def test_a_wrong_plug_in_folder_starts_no_threads(configure: Any, tmp_path: Any) -> None:
    import threading

    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "bad.py").write_text("raise RuntimeError")
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match=r"bad\.py"):
        Analyzer.create(configure(plugins_dir=tmp_path))
    assert threading.active_count() == before
