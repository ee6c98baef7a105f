"""Zero-shot classes over a real engine, with a picture model and a text model of known vectors."""

from __future__ import annotations

import asyncio
import re
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline import models as known_models
from sightline import operations
from sightline.capabilities import Capability
from sightline.capabilities.detection import FACE_BOXES
from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.errors import InvalidParameters, ModelUnavailable, UnknownModel
from sightline.imaging import ImageLimits, Picture, View, encode_png, open_picture
from sightline.models import ModelCard, ModelDefinition
from sightline.operations.classify_zero_shot import DEFAULT_TEMPLATE, ClassifyZeroShot, softmax
from sightline.runtime.analyzer import Analyzer, Outcome, Status, Task
from sightline.runtime.engine import Engine
from sightline.runtime.telemetry import Telemetry
from sightline.settings import Settings
from sightline.types import Box, Detection, ModelRef, Provenance
from sightline.weights.store import Store

Params = ClassifyZeroShot.Params
# Texts and pictures in a plane: 5 degrees apart are almost alike, which is what CLIP's vectors are.
ANGLES = {"north": 90.0, "east": 0.0, "east by north": 5.0, "south": -90.0, "long": 45.0}


def at(degrees: float, length: float = 1.0) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return (length * np.array([np.cos(radians), np.sin(radians)])).astype(np.float32)


