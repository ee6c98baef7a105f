"""Crops, and how they reach the classifier: together, each once, and never more than the queue takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline import operations
from sightline.capabilities import Capability
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.capabilities.species import SPECIES, SPECIES_ENSEMBLE, SpeciesScores
from sightline.imaging import ImageLimits, Picture, View, encode_png, open_picture
from sightline.models import ModelCard, ModelDefinition
from sightline.models.speciesnet_ensemble import Ensemble
from sightline.models.speciesnet_ensemble.geofence import Geofence
from sightline.models.speciesnet_ensemble.taxonomy import Taxonomy
from sightline.operations.identify_species.evidence import crop_of, normalised
from sightline.runtime.analyzer import Analyzer, Outcome, Status, Task
from sightline.runtime.engine import Engine
from sightline.runtime.telemetry import Telemetry
from sightline.settings import Settings
from sightline.types import Box, Detection, PixelBox
from sightline.weights.store import Store

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"
ZEBRA = "2;mammalia;perissodactyla;equidae;equus;quagga;plains zebra"


# -- arithmetic --------------------------------------------------------------------------------------------


def test_a_box_is_normalised_to_parts_of_the_picture() -> None:
    assert normalised(Box(16, 8, 32, 24), 64, 32) == (0.25, 0.25, 0.25, 0.5)


def test_a_pixel_is_lost_where_the_reference_loses_it() -> None:
    """29 / 100 is not a number of float32; a hundred times it is less than 29."""
    assert crop_of(normalised(Box(0, 0, 29, 100), 100, 100), 100, 100) == PixelBox(0, 0, 28, 100)


side = st.integers(1, 10_000)


@given(width=side, height=side, data=st.data())
def test_a_crop_is_inside_the_box_but_for_a_pixel_and_never_empty(width: int, height: int, data: Any) -> None:
    x_min, x_max = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2)))
    y_min, y_max = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2)))
    crop = crop_of(normalised(Box(x_min, y_min, x_max, y_max), width, height), width, height)
    assert crop.width >= 1
    assert crop.height >= 1
    assert 0 <= crop.x_min < width
    assert 0 <= crop.y_min < height
    assert x_min - 1 <= crop.x_min <= x_min
    assert y_min - 1 <= crop.y_min <= y_min
    assert x_max - x_min - 1 <= crop.width <= max(x_max - x_min, 1)
    assert y_max - y_min - 1 <= crop.height <= max(y_max - y_min, 1)


# -- the classifier's lane ---------------------------------------------------------------------------------


class Finder:
    """Finds ``boxes``, the first with the lowest score."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        scores = np.linspace(0.5, 0.95, max(len(boxes), 2))
        self._found = [
            Detection(box, float(score), "animal") for box, score in zip(boxes, scores, strict=False)
        ]

    def prepare(self, subject: View) -> View:
        return subject

    def infer(self, items: Sequence[View]) -> list[list[Detection]]:
        return [list(self._found) for _ in items]


class Classifier:
    """Takes everything for a lion. Batches wait until as many crops as ``awaited`` were prepared."""

    def __init__(self, awaited: int = 0) -> None:
        self.batches: list[int] = []
        self.seen: list[PixelBox | None] = []
        self._awaited = awaited
        self._prepared = threading.Condition()

    def prepare(self, subject: View) -> View:
        with self._prepared:
            self.seen.append(subject.box)
            self._prepared.notify_all()
        return subject

    def infer(self, items: Sequence[View]) -> list[SpeciesScores]:
        with self._prepared:
            assert self._prepared.wait_for(lambda: len(self.seen) >= self._awaited, timeout=10)
        self.batches.append(len(items))
        if any(item.box == PixelBox(3, 3, 5, 5) for item in items):
            raise ValueError("not this one")
        return [SpeciesScores((LION, ZEBRA), (0.9, 0.1)) for _ in items]


def defined(name: str, model: Any, capability: Capability, **fields: Any) -> ModelDefinition:
    card = ModelCard(
        name=name,
        capabilities=frozenset({capability}),
        description="For tests.",
        licence="CC0-1.0",
        homepage="https://example.org",
        preprocessing="none",
        parameters=0,
        multiply_adds=0,
        **fields,
    )
    return ModelDefinition(card, lambda files, graphs: model)


