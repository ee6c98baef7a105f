from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sightline import operations
from sightline.capabilities.detection import OBJECT_BOXES, PERSON_BOXES
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import ModelCard, ModelDefinition
from sightline.operations.detect_objects import DetectObjects, FoundObjects
from sightline.runtime.analyzer import Analyzer, Status, Task
from sightline.runtime.engine import Engine
from sightline.runtime.telemetry import Telemetry
from sightline.settings import Settings
from sightline.types import Box, Detection
from sightline.weights.store import Store

THINGS = [
    Detection(Box(1.9, 2.9, 10.2, 9.9), 0.3, "dog"),
    Detection(Box(0, 0, 5, 5), 0.9, "person"),
    Detection(Box(3, 3, 9, 9), 0.6, "traffic light"),
    Detection(Box(2, 2, 6, 8), 0.7, "person"),
]


class Detector:
    def __init__(self) -> None:
        self.count = 0

    def prepare(self, subject: View) -> View:
        return subject

    def infer(self, items: Sequence[View]) -> list[list[Detection]]:
        self.count += len(items)
        return [list(THINGS) for _ in items]


async def answers(tmp_path: Path, *tasks: Task) -> tuple[list[Any], Detector]:
    detector = Detector()
    card = ModelCard(
        name="things",
        capabilities=frozenset({OBJECT_BOXES, PERSON_BOXES}),
        description="Things.",
        licence="CC0-1.0",
        homepage="https://example.org",
        preprocessing="none",
        parameters=0,
        multiply_adds=0,
    )
    models = {"things": ModelDefinition(card, lambda files, graphs: detector)}
    settings = Settings(models_dir=tmp_path, offline=True)
    store = Store.from_settings(settings)
    engine = Engine(settings, models, store)
    analyzer = Analyzer(settings, operations.catalogue(), models, engine, store, Telemetry())
    picture = open_picture(encode_png(np.zeros((20, 20, 3), np.uint8)), ImageLimits(10**6, 10**6, 10**4))
    async with analyzer:
        return await analyzer.analyze(picture, [analyzer.bind(task) for task in tasks]), detector


async def found(tmp_path: Path, **params: Any) -> list[tuple[str, float]]:
    (outcome,), _ = await answers(tmp_path, Task("things", "detect_objects", params))
    assert outcome.status is Status.OK
    return [(thing.label, thing.score) for thing in outcome.answer.data.objects]


async def test_things_come_surest_first_with_whole_pixels(tmp_path: Path) -> None:
    (outcome,), _ = await answers(tmp_path, Task("things", "detect_objects", {"min_score": 0}))
    assert outcome.answer.model.name == "things"
    assert outcome.answer.region is None
    assert outcome.answer.data.model_dump(mode="json") == {
        "objects": [
            {"box": [0, 0, 5, 5], "score": 0.9, "label": "person"},
            {"box": [2, 2, 6, 8], "score": 0.7, "label": "person"},
            {"box": [3, 3, 9, 9], "score": 0.6, "label": "traffic light"},
            {"box": [1, 2, 10, 9], "score": 0.3, "label": "dog"},
        ]
    }


async def test_a_half_is_sure_enough_by_default(tmp_path: Path) -> None:
    assert await found(tmp_path) == [("person", 0.9), ("person", 0.7), ("traffic light", 0.6)]


async def test_a_score_of_exactly_the_least_is_enough(tmp_path: Path) -> None:
    assert await found(tmp_path, min_score=0.7) == [("person", 0.9), ("person", 0.7)]


@pytest.mark.parametrize("labels", [["Dog", "traffic light"], "dog, traffic light"])
async def test_labels_choose(tmp_path: Path, labels: Any) -> None:
    assert await found(tmp_path, min_score=0, labels=labels) == [("traffic light", 0.6), ("dog", 0.3)]


async def test_nothing_of_that_kind_is_an_answer(tmp_path: Path) -> None:
    assert await found(tmp_path, labels=["giraffe"]) == []


async def test_the_surest_are_kept_when_there_are_too_many(tmp_path: Path) -> None:
    assert await found(tmp_path, max_results=1) == [("person", 0.9)]


async def test_one_look_serves_all_things_and_the_prominent_person(tmp_path: Path) -> None:
    tasks = (
        Task("things", "detect_objects"),
        Task("dogs", "detect_objects", {"labels": ["dog"]}),
        Task("person", "detect_bounding_box", {"target": "prominent_person"}),
    )
    outcomes, detector = await answers(tmp_path, *tasks)
    assert [outcome.status for outcome in outcomes] == [Status.OK] * 3
    assert outcomes[2].answer.data.box == [0, 0, 5, 5]
    assert detector.count == 1


@pytest.mark.parametrize(
    "params",
    [{"min_score": -0.1}, {"min_score": 1.1}, {"max_results": 0}, {"max_results": 101}, {"labels": [""]}],
)
def test_parameters_out_of_range_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(params))):
        DetectObjects.Params.model_validate(params)


def test_it_is_a_bare_list_in_the_old_contract() -> None:
    result = FoundObjects.model_validate({"objects": [{"box": [1, 2, 3, 4], "score": 0.5, "label": "dog"}]})
    assert DetectObjects().plain(result) == [{"box": [1, 2, 3, 4], "score": 0.5, "label": "dog"}]
