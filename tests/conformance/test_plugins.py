"""One new file adds a model, one new file adds an operation; nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.errors import ConfigurationError
from sightline.imaging import encode_png
from sightline.runtime.analyzer import Analyzer, Status, Task
from sightline.settings import Settings

MODEL = """
import numpy as np
from sightline.models import ModelCard, ModelDefinition
from sightline.types import Capability


class Brightness:
    def prepare(self, view):
        return view.reduced(8).mean(dtype=np.float32) / 255

    def infer(self, items):
        return [np.array([item], np.float32) for item in items]


CARD = ModelCard(
    name="brightness",
    capabilities=frozenset({Capability.IMAGE_EMBEDDING}),
    description="Mean brightness.",
    licence="CC0-1.0",
    homepage="https://example.org/brightness",
    preprocessing="mean-1",
    parameters=0,
    multiply_adds=0,
    space="brightness",
)
MODELS = (ModelDefinition(CARD, lambda files, graphs: Brightness()),)
"""
OPERATION = """
from sightline.operations import Answer, Operation, RegionParams, Result
from sightline.types import Capability, Target


class Brightness(Result):
    percent: float


class MeasureBrightness(Operation[RegionParams, Brightness]):
    name = "measure_brightness"
    description = "Says how bright the image is."
    needs = (Capability.IMAGE_EMBEDDING,)
    targets = (Target.WHOLE_IMAGE,)
    default_target = Target.WHOLE_IMAGE
    Params = RegionParams
    Result = Brightness
    example = {}
    timing_group = "classification"

    async def run(self, scene, params, models):
        region = await scene.region(params.target, params.face_context)
        found = await scene.infer(models.find(Capability.IMAGE_EMBEDDING, "brightness"), scene.view(region))
        return Answer(Brightness(percent=round(100 * float(found.output[0]), 1)), found.model, region)


OPERATIONS = (MeasureBrightness(),)
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    for kind, text in (("models", MODEL), ("operations", OPERATION)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "brightness.py").write_text(text)
    return folder


def settings(plugins: Path) -> Settings:
    return Settings(plugins_dir=plugins, models_dir=plugins.parent / "store", offline=True, _env_file=None)


@pytest.mark.parametrize("text", [MODEL, OPERATION])
def test_thirty_lines_are_enough(text: str) -> None:
    assert len(text.strip().splitlines()) <= 30


async def test_files_in_a_folder_answer_like_what_is_built_in(plugins: Path) -> None:
    async with Analyzer.create(settings(plugins)) as analyzer:
        picture = analyzer.open(encode_png(np.full((10, 20, 3), 51, np.uint8)))
        tasks = [
            analyzer.bind(Task("a", "measure_brightness")),
            analyzer.bind(Task("b", "embed_clip", {"model": "brightness"})),
        ]
        measured, embedded = await analyzer.analyze(picture, tasks)
    assert measured.status is Status.OK
    assert measured.answer is not None
    assert measured.answer.data.percent == 20.0
    assert measured.answer.model is not None
    assert measured.answer.model.name == "brightness"
    assert embedded.answer is not None
    np.testing.assert_allclose(embedded.answer.data.vector, [0.2], rtol=1e-6)


async def test_a_second_claim_to_a_name_stops_the_start_and_names_both(plugins: Path) -> None:
    (plugins / "operations" / "copy.py").write_text(OPERATION)
    with pytest.raises(
        ConfigurationError, match=r"'measure_brightness'.*operations\.brightness.*operations\.copy"
    ):
        Analyzer.create(settings(plugins))


async def test_a_broken_plug_in_stops_the_start_and_is_named(plugins: Path) -> None:
    (plugins / "models" / "broken.py").write_text("import nowhere_to_be_found")
    with pytest.raises(ConfigurationError, match=r"'broken\.py' does not import: ModuleNotFoundError"):
        Analyzer.create(settings(plugins))