@pytest.fixture
def picture() -> Picture:
    return open_picture(encode_png(np.zeros((64, 64, 3), np.uint8)), ImageLimits(10**6, 10**6, 10**4))


@pytest.fixture
def identify(tmp_path: Path, picture: Picture) -> Callable[..., Any]:
    """The outcome of tasks on a picture with animals in ``boxes``."""

    async def outcomes(boxes: Sequence[Box], classifier: Classifier, *tasks: dict[str, Any]) -> list[Outcome]:
        space = "v4.0.3a"
        models = [
            defined("finder", Finder(boxes), ANIMAL_BOXES),
            defined("classifier", classifier, SPECIES, space=space, max_batch=8),
            defined(
                "ensemble",
                Ensemble(Taxonomy([LION, ZEBRA]), Geofence({})),
                SPECIES_ENSEMBLE,
                space=space,
            ),
        ]
        known = {model.name: model for model in models}
        settings = Settings(models_dir=tmp_path, offline=True, worker_threads=4)
        store = Store.from_settings(settings)
        engine = Engine(settings, known, store)
        analyzer = Analyzer(settings, operations.catalogue(), known, engine, store, Telemetry())
        bound = [
            analyzer.bind(Task(str(number), "identify_species", params))
            for number, params in enumerate(tasks or ({},))
        ]
        async with analyzer:
            return await analyzer.analyze(picture, bound)

    return outcomes


def boxes(count: int) -> list[Box]:
    return [Box(n % 32, n // 32, n % 32 + 16, n // 32 + 16) for n in range(count)]


async def test_crops_of_a_photo_are_classified_together(identify) -> None:
    classifier = Classifier(awaited=8)
    (outcome,) = await identify(boxes(8), classifier)
    assert outcome.status is Status.OK, outcome.error
    assert len(outcome.answer.data.root.detections) == 8
    assert sum(classifier.batches) == 8
    assert max(classifier.batches) > 1


async def test_a_herd_larger_than_the_queue_is_still_answered(identify) -> None:
    classifier = Classifier()
    (outcome,) = await identify(boxes(300), classifier)
    assert outcome.status is Status.OK, outcome.error
    assert len(outcome.answer.data.root.detections) == 300
    assert len(classifier.seen) == 300
    assert max(classifier.batches) <= 8


async def test_the_surest_come_first(identify) -> None:
    (outcome,) = await identify(boxes(3), Classifier())
    confidences = [each.confidence for each in outcome.answer.data.root.detections]
    assert confidences == sorted(confidences, reverse=True)


async def test_formats_of_one_request_share_what_was_seen(identify) -> None:
    classifier = Classifier()
    tasks = ({}, {"format": "speciesnet-4"}, {"format": "speciesnet-5"}, {"country": "KEN"})
    outcomes = await identify(boxes(2), classifier, *tasks)
    assert [outcome.status for outcome in outcomes] == [Status.OK] * 4
    assert len(classifier.seen) == 2


async def test_the_old_format_looks_at_one_crop_and_the_new_one_at_none_of_nothing(identify) -> None:
    classifier = Classifier()
    (outcome,) = await identify(boxes(5), classifier, {"format": "speciesnet-4"})
    assert outcome.status is Status.OK
    assert len(classifier.seen) == 1
    nothing = Classifier()
    (outcome,) = await identify([], nothing, {"format": "speciesnet-5"})
    assert outcome.status is Status.OK
    assert nothing.seen == []
    assert outcome.answer.model.name == "finder"


async def test_without_detections_the_whole_picture_is_looked_at_once(identify) -> None:
    classifier = Classifier()
    (outcome,) = await identify([], classifier)
    assert outcome.answer.data.root.prediction.release_label == LION
    assert classifier.seen == [None]


async def test_a_crop_that_fails_fails_its_task_and_is_named(identify) -> None:
    (outcome,) = await identify([Box(3, 3, 5, 5), *boxes(20)], Classifier())
    assert outcome.status is Status.ERROR
    assert outcome.error.code == "inference_failed"
    assert "classifier" in str(outcome.error)
