"""The detector between two graphs that are made up: what it asks them, and what it makes of their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ModelBroken
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import TensorSpec
from sightline.models.fasterrcnn import categories
from sightline.models.fasterrcnn.categories import CATEGORIES
from sightline.models.fasterrcnn.detector import CROPS, MAPS, STRIDES, ObjectDetector, map_levels
from sightline.models.fasterrcnn.pooling import BINS
from sightline.models.fasterrcnn.proposals import grids

PERSON, DOG = CATEGORIES.index("person"), CATEGORIES.index("dog")
# 400 × 800 photos: scaled by 1333 / 800 to 666 × 1333, on an image of 672 × 1344.
GRIDS = grids(672, 1344)
X, Y = np.float32(800) / np.float32(1333), np.float32(400) / np.float32(666)


def specs(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "float32", (None, None)) for name in names)


class FeaturesGraph:
    """Proposes an anchor of each (level, row, column, shape), the first one likeliest."""

    inputs = specs("image")
    outputs = specs("cells", *MAPS)

    def __init__(self, *likely: tuple[int, int, int, int]) -> None:
        self.likely = likely

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        image = inputs["image"]
        assert image.shape[2:] == (672, 1344)
        cells = np.full((sum(rows * columns for rows, columns in GRIDS), 15), -20, np.float32)
        cells[:, 3:] = 0
        for rank, (level, row, column, shape) in enumerate(self.likely):
            first = sum(rows * columns for rows, columns in GRIDS[:level])
            cells[first + row * GRIDS[level][1] + column, shape] = 10 - rank
        return [cells, *map(where, range(len(MAPS)))]


def where(level: int) -> Any:
    """A map whose cells say where they are, in pixels of the image, and which map it is."""
    rows, columns = np.indices(GRIDS[level], np.float32) * STRIDES[level]
    return np.stack([columns, rows, np.full_like(rows, level)], axis=-1)[None]


def seen(crops: Any) -> Any:
    """The boxes [n, 4] that crops of such maps were made of, and their levels [n]."""
    bins = crops.reshape(-1, BINS, BINS, 3)
    first, last = bins[:, 0, 0, :2], bins[:, -1, -1, :2]  # the middles of the outermost bins
    margin = (last - first) / (BINS - 1) / 2
    return np.concatenate([first - margin, last + margin], axis=1), bins[:, 3, 3, 2]


class BoxesGraph:
    """Answers ``see(box)``: class → (logit, offsets). Background has the logit 5, everything else -9."""

    inputs = specs(CROPS)
    outputs = specs("offsets", "logits")

    def __init__(self, see: Callable[[Any], dict[int, tuple[float, list[float]]]]) -> None:
        self.see = see
        self.asked: list[Any] = []

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        self.asked.append(inputs[CROPS])
        boxes, _ = seen(inputs[CROPS])
        logits = np.full((len(boxes), 91), -9, np.float32)
        logits[:, 0] = 5
        offsets = np.zeros((len(boxes), 364), np.float32)
        for row, box in enumerate(boxes):
            for label, (logit, moves) in self.see(box).items():
                logits[row, label] = logit
                offsets[row, 4 * label : 4 * label + 4] = moves
        return [offsets, logits]


def photo(height: int = 400, width: int = 800) -> View:
    pixels = np.zeros((height, width, 3), np.uint8)
    return View(open_picture(encode_png(pixels), ImageLimits(10**7, 10**7, 10**4)))


def detect(features: Any, boxes: Any) -> list[Any]:
    model = ObjectDetector(features, boxes)
    (found,) = model.infer([model.prepare(photo())])
    return found


def is_at(box: Any, x: float, y: float) -> bool:
    """Whether the box's middle lies there."""
    return bool(abs((box[0] + box[2]) / 2 - x) < 1 and abs((box[1] + box[3]) / 2 - y) < 1)


def test_a_box_comes_back_in_pixels_of_the_photo() -> None:
    """Anchor of 64 pixels in the middle of cell (40, 80), moved by a tenth of its sides."""
    found = detect(
        FeaturesGraph((1, 40, 80, 1)),
        BoxesGraph(lambda box: {PERSON: (9, [1.0, 2.0, 0, 0])} if is_at(box, 640, 320) else {}),
    )
    assert [(each.label, round(each.score, 4)) for each in found] == [("person", 0.982)]
    box = found[0].box
    left, top = 640 - 32 + 6.4, 320 - 32 + 12.8
    wanted = [left * X, top * Y, (left + 64) * X, (top + 64) * Y]
    assert [box.x_min, box.y_min, box.x_max, box.y_max] == pytest.approx(wanted, rel=1e-5)


def test_boxes_are_cut_at_the_photos_edge() -> None:
    found = detect(
        FeaturesGraph((3, 0, 0, 1)), BoxesGraph(lambda box: {DOG: (9, [0, 0, 0, 0])} if box[2] > 100 else {})
    )
    assert (found[0].box.x_min, found[0].box.y_min) == (0, 0)
    assert found[0].box.x_max == pytest.approx(128 * X)


