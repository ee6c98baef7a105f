from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.capabilities.caption import CAPTION
from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.capabilities.places import PLACES
from sightline.capabilities.question import ANSWER
from sightline.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InferenceFailed,
    InvalidImage,
    ModelUnavailable,
    Overloaded,
    SightlineError,
    UnknownModel,
)
from sightline.imaging import Picture, View
from sightline.models import Connection, Runs
from sightline.runtime import engine as engine_module
from sightline.runtime import residency as residency_module
from sightline.runtime.engine import Context, Engine
from sightline.types import PixelBox, Priority, Provenance

WAIT_S = 10.0


def soon(seconds: float = WAIT_S, priority: Priority = Priority.INTERACTIVE) -> Context:
    return Context.lasting(seconds, priority)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - other threads bring it about
            await asyncio.sleep(0.005)


def empty(engine: Engine) -> bool:
    return all((load.items, load.num_bytes, load.queued) == (0, 0, 0) for load in engine.loads().values())


class Length:
    """``str`` → number of characters, at a pace; a text with ``!`` fails."""

    def __init__(self, infer_s: float = 0.0) -> None:
        self.infer_s = infer_s

    def prepare(self, subject: str) -> str:
        if "?" in subject:
            raise InvalidImage("a questionable input")
        return subject

    def infer(self, items: Any) -> list[int]:
        time.sleep(self.infer_s)
        if any("!" in item for item in items):
            raise ValueError("loud")
        return [len(item) for item in items]


async def test_a_subject_is_prepared_computed_and_signed(start: Any, define: Any, recorder: Any) -> None:
    engine = start(define("length", Length())).engine
    inference = await engine.infer("length", "four", soon())
    assert inference.output == 4
    assert (inference.model.name, inference.model.provenance) == ("length", Provenance.BUILT_IN)
    assert engine.ref("length") == inference.model
    timing = inference.timing
    assert timing is not None
    assert min(timing.prepare_ms, timing.queue_ms, timing.infer_ms) >= 0
    assert timing.load_ms > 0
    assert timing.prepare_ms > 0
    again = (await engine.infer("length", "more", soon())).timing
    assert again is not None
    assert again.load_ms == 0
    assert recorder.counts["waited"] == 2


async def test_an_unknown_model_is_said(start: Any, define: Any) -> None:
    with pytest.raises(UnknownModel, match="'width'; there are length"):
        await start(define("length", Length())).engine.infer("width", "x", soon())


async def test_the_deadline_covers_waiting_for_a_slot(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model)).engine
    held_model.gate.clear()
    busy = asyncio.create_task(engine.infer("held", "1", soon()))
    assert await asyncio.to_thread(held_model.entered.acquire, timeout=WAIT_S)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await engine.infer("held", "2", soon(0.05))
    assert time.monotonic() - started < 2
    assert engine.loads()["held"].items == 1
    assert engine.loads()["held"].queued == 0
    held_model.gate.set()
    await busy
    assert empty(engine)
    assert held_model.batches == [["1"]]


async def test_the_deadline_covers_computing(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model)).engine
    await engine.infer("held", "warm", soon())
    held_model.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await engine.infer("held", "1", soon(0.05))
    assert empty(engine)
    held_model.gate.set()
    assert (await engine.infer("held", "2", soon())).output == "2" * 10


async def test_a_deadline_that_has_passed_computes_nothing(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model)).engine
    await engine.infer("held", "warm", soon())
    with pytest.raises(DeadlineExceeded):
        await engine.infer("held", "late", soon(-1))
    assert ["late"] not in held_model.batches


