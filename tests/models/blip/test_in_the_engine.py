"""From a task to its text: the whole way through analyzer, engine and lane."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sightline.errors import InvalidParameters, UnknownModel
from sightline.imaging import encode_png
from sightline.models import blip
from sightline.runtime.analyzer import Analyzer, Status, Task
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.store import Store


@pytest.fixture
def analyzer(small_files: Mapping[str, Path], tmp_path: Path) -> Analyzer:
    """A new analyzer whose store has the small captioner as ``blip-base``."""
    definition = next(each for each in blip.MODELS if each.name == "blip-base")
    store = Store(tmp_path / "models", allow_random=True)
    folder = shutil.copytree(small_files["vision.onnx"].parent, tmp_path / "exported")  # the store moves it
    store.adopt(wanted(definition), folder, Provenance.RANDOM, "small")
    return Analyzer.create(
        Settings(models_dir=tmp_path / "models", offline=True, allow_random_weights=True, precision="f32")
    )


def a_colour(seed: int) -> bytes:
    colour = np.random.default_rng(seed).integers(0, 256, 3, np.uint8)
    return encode_png(np.broadcast_to(colour, (30, 40, 3)))


async def test_pictures_are_described(analyzer: Analyzer) -> None:
    async with analyzer:
        tasks = [
            analyzer.bind(Task("short", "describe_image", {"max_length": 4})),
            analyzer.bind(Task("long", "describe_image", {})),
            analyzer.bind(Task("again", "describe_image", {})),
        ]
        pictures = [analyzer.open(a_colour(seed)) for seed in range(3)]
        outcomes = await asyncio.gather(*(analyzer.analyze(picture, tasks) for picture in pictures))
    assert all(outcome.status is Status.OK for of_one in outcomes for outcome in of_one)
    texts = [[outcome.answer.data.text for outcome in of_one] for of_one in outcomes]
    for short, long, again in texts:
        assert long == again
        assert len(short) < len(long)
    assert len({long for _, long, _ in texts}) == 3


async def test_what_cannot_be_asked_is_said(analyzer: Analyzer) -> None:
    async with analyzer:
        with pytest.raises(InvalidParameters, match="max_length: must be 2 to 512"):
            analyzer.bind(Task("caption", "describe_image", {"max_length": 10_000}))
        task = analyzer.bind(Task("caption", "describe_image", {"model": "blip-huge"}))
        (outcome,) = await analyzer.analyze(analyzer.open(a_colour(0)), [task])
    assert isinstance(outcome.error, UnknownModel)
    assert "blip-base, blip-large" in str(outcome.error)
