"""The real weights, pulled once into pytest's cache, and pictures as models see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models.mtcnn import CARD, load
from sightline.models.mtcnn.cascade import FaceCascade
from sightline.runtime.graphs import Graphs
from sightline.settings import Settings
from sightline.weights.store import Store, Wanted

Pixels = NDArray[np.uint8]
MakeView = Callable[[Pixels], View]


@pytest.fixture(scope="session")
def store_dir(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache is not None
    return request.config.cache.mkdir("sightline-models")


@pytest.fixture(scope="session")
def released(store_dir: Path) -> Mapping[str, Path]:
    """The files of the wheel, ``pnet.pt`` and so on, as they were released."""
    raw = tuple(artifact for artifact in CARD.artifacts if artifact.intermediate)
    kept = tuple(
        type(artifact)(artifact.name, artifact.sources, artifact.sha256, artifact.size_bytes)
        for artifact in raw
    )
    return Store(store_dir).pull(_wanted("mtcnn-released", kept)).files


@pytest.fixture(scope="session")
def files(released: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The ONNX files, built as the store builds them."""
    folder = tmp_path_factory.mktemp("mtcnn")
    built = {}
    for artifact in CARD.artifacts:
        if not artifact.intermediate:
            built[artifact.name] = folder / artifact.name
            artifact.sources[0].build(released, built[artifact.name], lambda *_: None)  # type: ignore[union-attr]
    return built


@pytest.fixture(scope="session")
def graphs() -> Graphs:
    return Graphs(Settings(threads=2))


@pytest.fixture(scope="session")
def detector(files: Mapping[str, Path], graphs: Graphs) -> FaceCascade:
    return load(files, graphs)


@pytest.fixture(scope="session")
def make_view() -> MakeView:
    limits = ImageLimits.from_settings(Settings())
    return lambda pixels: View(open_picture(encode_png(pixels), limits), None)


@pytest.fixture(scope="session")
def astronaut() -> Pixels:
    pixels: Pixels = data.astronaut()
    return pixels


def _wanted(name: str, artifacts: tuple[object, ...]) -> Wanted:
    return Wanted(
        model=name,
        artifacts=artifacts,  # type: ignore[arg-type]
        licence=CARD.licence,
        homepage=CARD.homepage,
        preprocessing=CARD.preprocessing,
    )
