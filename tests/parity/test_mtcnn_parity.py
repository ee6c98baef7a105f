"""Sightline's cascade beside facenet-pytorch's, with the weights of its wheel, picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data, transform

from sightline.imaging import ImageLimits, View, encode_png, open_picture, resize
from sightline.models.mtcnn import CARD, load
from sightline.models.mtcnn.cascade import FaceCascade
from sightline.runtime.graphs import Graphs
from sightline.settings import Settings

facenet_pytorch = pytest.importorskip("facenet_pytorch")

pytestmark = pytest.mark.parity

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


def face(size: int) -> Pixels:
    return resize(data.astronaut()[:300, 100:400], size, size, "bicubic")


def pasted(background: Pixels, *places: tuple[int, int, int]) -> Pixels:
    """The astronaut's head at each (x, y, size)."""
    pixels = background.copy()
    for x, y, size in places:
        pixels[y : y + size, x : x + size] = face(size)
    return pixels


def turned(pixels: Pixels, degrees: float) -> Pixels:
    return np.rint(transform.rotate(pixels, degrees, mode="edge") * 255).astype(np.uint8)


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(pixels.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


def noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(1).normal(0, 15, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


# Name → (picture, faces that facenet-pytorch finds). The counts guard against a test of nothing.
PICTURES: dict[str, tuple[Callable[[], Pixels], int]] = {
    "astronaut": (data.astronaut, 1),
    "mirrored": (lambda: data.astronaut()[:, ::-1], 1),
    "upside down": (lambda: data.astronaut()[::-1], 0),
    "portrait crop": (lambda: data.astronaut()[0:400, 120:330], 1),
    "odd sides": (lambda: data.astronaut()[3:306, 51:398], 1),
    "tight crop": (lambda: data.astronaut()[55:180, 175:275], 1),
    "cut by the edge": (lambda: data.astronaut()[75:300, 200:400], 1),
    "enlarged": (lambda: resize(data.astronaut(), 1100, 1100, "bicubic"), 1),
    "reduced": (lambda: resize(data.astronaut(), 150, 150, "bicubic"), 1),
    "tiny": (lambda: resize(data.astronaut(), 64, 64, "bicubic"), 1),
    "stretched": (lambda: resize(data.astronaut(), 900, 500, "bicubic"), 1),
    "turned left": (lambda: turned(data.astronaut(), 12), 1),
    "turned right": (lambda: turned(data.astronaut(), -17), 1),
    "grey": (lambda: grey(data.astronaut()), 1),
    "dark": (lambda: data.astronaut() // 5, 1),
    "noisy": (lambda: noisy(data.astronaut()), 1),
    "coffee": (data.coffee, 0),
    "cat": (data.chelsea, 0),
    "rocket": (data.rocket, 0),
    "landscape, three sizes": (
        lambda: pasted(
            resize(data.coffee(), 1280, 720, "bicubic"), (40, 60, 400), (600, 300, 200), (1000, 90, 90)
        ),
        3,
    ),
    "portrait, two on a cat": (
        lambda: pasted(resize(data.chelsea(), 480, 853, "bicubic"), (30, 40, 300), (200, 500, 250)),
        2,
    ),
    "a crowd": (
        lambda: pasted(
            resize(data.rocket(), 1024, 768, "bicubic"),
            *((110 * column + 5, 120 * row + 5, 70 + 8 * row) for row in range(6) for column in range(9)),
        ),
        54,
    ),
    "two megapixels": (
        lambda: pasted(resize(data.coffee(), 1921, 1081, "bicubic"), (100, 50, 900), (1200, 300, 500)),
        2,
    ),
    "noise": (lambda: np.random.default_rng(7).integers(0, 256, (333, 444, 3), dtype=np.uint8), 0),
}


@cache
def picture(name: str) -> Pixels:
    return np.ascontiguousarray(PICTURES[name][0]())


@cache
def expected(name: str) -> list[tuple[Floats, float, Floats]]:
    """Box, probability and landmarks of each face, by facenet-pytorch."""
    boxes, scores, landmarks = _reference().detect(picture(name), landmarks=True)
    if boxes is None:
        return []
    return [
        (np.array(box, float), float(score), np.array(points, float))
        for box, score, points in zip(boxes, scores, landmarks, strict=True)
    ]


@cache
def _reference() -> Any:
    return facenet_pytorch.MTCNN(keep_all=True)


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FaceCascade:
    wheel = Path(facenet_pytorch.__file__).parent / "data"
    folder = tmp_path_factory.mktemp("mtcnn")
    files = {}
    for artifact in CARD.artifacts:
        if not artifact.intermediate:
            files[artifact.name] = folder / artifact.name
            name = artifact.name.replace(".onnx", ".pt")
            artifact.sources[0].build({name: wheel / name}, files[artifact.name], lambda *_: None)  # type: ignore[union-attr]
    return load(files, Graphs(Settings(graph_runtime=request.param)))


@pytest.mark.parametrize("name", PICTURES)
def test_same_faces(name: str, detector: FaceCascade) -> None:
    view = View(open_picture(encode_png(picture(name)), ImageLimits.from_settings(Settings())), None)
    (found,) = detector.infer([detector.prepare(view)])
    wanted = list(expected(name))

    assert len(found) == len(wanted) == PICTURES[name][1]
    for ours in found:
        box = np.array([ours.box.x_min, ours.box.y_min, ours.box.x_max, ours.box.y_max])
        nearest = min(range(len(wanted)), key=lambda index: float(np.abs(wanted[index][0] - box).max()))
        their_box, their_score, their_landmarks = wanted.pop(nearest)
        assert box == pytest.approx(their_box, abs=1)
        assert ours.score == pytest.approx(their_score, abs=1e-3)
        assert np.array(ours.landmarks) == pytest.approx(their_landmarks, abs=1)