def test_the_number_of_threads_decides_nothing() -> None:
    def found(threads: int) -> list[list[Any]]:
        features = FeaturesGraph((0, 3, 5, 1), (1, 40, 80, 1), (1, 10, 90, 1), (2, 20, 20, 1), (3, 5, 5, 1))
        boxes = BoxesGraph(lambda box: {PERSON: (float(box[2] % 7), [0, 0, 0, 0])})
        model = ObjectDetector(features, boxes, threads)
        return model.infer([model.prepare(photo())])

    assert found(3) == found(1)
    assert len(found(1)[0]) > 3


def test_classes_do_not_compete_and_the_surest_comes_first() -> None:
    here = [0.0, 0, 0, 0]
    found = detect(
        FeaturesGraph((1, 40, 80, 1), (1, 41, 80, 1)),
        BoxesGraph(
            lambda box: (
                {PERSON: (6.0, here), DOG: (6.5, here)} if is_at(box, 640, 320)
                else {PERSON: (5.5, here)} if is_at(box, 640, 328)
                else {}
            )
        ),
    )  # fmt: skip
    # The second person overlaps the first by more than half.
    assert [each.label for each in found] == ["dog", "person"]
    assert found[0].score > found[1].score


def test_five_percent_are_not_enough() -> None:
    """Logits 2.05 and 2.07 against a background of 5: 0.0497 and 0.0506."""
    for logit, count in ((2.05, 0), (2.07, 1)):
        boxes = BoxesGraph(
            lambda box, logit=logit: {PERSON: (logit, [0.0] * 4)} if is_at(box, 640, 320) else {}
        )
        assert len(detect(FeaturesGraph((1, 40, 80, 1)), boxes)) == count


def test_at_most_a_hundred_are_found() -> None:
    places = [(0, 8 * row + 8, 8 * column + 8, 1) for row in range(12) for column in range(12)]
    graph = BoxesGraph(lambda box: {PERSON: (8.0, [0.0] * 4)})
    found = detect(FeaturesGraph(*places), graph)
    assert len(found) == 100


def test_each_box_is_looked_up_in_its_own_map_and_gets_its_own_answer() -> None:
    places = ((4, 5, 10, 1), (0, 30, 30, 1), (3, 10, 20, 1), (1, 40, 80, 1), (2, 20, 40, 1))
    labels = {32: "person", 64: "bicycle", 128: "car", 256: "motorcycle", 512: "airplane"}
    graph = BoxesGraph(
        lambda box: {
            index + 1: (9.0, [0.0] * 4)
            for index, size in enumerate(labels)
            if abs(box[2] - box[0] - size) < 1 and abs(box[3] - box[1] - size) < 1
        }
    )
    found = detect(FeaturesGraph(*places), graph)
    by_label = {each.label: each.box.width / X for each in found}
    for size, label in labels.items():
        assert by_label[label] == pytest.approx(size, rel=1e-3)
    (asked,) = graph.asked
    assert len(asked) % 128 == 0
    boxes, levels = seen(asked)
    real = boxes[:, 2] - boxes[:, 0] > 1
    assert set(levels[real]) == {0, 1, 2, 3}
    assert levels[real].tolist() == map_levels(boxes[real].astype(np.float32)).tolist()


@given(st.floats(1, 1300, width=32), st.floats(1, 1300, width=32))
def test_a_map_fits_the_size_of_a_box(width: float, height: float) -> None:
    (level,) = map_levels(np.array([[3, 5, 3 + width, 5 + height]], np.float32))
    side = (width * height) ** 0.5
    edges = (112, 224, 448)
    if all(abs(side - edge) > 0.01 for edge in edges):
        assert level == sum(side > edge for edge in edges)


def test_items_of_a_batch_keep_their_order_and_their_own_sizes() -> None:
    model = ObjectDetector(
        FeaturesGraph((1, 40, 80, 1)), BoxesGraph(lambda box: {DOG: (9, [0.0] * 4)} if box[0] > 600 else {})
    )
    small, large = model.infer([model.prepare(photo(200, 400)), model.prepare(photo())])
    assert large[0].box.width == pytest.approx(2 * small[0].box.width, rel=0.01)


def test_a_photo_where_nothing_is_proposed_has_no_things_in_it() -> None:
    class Nothing(FeaturesGraph):
        def run(self, inputs: Mapping[str, Any]) -> list[Any]:
            cells, *maps = super().run(inputs)
            cells[:, 3:] = np.tile(np.array([-1e4, -1e4, 0, 0], np.float32), 3)  # far outside
            return [cells, *maps]

    assert detect(Nothing(), BoxesGraph(lambda box: {})) == []


def test_other_graphs_are_refused() -> None:
    class Other(FeaturesGraph):
        inputs = specs("pixels")

    with pytest.raises(ModelBroken, match="reads pixels"):
        ObjectDetector(Other(), BoxesGraph(lambda box: {}))

    class Narrow(FeaturesGraph):
        def run(self, inputs: Mapping[str, Any]) -> list[Any]:
            cells, *maps = super().run(inputs)
            return [cells[:, :12], *maps]

    with pytest.raises(ModelBroken, match="12"):
        detect(Narrow(), BoxesGraph(lambda box: {}))


def test_there_are_eighty_names_for_things() -> None:
    assert len(CATEGORIES) == 91
    names = [name for name in CATEGORIES[1:] if name != categories.UNUSED]
    assert len(set(names)) == len(names) == 80
    assert CATEGORIES[1] == "person"