async def test_a_full_lane_refuses_at_once_and_others_do_not_notice(
    start: Any, define: Any, held_model: Any, held_models: Any, recorder: Any
) -> None:
    engine = start(
        define("held", held_model), define("other", held_models()), queue_items=2, compute_slots=3
    ).engine
    held_model.gate.clear()
    waiting = [asyncio.create_task(engine.infer("held", "1", soon())) for _ in range(2)]
    await until(lambda: engine.loads()["held"].items == 2)
    started = time.monotonic()
    with pytest.raises(Overloaded) as caught:
        await engine.infer("held", "1", soon())
    assert time.monotonic() - started < 5
    assert caught.value.retry_after_s >= 1
    assert recorder.counts["refused"] == 1
    assert (await engine.infer("other", "2", soon())).output
    held_model.gate.set()
    await asyncio.gather(*waiting)
    assert empty(engine)


async def test_bulk_work_cannot_fill_a_lane(start: Any, define: Any, held_model: Any) -> None:
    engine = start(define("held", held_model), queue_items=4).engine
    held_model.gate.clear()
    bulk = [asyncio.create_task(engine.infer("held", "1", soon(priority=Priority.BULK))) for _ in range(3)]
    done, _ = await asyncio.wait(bulk, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(done.pop().exception(), Overloaded)
    interactive = asyncio.create_task(engine.infer("held", "2", soon()))
    await until(lambda: engine.loads()["held"].items == 3)
    held_model.gate.set()
    assert (await interactive).output
    await asyncio.gather(*bulk, return_exceptions=True)


async def test_a_part_of_a_picture_counts_as_all_that_is_decoded_of_it(
    start: Any, define: Any, finder: Any, photo: Picture
) -> None:
    model = finder(lambda view: [])
    model.gate.clear()
    engine = start(define("faces", model)).engine
    asking = [
        asyncio.create_task(engine.infer("faces", view, soon()))
        for view in (View(photo, PixelBox(0, 0, 2, 2)), View(photo, PixelBox(0, 0, 640, 480)))
    ]
    decoded = 3 * photo.width * photo.height
    await until(lambda: engine.loads()["faces"].num_bytes == 2 * decoded)
    assert engine.loads()["faces"].items == 2
    model.gate.set()
    await asyncio.gather(*asking)
    assert empty(engine)


@pytest.mark.parametrize("error", [ValueError("/secret"), SystemExit(1), StopIteration()])
async def test_a_model_that_cannot_prepare_fails_its_item_alone(
    start: Any, define: Any, recorder: Any, error: BaseException
) -> None:
    class Picky(Length):
        def prepare(self, subject: str) -> str:
            if subject == "bad":
                raise error
            return subject

    engine = start(define("picky", Picky())).engine
    bad, good = await asyncio.gather(
        engine.infer("picky", "bad", soon()), engine.infer("picky", "good", soon()), return_exceptions=True
    )
    assert isinstance(bad, InferenceFailed)
    assert "secret" not in str(bad)
    assert good.output == 4  # type: ignore[union-attr]
    assert recorder.counts["failed"] == 1
    assert empty(engine)


async def test_an_image_error_of_preparing_reaches_the_caller(start: Any, define: Any) -> None:
    with pytest.raises(InvalidImage, match="questionable"):
        await start(define("length", Length())).engine.infer("length", "what?", soon())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_is_left_over_whatever_happens(configure: Any, define: Any, data: st.DataObject) -> None:
    """Good, bad, late and cancelled requests at random moments: every place in the lane is given back."""
    kinds = st.sampled_from(["good", "loud!", "what?"])
    plan = data.draw(
        st.lists(st.tuples(kinds, st.integers(0, 12), st.booleans(), st.booleans()), max_size=25)
    )

    async def run() -> None:
        chosen = configure(queue_items=12, compute_slots=2)
        known = {"length": define("length", Length(0.002))}
        engine = Engine(chosen, known, engine_module.Store.from_settings(chosen))
        engine.start()
        tasks = []
        for text, moment, cancelled, bulk in plan:
            patience_s = moment / 2000 if moment % 3 == 0 else WAIT_S
            priority = Priority.BULK if bulk else Priority.INTERACTIVE
            task = asyncio.create_task(engine.infer("length", text, soon(patience_s, priority)))
            tasks.append(task)
            await asyncio.sleep(moment / 5000)
            if cancelled:
                task.cancel()
        for (text, _, cancelled, _), outcome in zip(
            plan, await asyncio.gather(*tasks, return_exceptions=True), strict=True
        ):
            if isinstance(outcome, asyncio.CancelledError):
                assert cancelled
            elif isinstance(outcome, BaseException):
                assert isinstance(outcome, SightlineError)
            else:
                assert (text, outcome.output) == ("good", 4)
        assert empty(engine)
        assert (await engine.infer("length", "fine", soon())).output == 4
        await engine.close()

    asyncio.run(run())


# -- finding models ----------------------------------------------------------------------------------------


async def test_models_are_found_by_capability_and_space(start: Any, define: Any) -> None:
    engine = start(
        define("clip-a", 1, IMAGE_EMBEDDING, space="a"),
        define("clip-b", 1, IMAGE_EMBEDDING, space="b"),
    ).engine
    assert engine.find(IMAGE_EMBEDDING) == "clip-a"
    assert engine.find(IMAGE_EMBEDDING, "b") == "clip-b"
    assert engine.directory.has(IMAGE_EMBEDDING)
    assert not engine.directory.has(CAPTION)
    with pytest.raises(UnknownModel, match=r"no model 'c' gives image_embedding; these do: a, b"):
        engine.find(IMAGE_EMBEDDING, "c")
    with pytest.raises(ModelUnavailable, match="caption"):
        engine.find(CAPTION)


async def test_models_without_a_space_are_found_by_name(start: Any, define: Any) -> None:
    engine = start(define("base", 1, CAPTION), define("large", 1, CAPTION)).engine
    assert engine.find(CAPTION) == "base"
    assert engine.find(CAPTION, "large") == "large"
    with pytest.raises(UnknownModel, match=r"no model 'huge' gives caption; these do: base, large"):
        engine.find(CAPTION, "huge")


# -- life --------------------------------------------------------------------------------------------------


async def test_ready_means_preloaded(start: Any, define: Any, held_model: Any) -> None:
    import threading

    gate = threading.Event()

    def load(files: Any, graphs: Any) -> Any:
        assert gate.wait(WAIT_S)
        return held_model

    engine = start(define("first", load=load), define("second", held_model), preload=("first",)).engine
    assert engine.alive
    assert not engine.ready
    gate.set()
    await until(lambda: engine.ready)
    assert engine.ref("second") is None


async def test_all_models_can_be_preloaded(start: Any, define: Any) -> None:
    engine = start(define("a", 1), define("b", 2), preload=("all",)).engine
    await until(lambda: engine.ready)
    assert engine.ref("a")
    assert engine.ref("b")


async def test_a_preload_that_failed_is_tried_again(
    start: Any, define: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency_module, "RETRY_FAILED_LOAD_S", 0.0)
    monkeypatch.setattr(engine_module, "RETRY_FAILED_LOAD_S", 0.01)
    calls: list[int] = []

    def load(files: Any, graphs: Any) -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError
        return "model"

    engine = start(define("moody", load=load), preload=("moody",)).engine
    await until(lambda: engine.ready)
    assert len(calls) == 3


def test_preloading_a_model_there_is_not_stops_the_start(configure: Any, define: Any) -> None:
    chosen = configure(preload=("a", "typo"))
    with pytest.raises(ConfigurationError, match="typo"):
        Engine(chosen, {"a": define("a", 1)}, engine_module.Store.from_settings(chosen))


def test_what_a_model_finds_wrong_with_the_settings_stops_the_start(configure: Any, define: Any) -> None:
    def check(settings: Any) -> None:
        raise ConfigurationError("SIGHTLINE_LABEL_SETS: line 3")

    chosen, threads = configure(), threading.active_count()
    with pytest.raises(ConfigurationError, match="LABEL_SETS: line 3"):
        Engine(chosen, {"a": replace(define("a", 1), check=check)}, engine_module.Store.from_settings(chosen))
    assert threading.active_count() == threads


async def test_a_missing_device_stops_the_start(start: Any, define: Any) -> None:
    with pytest.raises(ConfigurationError, match="no device 'abacus'"):
        start(define("a", 1), device="abacus")


async def test_a_slot_that_hangs_makes_the_engine_not_alive(
    start: Any, define: Any, held_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "STUCK_S", 0.05)
    engine = start(define("held", held_model)).engine
    held_model.gate.clear()
    hanging = asyncio.create_task(engine.infer("held", "1", soon()))
    await until(lambda: not engine.alive)
    assert not engine.ready
    held_model.gate.set()
    await hanging
    await until(lambda: engine.alive)


async def test_closing_finishes_what_is_computed_and_refuses_the_rest(
    configure: Any, define: Any, held_model: Any
) -> None:
    chosen = configure()
    engine = Engine(chosen, {"held": define("held", held_model)}, engine_module.Store.from_settings(chosen))
    engine.start()
    held_model.gate.clear()
    running = asyncio.create_task(engine.infer("held", "1", soon()))
    assert await asyncio.to_thread(held_model.entered.acquire, timeout=WAIT_S)
    waiting = asyncio.create_task(engine.infer("held", "2", soon()))
    await until(lambda: engine.loads()["held"].queued == 1)
    closing = asyncio.create_task(engine.close())
    with pytest.raises(SightlineError, match="shut down"):
        await waiting
    held_model.gate.set()
    assert (await running).output == "1" * 10
    await closing
    assert not engine.alive
    with pytest.raises(SightlineError, match="shut down"):
        await engine.infer("held", "3", soon())


async def test_a_look_up_does_not_wait_for_a_busy_slot(start: Any, define: Any) -> None:
    class Slow(Length):
        def __init__(self) -> None:
            super().__init__()
            self.gate = threading.Event()

        def infer(self, items: Any) -> Any:
            assert self.gate.wait(10)
            return super().infer(items)

    slow, quick = Slow(), define("quick", Length())
    quick = replace(quick, card=replace(quick.card, runs=Runs.ON_WORKER))
    engine = start(define("slow", slow), quick).engine
    waiting = asyncio.create_task(engine.infer("slow", "text", soon()))
    await until(lambda: engine.loads()["slow"].items == 1)
    try:
        assert (await engine.infer("quick", "four", soon())).output == 4
        assert not waiting.done()
    finally:
        slow.gate.set()
    await waiting
    assert empty(engine)


# -- models that stand on settings -------------------------------------------------------------------------


class Elsewhere:
    """A service: answers with the subject and how long it was given, ``most`` questions at a time."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most = 0
        self.closed = False

    async def answer(self, subject: str, timeout_s: float) -> str:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if subject == "overloaded":
            raise Overloaded("later", 7)
        if subject == "odd":
            raise ValueError("not ours")
        return f"{subject}, within {timeout_s:.0f} s"

    async def close(self) -> None:
        self.closed = True


def connected(definition: Any, model: Any, runs: Runs = Runs.ELSEWHERE) -> Any:
    return replace(
        definition,
        card=replace(definition.card, runs=runs),
        load=None,
        connect=lambda settings: Connection(model, "an address", Provenance.REMOTE),
    )


async def test_a_model_elsewhere_is_asked_by_a_few_at_a_time_and_closed_at_the_end(
    start: Any, define: Any
) -> None:
    model = Elsewhere()
    model.gate.clear()
    engine = start(connected(define("far", None, max_batch=2), model)).engine
    questions = [asyncio.create_task(engine.infer("far", str(number), soon())) for number in range(5)]
    await until(lambda: model.under_way == 2)
    await asyncio.sleep(0.05)
    assert model.under_way == 2
    model.gate.set()
    answers = await asyncio.gather(*questions)
    assert [answer.output[0] for answer in answers] == list("01234")
    assert model.most == 2
    assert answers[0].model.provenance is Provenance.REMOTE
    assert len(answers[0].model.fingerprint) == 16
    assert empty(engine)
    await engine.close()
    assert model.closed


async def test_a_question_elsewhere_ends_with_the_request(start: Any, define: Any) -> None:
    model = Elsewhere()
    model.gate.clear()
    engine = start(connected(define("far", None, max_batch=1), model)).engine
    with pytest.raises(DeadlineExceeded):
        await engine.infer("far", "slow", Context.lasting(0.1))
    assert model.under_way == 0
    model.gate.set()
    assert (await engine.infer("far", "next", soon())).output.startswith("next")


async def test_errors_elsewhere_keep_their_kind_and_foreign_ones_fail_this_item(
    start: Any, define: Any
) -> None:
    engine = start(connected(define("far", None), Elsewhere())).engine
    with pytest.raises(Overloaded) as overloaded:
        await engine.infer("far", "overloaded", soon())
    assert overloaded.value.retry_after_s == 7
    with pytest.raises(InferenceFailed, match="ValueError"):
        await engine.infer("far", "odd", soon())
    assert empty(engine)


async def test_nothing_configured_says_what_to_set(start: Any, define: Any) -> None:
    def connect(settings: Any) -> Connection:
        raise ModelUnavailable("set SIGHTLINE_FAR_KEY")

    far = replace(define("far", None), load=None, connect=connect)
    engine = start(far, preload=("all",)).engine
    with pytest.raises(ModelUnavailable, match="SIGHTLINE_FAR_KEY"):
        await engine.infer("far", "text", soon())
    assert engine.residency.state("far") is residency_module.ModelState.MISSING
    assert engine.ready  # "all" is all that have files


def unset(definition: Any, text: str) -> Any:
    return replace(definition, lacking=lambda settings: text)


async def test_what_is_configured_is_found_first(start: Any, define: Any) -> None:
    bare = unset(connected(define("a-bare", None, ANSWER), Elsewhere()), "set A_KEY")
    ready = connected(define("b-ready", None, ANSWER), Elsewhere())
    engine = start(bare, ready).engine
    assert engine.find(ANSWER) == "b-ready"
    assert engine.find(ANSWER, "a-bare") == "a-bare"
    assert engine.directory.lacking(ANSWER) is None
    assert engine.residency.state("a-bare") is residency_module.ModelState.MISSING
    assert engine.residency.failure("a-bare") == "set A_KEY"
    assert engine.residency.state("b-ready") is residency_module.ModelState.AVAILABLE
    assert engine.residency.failure("b-ready") is None


async def test_what_has_to_be_set_is_said_of_all(start: Any, define: Any) -> None:
    models = [unset(connected(define(name, None, ANSWER), Elsewhere()), f"set {name}") for name in ("x", "y")]
    engine = start(*models).engine
    assert engine.directory.lacking(ANSWER) == "set x for x, or set y for y"
    with pytest.raises(
        ModelUnavailable, match="no model that gives answer is configured: set x for x, or set y"
    ):
        engine.find(ANSWER)
    assert engine.find(ANSWER, "y") == "y"
    assert engine.directory.lacking(PLACES) == "install a model that gives places"


async def test_microseconds_are_spent_on_the_event_loop(start: Any, define: Any) -> None:
    class Where(Length):
        def infer(self, items: Any) -> Any:
            return [threading.current_thread() for _ in items]

    engine = start(connected(define("here", None), Where(), Runs.IN_LOOP)).engine
    assert (await engine.infer("here", "text", soon())).output is threading.current_thread()
    engine.residency._unload_if_unused("here")
    assert engine.ref("here") is not None  # unloading it would free nothing


def test_a_definition_either_loads_or_connects(define: Any) -> None:
    with pytest.raises(ConfigurationError, match="either load or connect"):
        replace(define("neither", None), load=None)
