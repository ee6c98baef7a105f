"""The full-size detector against OpenCV, torchvision and its own network in torch, on real photographs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

torch = pytest.importorskip("torch", reason="parity is checked in the parity environment (make parity)")
cv2 = pytest.importorskip("cv2")
nms = pytest.importorskip("torchvision.ops").nms

from bench import originals, yolov5x6  # noqa: E402

from sightline.imaging import ImageLimits, View, encode_png, open_picture, resize, resize_linear  # noqa: E402
from sightline.models.megadetector import CARD  # noqa: E402
from sightline.models.megadetector.detector import LABELS  # noqa: E402
from sightline.models.megadetector.letterbox import letterbox  # noqa: E402
from sightline.models.megadetector.suppression import choose  # noqa: E402
from sightline.settings import GraphRuntime, Precision  # noqa: E402
from sightline.types import Box, Detection  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

Pixels = NDArray[np.uint8]

PHOTOS: dict[str, Callable[[], Pixels]] = {
    "landscape": data.chelsea,
    "portrait": lambda: np.ascontiguousarray(data.rocket()[:, 150:400]),
    "full HD": lambda: resize(data.coffee(), 1920, 1080, "bicubic"),
}
SIZES = [
    (480, 640), (1080, 1920), (1536, 2048), (1920, 2560), (3000, 4000), (37, 53), (853, 1280), (1281, 1279),
    (1, 1), (2, 900), (640, 640),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_level_differs_from_opencv(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    ratio = 1280 / max(size)
    height, width = (max(round(side * ratio), 1) for side in size)
    theirs = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize_linear(pixels, width, height), theirs)


@settings(max_examples=200, deadline=None)
@given(*(st.integers(1, 120) for _ in range(4)), st.integers(0, 99))
def test_no_level_differs_from_opencv_at_any_size(h: int, w: int, height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    theirs = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize_linear(pixels, width, height), theirs)


def letterboxed(pixels: Pixels) -> Pixels:
    """By OpenCV, in the order in which the reference does it."""
    height, width = pixels.shape[:2]
    ratio = min(1280 / height, 1280 / width)
    inner = round(width * ratio), round(height * ratio)
    spare = [((1280 - side) % 64) / 2 for side in inner]
    scaled = pixels if inner == (width, height) else cv2.resize(pixels, inner, interpolation=cv2.INTER_LINEAR)
    left, right = round(spare[0] - 0.1), round(spare[0] + 0.1)
    top, bottom = round(spare[1] - 0.1), round(spare[1] + 0.1)
    filled = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return np.asarray(filled)


@pytest.mark.parametrize("size", [size for size in SIZES if min(size) > 2], ids=str)
def test_same_pixels_reach_the_network(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    assert np.array_equal(letterbox(view_of(pixels)).image, letterboxed(pixels))


def chosen(answer: Any) -> tuple[Any, Any, Any]:
    """Corners, scores and classes by torch and torchvision."""
    answer = answer[answer[:, 4] > 0.01].clone()
    answer[:, 5:] *= answer[:, 4:5]
    half = answer[:, 2:4] / 2
    corners = torch.cat([answer[:, :2] - half, answer[:, :2] + half], 1)
    scores, classes = answer[:, 5:].max(1)
    likely = scores > 0.01
    corners, scores, classes = corners[likely], scores[likely], classes[likely]
    order = scores.argsort(descending=True, stable=True)[:30000]
    corners, scores, classes = corners[order], scores[order], classes[order]
    kept = nms(corners + classes[:, None].float() * 7680, scores, 0.45)[:300]
    return corners[kept], scores[kept], classes[kept]


@pytest.mark.parametrize("count", [0, 1, 40, 900, 5000, 40000])
def test_same_boxes_are_chosen(count: int) -> None:
    generator = np.random.default_rng(count)
    side = 30 * count**0.5
    rows = np.concatenate(
        [
            generator.uniform(0, side, (count, 2)),
            generator.uniform(20, 120, (count, 2)),
            generator.random((count, 4)) ** 2,
        ],
        1,
    ).astype(np.float32)
    theirs = chosen(torch.from_numpy(rows))
    ours = choose(rows)
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one, other.numpy())
    assert len(ours[1]) == min(count, 300) or 1 < len(ours[1]) < count


# -- the network -------------------------------------------------------------------------------------------


@dataclass
class Pair:
    """The model twice: in torch, and as it is pulled."""

    original: Any
    pulled: Any


@pytest.fixture(scope="module")
def pair(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    original = originals.megadetector(0).half()
    path = tmp_path_factory.mktemp("megadetector") / "published.pt"
    save_as_trained(original, path)
    hub.publish_artifact(CARD.artifacts[0], path)
    return Pair(original.float(), hub.pull(CARD.name))


def save_as_trained(network: Any, path: Path) -> None:
    """The modules whole, in half precision, of classes of the training code, beside what training leaves."""
    home = ModuleType("models.common")
    kinds = {type(part) for part in network.modules() if type(part).__module__ == yolov5x6.__name__}
    for kind in kinds:
        kind.__module__ = home.__name__
        setattr(home, kind.__name__, kind)
    sys.modules |= {"models": ModuleType("models"), home.__name__: home}
    content = {"epoch": -1, "best_fitness": np.array([0.7]), "model": network, "ema": None, "optimizer": None}
    try:
        torch.save(content, path)
    finally:
        for kind in kinds:
            kind.__module__ = yolov5x6.__name__
        del sys.modules["models"], sys.modules[home.__name__]


@pytest.fixture(scope="module", params=[GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME])
def detector(request: pytest.FixtureRequest, pair: Pair) -> Any:
    return pair.pulled.load(Precision.F32, request.param)


@pytest.fixture(scope="module")
def wanted(pair: Pair) -> Callable[[str], list[Detection]]:
    """Detections by OpenCV, torch and torchvision, likeliest first."""

    @cache
    def detect(name: str) -> list[Detection]:
        pixels = photo(name)
        image = letterboxed(pixels)
        tensor = torch.from_numpy(image / 255).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            corners, scores, classes = chosen(pair.original(tensor)[0])
        corners = corners.numpy().copy()  # rounds halves to the even number, as torch does
        ratio = min(image.shape[0] / pixels.shape[0], image.shape[1] / pixels.shape[1])
        for axis in (0, 1):
            side = pixels.shape[1 - axis]
            corners[:, axis::2] -= (image.shape[1 - axis] - side * ratio) / 2
            corners[:, axis::2] /= ratio
            corners[:, axis::2] = corners[:, axis::2].clip(0, side)
        found = zip(corners.round().tolist(), scores.tolist(), classes.tolist(), strict=True)
        return [Detection(Box(*box), score, LABELS[label]) for box, score, label in found]

    return detect


@cache
def photo(name: str) -> Pixels:
    return PHOTOS[name]()


def view_of(pixels: Pixels) -> View:
    return View(open_picture(encode_png(pixels), ImageLimits(10**8, 10**8, 10**5)))


def distance(one: Detection, other: Detection) -> float:
    """In pixels, of the corner coordinates furthest apart."""
    corners = [[each.box.x_min, each.box.y_min, each.box.x_max, each.box.y_max] for each in (one, other)]
    return float(np.abs(np.subtract(*corners)).max())


@pytest.mark.parametrize("name", PHOTOS)
def test_same_animals(name: str, detector: Any, wanted: Callable[[str], list[Detection]]) -> None:
    """The 50 likeliest, which is all that anybody looks at: boxes at most a pixel apart, as a rounding is."""
    (found,) = detector.infer([detector.prepare(view_of(photo(name)))])
    theirs = list(wanted(name))
    assert len(theirs) >= 50, "a test of nothing"
    assert abs(len(found) - len(theirs)) <= 3
    assert found[0].score > 0.5
    furthest = least_alike = 0.0
    for ours in found[:50]:
        alike = [their for their in theirs if their.label == ours.label]
        nearest = min(alike, key=lambda their: (distance(ours, their), abs(their.score - ours.score)))
        theirs.remove(nearest)
        furthest = max(furthest, distance(ours, nearest))
        least_alike = max(least_alike, abs(ours.score - nearest.score))
    print(f"{len(found)} things, boxes within {furthest:g} pixels, scores within {least_alike:.1e}")
    assert furthest <= 1
    assert least_alike <= 1e-3


def test_a_batch_answers_as_its_photos_do(detector: Any) -> None:
    items = [detector.prepare(view_of(photo(name))) for name in ("landscape", "full HD", "landscape")]
    together = detector.infer(items)
    assert together[0] == together[2]
    (alone,) = detector.infer(items[:1])
    for ours, theirs in zip(together[0][:20], alone[:20], strict=True):
        assert ours.label == theirs.label
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        assert distance(ours, theirs) <= 1