class Texts:
    """A text's vector points where its last words say; ``long`` is ten times as long as the others."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()

    def prepare(self, text: str) -> np.ndarray:
        self.read[text] += 1
        words = next(
            words for words in sorted(ANGLES, key=len, reverse=True) if text.rstrip(".").endswith(words)
        )
        return at(ANGLES[words], 10.0 if words == "long" else 1.0)

    def infer(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(items)


class Pictures:
    """Black points east, white north; three times as long as texts."""

    def prepare(self, view: View) -> np.ndarray:
        return at(view.pixels().mean() / 255 * 90, 3.0)

    def infer(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(items)


class Faces:
    def prepare(self, view: View) -> View:
        return view

    def infer(self, items: Sequence[View]) -> list[list[Detection]]:
        return [[Detection(Box(0, 0, 10, 10), 0.9, "face")] for _ in items]


def card(name: str, capability: Capability, **more: Any) -> ModelCard:
    return ModelCard(
        name=name,
        capabilities=frozenset({capability}),
        description="For tests.",
        licence="CC0-1.0",
        homepage="https://example.org",
        preprocessing="none",
        parameters=0,
        multiply_adds=0,
        **more,
    )


class Counts(Telemetry):
    def __init__(self) -> None:
        self.computed: Counter[str] = Counter()
        self.recalled: Counter[str] = Counter()
        self._lock = threading.Lock()

    def batch_computed(self, model: str, size: int, infer_s: float) -> None:
        with self._lock:
            self.computed[model] += size

    def text_recalled(self, model: str) -> None:
        self.recalled[model] += 1


Classify = Callable[..., Any]


class Bench:
    """An analyzer and what happened in it."""

    def __init__(self, analyzer: Analyzer, texts: Texts, counts: Counts) -> None:
        self.analyzer = analyzer
        self.texts = texts
        self.counts = counts

    async def outcome(self, picture: Picture, **params: Any) -> Outcome:
        task = self.analyzer.bind(Task("it", "classify_zero_shot", {"model": "plane", **params}))
        (outcome,) = await self.analyzer.analyze(picture, [task])
        return outcome

    async def classify(self, picture: Picture, **params: Any) -> Any:
        outcome = await self.outcome(picture, **params)
        assert outcome.status is Status.OK, outcome.error
        assert outcome.answer is not None
        return outcome.answer.data


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[Bench]:
        texts, counts = Texts(), Counts()
        scale = {"similarity_scale": changes.pop("scale", 100.0)}
        cards = (
            (card("looker", IMAGE_EMBEDDING, space="plane", **scale), Pictures()),
            (card("reader", TEXT_EMBEDDING, space="plane", max_batch=8), texts),
            (card("faces", FACE_BOXES), Faces()),
            (card("scaleless", IMAGE_EMBEDDING, space="other"), Pictures()),
            (card("scaleless-text", TEXT_EMBEDDING, space="other"), texts),
            (card("wordless", IMAGE_EMBEDDING, space="pictures-only"), Pictures()),
        )
        catalogue = {
            each.name: ModelDefinition(each, lambda files, graphs, model=model: model)
            for each, model in cards
        }
        catalogue |= {"label-sets": known_models.catalogue()["label-sets"]}
        settings = Settings(_env_file=None, models_dir=tmp_path, offline=True, **changes)
        store = Store.from_settings(settings)
        engine = Engine(settings, catalogue, store, counts)
        async with Analyzer(settings, operations.catalogue(), catalogue, engine, store, counts) as analyzer:
            yield Bench(analyzer, texts, counts)

    return start


def grey(level: int, size: int = 20) -> Picture:
    pixels = np.full((size, size, 3), level, np.uint8)
    return open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4))


BLACK, WHITE, MIDDLE = grey(0), grey(255), grey(128)


# -- the arithmetic ----------------------------------------------------------------------------------------


async def test_probabilities_are_the_softmax_of_a_hundred_cosines(bench: Any) -> None:
    async with bench() as b:
        found = await b.classify(BLACK, labels=["east", "east by north", "north"])
    logits = 100 * np.cos(np.deg2rad([0, 5, 90]))
    wanted = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert list(found.probabilities) == ["east", "east by north", "north"]
    assert list(found.probabilities.values()) == pytest.approx(wanted, rel=1e-3)
    assert (found.label, found.confidence) == ("east", found.probabilities["east"])
    assert 0.5 < found.confidence < 0.7, "almost alike is not quite sure"


async def test_the_scale_is_the_models_own(bench: Any) -> None:
    async with bench(scale=1.0) as b:
        found = await b.classify(BLACK, labels=["east", "north"])
    assert found.confidence == pytest.approx(np.e / (np.e + 1), rel=1e-5)


async def test_prompts_count_alike_however_long_their_vectors_are(bench: Any) -> None:
    """Scaled to length 1, averaged, scaled again: 45 and 0 degrees make 22.5, whatever ``long`` weighs."""
    async with bench(scale=1.0) as b:
        found = await b.classify(BLACK, labels={"both": ["long", "east"], "north": "north"})
    logits = np.cos(np.deg2rad([22.5, 90]))
    assert found.probabilities["both"] == pytest.approx(softmax(logits)[0], rel=1e-5)


async def test_a_list_of_labels_goes_through_the_template(bench: Any) -> None:
    async with bench() as b:
        await b.classify(BLACK, labels=["east", "north"])
        assert sorted(b.texts.read) == ["a photo of a east.", "a photo of a north."]
    assert DEFAULT_TEMPLATE == "a photo of a {}."


async def test_several_templates_are_averaged(bench: Any) -> None:
    async with bench() as b:
        params = {"labels": ["east", "north"], "templates": ["to the {}", "a way {}"]}
        found = await b.classify(BLACK, **params)
        assert sorted(b.texts.read) == ["a way east", "a way north", "to the east", "to the north"]
    assert found.label == "east"


async def test_prompts_of_an_object_are_used_as_they_are(bench: Any) -> None:
    async with bench() as b:
        await b.classify(BLACK, labels={"e": ["go, east"], "n": ["north"]})
        assert sorted(b.texts.read) == ["go, east", "north"]


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=50))
def test_shares_are_between_nothing_and_all_and_make_one(logits: list[float]) -> None:
    shares = softmax(np.array(logits))
    assert shares.sum() == pytest.approx(1)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares[np.argmax(logits)] == shares.max()


# -- thresholds and rules ----------------------------------------------------------------------------------


async def test_thresholds_say_what_passed(bench: Any) -> None:
    async with bench() as b:
        labels = ["north", "east by north", "east"]
        found = await b.classify(
            BLACK, labels=labels, thresholds={"east": 0.5, "east by north": 0.3, "north": 0.1}
        )
        assert found.passed == ["east", "east by north"]
        found = await b.classify(BLACK, labels=labels, thresholds={"east": 0.9})
        assert found.passed == []
        exactly = found.probabilities["east"]
        found = await b.classify(BLACK, labels=labels, thresholds={"east": exactly})
        assert found.passed == [], "above is more than"
        found = await b.classify(BLACK, labels=labels)
        assert (found.passed, found.verdicts) == ([], {})


OWN = """
[ways.labels]
up = ["north"]
across = ["east"]
down = ["south"]
[ways.rules.either]
any_above = { up = %s, across = %s }
all_below = { down = %s }
[ways.rules.not_down]
all_below = { down = 0.5 }
"""


@pytest.mark.parametrize(
    ("shares", "picture", "either"),
    [
        ((0.4, 0.4, 0.6), WHITE, True),
        ((0.4, 0.4, 0.6), BLACK, True),
        ((0.4, 1.0, 0.6), BLACK, False),
        ((0.4, 0.4, 0.0), BLACK, False),
    ],
)
async def test_rules_need_one_above_and_all_below(
    bench: Any, tmp_path: Path, shares: tuple[float, ...], picture: Picture, either: bool
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN % shares)
    async with bench(label_sets=path) as b:
        found = await b.classify(picture, label_set="ways")
    assert found.verdicts == {"either": either, "not_down": True}


async def test_a_known_set_is_asked_by_name(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN % (0.4, 0.4, 0.6))
    async with bench(label_sets=path) as b:
        found = await b.classify(WHITE, label_set="ways", thresholds={"up": 0.5})
        assert (found.label, found.passed) == ("up", ["up"])
        assert list(found.probabilities) == ["up", "across", "down"]
        outcome = await b.outcome(WHITE, label_set="weys")
        assert isinstance(outcome.error, InvalidParameters)
        assert "map-or-aerial, kind-of-picture, ways" in str(outcome.error)
        outcome = await b.outcome(WHITE, label_set="ways", thresholds={"left": 0.5})
        assert isinstance(outcome.error, InvalidParameters)
        assert "'left', which is none of up, across, down" in str(outcome.error)


# -- known texts -------------------------------------------------------------------------------------------


async def test_a_repeated_question_runs_no_text_model(bench: Any) -> None:
    async with bench() as b:
        first = await b.classify(BLACK, labels=["east", "north"])
        assert b.counts.computed == {"looker": 1, "reader": 2}
        assert b.counts.recalled == {}
        again = await b.classify(MIDDLE, labels=["east", "north"])
        assert b.counts.computed == {"looker": 2, "reader": 2}
        assert set(b.counts.recalled) == {"reader"}
        assert again.fingerprint == first.fingerprint
        await b.classify(BLACK, labels=["east", "south"])
        assert b.counts.computed["reader"] == 3, "only the new label is read"


async def test_nothing_is_remembered_when_there_is_no_room(bench: Any) -> None:
    async with bench(text_cache_mib=0) as b:
        for _ in range(2):
            await b.classify(BLACK, labels=["east", "north"])
        assert b.counts.computed["reader"] == 4


async def test_a_text_of_several_labels_is_read_once(bench: Any) -> None:
    async with bench() as b:
        await b.classify(BLACK, labels={"a": ["east", "north"], "b": ["north", "south", "north"]})
        assert b.texts.read == {"east": 1, "north": 1, "south": 1}


async def test_known_labels_share_a_picture_as_new_ones_do(bench: Any) -> None:
    labels = {"e": ["east", "long"], "n": ["north"], "s": "south"}
    async with bench() as b, bench(text_cache_mib=0) as forgetful:
        await b.classify(WHITE, labels=labels)
        for picture in (BLACK, MIDDLE, WHITE):
            known = await b.classify(picture, labels=labels)
            assert known == await forgetful.classify(picture, labels=labels)


async def test_more_questions_than_are_kept_at_hand_are_answered_alike(bench: Any) -> None:
    async with bench() as b:
        for turn in range(2):
            for number in range(20):
                found = await b.classify(BLACK, labels=[f"{number} east", f"{number} north"])
                assert found.label == f"{number} east"
            assert b.counts.computed["reader"] == 40, f"turn {turn}"


async def test_pictures_that_come_together_have_the_same_labels_read_once(bench: Any) -> None:
    """Eight to a server that has just started, in a queue that would not hold the texts of two."""
    labels = [f"{number} east" for number in range(10)]
    async with bench(queue_items=16) as b:
        await asyncio.gather(*(b.classify(BLACK, labels=labels) for _ in range(8)))
        assert set(b.texts.read.values()) == {1}


async def test_tasks_of_one_picture_do_not_fill_the_queue_among_themselves(bench: Any) -> None:
    async with bench(queue_items=40) as b:
        tasks = [
            b.analyzer.bind(
                Task(
                    f"{number}",
                    "classify_zero_shot",
                    {"model": "plane", "labels": [f"{number} {n} east" for n in range(10)]},
                )
            )
            for number in range(20)
        ]
        outcomes = await b.analyzer.analyze(BLACK, tasks)
    assert [outcome.error for outcome in outcomes if outcome.error] == []


async def test_a_thousand_texts_do_not_fill_a_short_queue(bench: Any) -> None:
    async with bench(queue_items=32) as b:
        labels = {f"{number}": f"{number} east" for number in range(1000)}
        found = await b.classify(BLACK, labels=labels)
    assert len(found.probabilities) == 1000


# -- fingerprints ------------------------------------------------------------------------------------------


async def test_whatever_changes_the_question_changes_its_fingerprint(bench: Any) -> None:
    questions: list[dict[str, Any]] = [
        {"labels": ["east", "north"]},
        {"labels": ["north", "east"]},
        {"labels": ["east", "north"], "templates": "{}"},
        {"labels": {"east": "east", "north": "north"}, "thresholds": {"east": 0.5}},
        {"labels": {"east": "east", "north": "long"}},
        {"labels": {"east": ["east", "long"], "north": "north"}},
    ]
    async with bench() as b:
        prints = [(await b.classify(BLACK, **question)).fingerprint for question in questions]
        assert len(set(prints)) == len(prints)
        assert all(re.fullmatch("[0-9a-f]{16}", each) for each in prints)
        assert (await b.classify(WHITE, **questions[0])).fingerprint == prints[0]
        same = {"labels": {"east": "a photo of a east.", "north": "a photo of a north."}}
        assert (await b.classify(WHITE, **same)).fingerprint == prints[0]


# -- parts of pictures, and models -------------------------------------------------------------------------


async def test_a_part_of_the_picture_can_be_asked_about(bench: Any) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10, :10] = 255
    picture = open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4))
    async with bench() as b:
        whole = await b.classify(picture, labels=["east", "north"])
        outcome = await b.outcome(
            picture, labels=["east", "north"], target="prominent_face", face_context="whole_image"
        )
    assert whole.label == "east"
    assert outcome.answer is not None
    assert outcome.answer.data.label == "north"
    assert outcome.answer.region is not None
    assert outcome.answer.region.box is not None
    assert outcome.answer.region.box.as_list() == [0, 0, 10, 10]
    assert outcome.answer.model is not None
    assert outcome.answer.model.name == "looker"


async def test_a_space_without_texts_or_without_a_scale_is_refused(bench: Any) -> None:
    async with bench() as b:
        outcome = await b.outcome(BLACK, labels=["east", "north"], model="nowhere")
        assert isinstance(outcome.error, UnknownModel)
        outcome = await b.outcome(BLACK, labels=["east", "north"], model="other")
        assert isinstance(outcome.error, UnknownModel)
        assert "no scale" in str(outcome.error)


async def test_random_text_weights_are_said_even_if_the_picture_model_is_trained(bench: Any) -> None:
    async with bench() as b:
        await b.classify(BLACK, labels=["east", "north"])
        resident = b.analyzer.engine.residency.residents["reader"]
        resident.ref = replace(resident.ref, provenance=Provenance.RANDOM)
        outcome = await b.outcome(BLACK, labels=["east", "north"])
    assert outcome.answer is not None
    assert outcome.answer.warnings == ("reader has random weights: this answer means nothing",)


@pytest.mark.parametrize("model", ["plain", "pictures-only"])
async def test_a_model_that_reads_no_text_is_none_to_choose(bench: Any, model: str) -> None:
    async with bench() as b:
        outcome = await b.outcome(BLACK, labels=["east", "north"], model=model)
    assert isinstance(outcome.error, UnknownModel)
    assert str(outcome.error).endswith("these do: other, plane")


async def test_without_clip_there_is_no_answer(tmp_path: Path) -> None:
    class Nothing:
        def find(self, capability: Capability, space: str | None = None) -> str:
            raise ModelUnavailable("not here")

        def ref(self, model: str) -> ModelRef | None:
            return None

    params = Params.model_validate({"labels": ["a", "b"]})
    with pytest.raises(ModelUnavailable):
        await ClassifyZeroShot().run(None, params, Nothing())  # type: ignore[arg-type]


# -- parameters --------------------------------------------------------------------------------------------


def test_labels_of_a_query_are_separated_by_commas() -> None:
    params = Params.model_validate({"labels": "map, aerial photo,other"})
    assert params.asked.labels == ("map", "aerial photo", "other")


def test_a_comma_too_many_is_no_label() -> None:
    assert Params.model_validate({"labels": "map,other, ,"}).asked.labels == ("map", "other")


def test_what_is_written_as_json_in_a_query_is_read_as_json() -> None:
    params = Params.model_validate(
        {
            "labels": '["map, drawn", "photo"]',
            "templates": '["a {}", "my {}"]',
            "thresholds": '{"photo": 0.5}',
        }
    )
    assert params.asked.prompts == (
        ("map, drawn", ("a map, drawn", "my map, drawn")),
        ("photo", ("a photo", "my photo")),
    )
    assert params.thresholds == {"photo": 0.5}
    params = Params.model_validate({"labels": '{"map": "a map", "photo": ["a photo", "a shot"]}'})
    assert params.asked.prompts == (("map", ("a map",)), ("photo", ("a photo", "a shot")))
    assert Params.model_validate({"labels": "a,b", "templates": "{} it is"}).templates == ["{} it is"]


@pytest.mark.parametrize(
    ("labels", "templates"),
    [
        (["l" * 99 + chr(65 + n) for n in range(26)], ["{}" * 1000]),
        ([f"{n:0100}" for n in range(1000)], ["{}" * 20] * 100),
    ],
)
def test_a_small_request_does_not_become_gigabytes_of_text(labels: list[str], templates: list[str]) -> None:
    tracemalloc.start()
    with pytest.raises(ValidationError, match=r"at most 1000 texts|more than 2000 characters"):
        Params.model_validate({"labels": labels, "templates": templates})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "either labels or label_set"),
        ({"labels": ["a", "b"], "label_set": "ways"}, "either labels or label_set"),
        ({"labels": ["a"]}, "at least two labels, separated by commas"),
        ({"labels": []}, "at least two labels, separated by commas"),
        ({"labels": {"a": "x"}}, "at least two labels, separated by commas"),
        ({"labels": ["a", "a"]}, "must differ"),
        ({"labels": ["a", ""]}, "at least 1 character"),
        ({"labels": ["a", "b" * 101]}, "at most 100"),
        ({"labels": {"a": "x", "b": []}}, "at least 1"),
        ({"labels": {"a": "x", "b": [""]}}, "must not be blank"),
        ({"labels": {"a": "x", "b": ["y", " "]}}, "must not be blank"),
        ({"labels": {"a": "x", "b": "a photo of {}"}}, "has braces"),
        ({"labels": ["a", "  "]}, "must not be blank"),
        ({"labels": ["a", " b"]}, "begins or ends with a space"),
        ({"labels": ["dog", "Dog"]}, "nothing tells them apart"),
        ({"labels": "dog,cat,DOG"}, "nothing tells them apart"),
        ({"labels": ["a  dog", "a dog"]}, "nothing tells them apart"),
        ({"labels": {"a": ["x", "Y"], "b": ["y", "x"]}}, "nothing tells them apart"),
        ({"labels": {"a": "x", "b": "y" * 2001}}, "at most 2000"),
        ({"labels": {"a": "x", "b": 5}}, "valid list"),
        ({"labels": 5}, "valid list"),
        ({"labels": [f"{n}" for n in range(1001)]}, "at most 1000"),
        ({"labels": [f"{n}" for n in range(501)], "templates": ["a {}", "the {}"]}, "at most 1000 texts"),
        ({"labels": ["a", "b"], "templates": ["no place"]}, "needs {}"),
        ({"labels": ["a", "b"], "templates": []}, "at least 1"),
        ({"labels": {"a": "x", "b": "y"}, "templates": "a {}"}, "list of labels only"),
        ({"label_set": "ways", "templates": "a {}"}, "list of labels only"),
        ({"labels": ["a", "b"], "thresholds": {"c": 0.5}}, "'c', which is none of a, b"),
        ({"labels": ["a", "b"], "thresholds": {"a": 1.5}}, "less than or equal to 1"),
        ({"labels": ["a", "b"], "prompts": 1}, "prompts"),
        ({"labels": '["a", "b"'}, "begins like JSON"),
        ({"labels": "a,b", "thresholds": "{a: 1}"}, "begins like JSON"),
        ({"labels": ["a" * 100, "b"], "templates": "{}" * 21}, "more than 2000 characters"),
    ],
)
def test_questions_that_make_no_sense_say_why(params: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(problem)):
        Params.model_validate(params)
