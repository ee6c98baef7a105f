"""Full-size Faster R-CNN on photographs of many shapes, against torchvision with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

torch = pytest.importorskip("torch", reason="parity is checked in the parity environment (make parity)")
transforms = pytest.importorskip("torchvision.models.detection.transform")
batched_nms = pytest.importorskip("torchvision.ops").batched_nms
GeneralizedRCNNTransform = transforms.GeneralizedRCNNTransform

from bench import originals  # noqa: E402

from sightline.capabilities.detection import PERSON  # noqa: E402
from sightline.imaging import ImageLimits, View, encode_png, open_picture, resize  # noqa: E402
from sightline.models.fasterrcnn import CARD  # noqa: E402
from sightline.models.fasterrcnn.categories import CATEGORIES  # noqa: E402
from sightline.models.fasterrcnn.scaling import scale  # noqa: E402
from sightline.models.fasterrcnn.suppression import suppress  # noqa: E402
from sightline.networks.fasterrcnn import FasterRcnn  # noqa: E402
from sightline.settings import GraphRuntime, Precision  # noqa: E402
from sightline.types import Box, Detection  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

Pixels = NDArray[np.uint8]

PHOTOS: dict[str, Callable[[], Pixels]] = {
    "square": data.astronaut,
    "landscape": lambda: data.coffee()[:, 20:560],
    "portrait": lambda: np.ascontiguousarray(data.rocket()[:, 150:400]),
    "full HD": lambda: resize(data.chelsea(), 1920, 1080, "bicubic"),
    "tiny": lambda: resize(data.astronaut(), 43, 31, "bicubic"),
    "strip": lambda: data.coffee()[180:240],
    "side below 800 by rounding": lambda: resize(data.chelsea(), 737, 601, "bicubic"),
}


@dataclass
class Pair:
    """The model twice: in torchvision, and as it is pulled."""

    original: Any
    pulled: Any


@pytest.fixture(scope="module")
def pair(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Published as in 2019: names of then, and the format before torch 1.6."""
    path = tmp_path_factory.mktemp("fasterrcnn") / "published.pth"
    torch.save(originals.drawn(FasterRcnn(), 2), path, _use_new_zipfile_serialization=False)
    hub.publish_artifact(CARD.artifacts[0], path)
    return Pair(originals.fasterrcnn(2), hub.pull(CARD.name))


@pytest.fixture(scope="module", params=[GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME])
def detector(request: pytest.FixtureRequest, pair: Pair) -> Any:
    return pair.pulled.load(Precision.F32, request.param)


@pytest.fixture(scope="module")
def wanted(pair: Pair) -> Callable[[str], list[Detection]]:
    """torchvision's detections of a photo, in its order."""

    @cache
    def detect(name: str) -> list[Detection]:
        image = torch.from_numpy(photo(name).copy()).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            answer = pair.original([image])[0]
        found = zip(
            answer["boxes"].tolist(), answer["scores"].tolist(), answer["labels"].tolist(), strict=True
        )
        return [Detection(Box(*box), score, CATEGORIES[label]) for box, score, label in found]

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
def test_same_things(name: str, detector: Any, wanted: Callable[[str], list[Detection]]) -> None:
    (found,) = detector.infer([detector.prepare(view_of(photo(name)))])
    theirs = list(wanted(name))
    assert len(found) == len(theirs) >= 20, "a test of nothing"
    assert found[0].score > 0.5
    scores = [thing.score for thing in found]
    assert scores == sorted(scores, reverse=True)
    furthest = least_alike = 0.0
    for ours in found:
        alike = [their for their in theirs if their.label == ours.label]
        nearest = min(alike, key=lambda their: distance(ours, their))
        theirs.remove(nearest)
        furthest = max(furthest, distance(ours, nearest))
        least_alike = max(least_alike, abs(ours.score - nearest.score))
    print(f"{len(found)} things, boxes within {furthest:.1e} pixels, scores within {least_alike:.1e}")
    assert furthest <= 0.5
    assert least_alike <= 1e-3


def test_there_are_persons_among_other_things(wanted: Callable[[str], list[Detection]]) -> None:
    """Guards what the tests above are worth."""
    labels = {name: {thing.label for thing in wanted(name)} for name in PHOTOS}
    assert sum(PERSON in found for found in labels.values()) >= 4
    assert sum(len(found) >= 4 for found in labels.values()) >= 4


@pytest.mark.parametrize("size", [(480, 640), (601, 737), (1080, 1920), (31, 43), (1200, 333), (3000, 4000)])
def test_same_pixels_reach_the_network(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    transform = GeneralizedRCNNTransform(800, 1333, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).eval()
    theirs = transform([image])[0]
    ours = scale(view_of(pixels))
    assert theirs.image_sizes == [(ours.height, ours.width)]
    np.testing.assert_allclose(ours.image, theirs.tensors.numpy(), atol=2e-5)


@pytest.mark.parametrize("count", [40, 900, 3000])
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_same_boxes_are_suppressed(count: int, threshold: float) -> None:
    generator = np.random.default_rng(count)
    corners = generator.uniform(0, 6 * count**0.5, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(30, 90, (count, 2))], 1).astype(np.float32)
    scores = generator.random(count, np.float32)
    groups = generator.integers(0, 7, count)
    theirs = batched_nms(*(torch.from_numpy(each) for each in (boxes, scores, groups)), threshold)
    assert 1 < len(theirs) < count
    assert suppress(boxes, scores, groups, threshold).tolist() == theirs.tolist()
