"""Photos of one colour, and a model that sees and reads colours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.libraries import Shelf
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings

COLOURS = """
import os
import numpy as np
from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.models import ModelCard, ModelDefinition

NAMES = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}

class Seeing:
    def prepare(self, view):
        return view.pixels().mean(axis=(0, 1)) / 255 + 0.01

    def infer(self, items):
        return [np.asarray(item, np.float32) for item in items]

class Reading:
    def prepare(self, text):
        return sum((np.array(NAMES[word]) for word in text.split() if word in NAMES), np.full(3, 0.01))

    def infer(self, items):
        return [np.asarray(item, np.float32) for item in items]

def model(name, capability, kind, space):
    card = ModelCard(
        name=name, capabilities=frozenset({capability}), description="d", licence="CC0-1.0",
        homepage="https://example.org", preprocessing=os.environ.get("STAND_IN_TAG", "p1"), parameters=0,
        multiply_adds=0, max_batch=4, space=space,
    )
    return ModelDefinition(card, lambda files, graphs: kind())

MODELS = (
    model("seeing", IMAGE_EMBEDDING, Seeing, "colours"),
    model("reading", TEXT_EMBEDDING, Reading, "colours"),
    model("mute", IMAGE_EMBEDDING, Seeing, "mute"),
)
"""

OPERATION = """
from sightline.operations import Answer, Operation, Params, Result, TimingGroup

class Brightness(Result):
    level: float
    name: str

class BrightnessOperation(Operation):
    name = "brightness"
    description = "Says how bright the picture is."
    needs = ()
    Params = Params
    Result = Brightness
    example = {}
    timing_group = TimingGroup.DETECTION

    async def run(self, scene, params, models):
        level = float(scene.picture.rgb().mean())
        return Answer(Brightness(level=level, name="bright" if level > 150 else "gloomy"))

    def words(self, result):
        return f"rather {result.name}"

OPERATIONS = (BrightnessOperation(),)
"""


@pytest.fixture
def plugins_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    for kind, text in (("models", COLOURS), ("operations", OPERATION)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "colours.py").write_text(text)
    return folder


@pytest.fixture
def settings(tmp_path: Path, plugins_dir: Path) -> Settings:
    return Settings(
        models_dir=tmp_path / "models",
        libraries_dir=tmp_path / "libraries",
        library_space="colours",
        plugins_dir=plugins_dir,
        offline=True,
        lame_duck_s=0,
        rate_limit_requests=0,
    )


@pytest.fixture
async def analyzer(settings: Settings) -> AsyncIterator[Analyzer]:
    async with Analyzer.create(settings) as analyzer:
        yield analyzer


@pytest.fixture
def shelf(settings: Settings) -> Shelf:
    return Shelf(settings.libraries_dir)


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Writes a photo that is mostly of one colour, with a pattern of its own."""

    def write(path: Path, colour: tuple[int, int, int], seed: int = 0, **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pattern = np.random.default_rng(seed).integers(-20, 21, (6, 8, 1))
        pixels = np.clip(np.array(colour) + pattern, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC).save(path, **options)
        return path

    return write
