"""The detector on graphs that say where they see white: what it asks, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.errors import ModelBroken
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import GraphOptions, TensorSpec
from sightline.models.megadetector import CARD, DETECTOR, load
from sightline.models.megadetector.detector import LABELS, AnimalDetector
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Settings
from sightline.types import Box

OURS = TensorSpec("pixels", "uint8", (None, None, None, 3))
USUAL = TensorSpec("images", "float32", (None, 3, None, None))
CANDIDATES = TensorSpec("candidates", "float32", (None, None, 8))


class WhiteGraph:
    """Finds the box around everything white, and says so to class 2."""

    def __init__(self, spec: TensorSpec, *outputs: TensorSpec) -> None:
        self.inputs = (spec,)
        self.outputs = outputs or (CANDIDATES,)
        self.seen: list[Any] = []

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        (batch,) = inputs.values()
        self.seen.append(batch)
        first = batch.transpose(0, 3, 1, 2) if batch.dtype == np.uint8 else batch
        white = (first == (255 if batch.dtype == np.uint8 else 1)).all(axis=1)
        answers = np.zeros((len(batch), 5, 8), np.float32)
        for answer, where in zip(answers, white, strict=True):
            rows, columns = np.nonzero(where)
            if len(rows):
                y = rows.min(), rows.max() + 1
                x = columns.min(), columns.max() + 1
                answer[3] = [sum(x) / 2, sum(y) / 2, x[1] - x[0], y[1] - y[0], 0.8, 0, 0, 0.5]
                answer[1] = [10, 10, 20, 20, 0.9, 0, 0.9, 0]
        found = [answers.astype(batch.dtype) if batch.dtype == np.float16 else answers]
        return [*found, *(np.zeros((1, 3, 2, 2, 8), np.float32) for _ in self.outputs[1:])]


def photo(width: int, height: int, *corners: int) -> View:
    pixels = np.full((height, width, 3), 60, np.uint8)
    x_min, y_min, x_max, y_max = corners
    pixels[y_min:y_max, x_min:x_max] = 255
    return View(open_picture(encode_png(pixels), ImageLimits(10**8, 10**8, 10**5)))


@pytest.mark.parametrize(
    "spec",
    [
        OURS,
        USUAL,
        TensorSpec("pixels", "uint8", (None, 1280, 1280, 3)),
        TensorSpec("images", "float32", (1, 3, 640, 640)),
        TensorSpec("images", "float16", (None, 3, 640, 640)),
    ],
    ids=str,
)
def test_every_signature_finds_the_same(spec: TensorSpec) -> None:
    detector = AnimalDetector(WhiteGraph(spec))
    items = [detector.prepare(photo(1280, 640, 320, 160, 640, 480)) for _ in range(2)]
    for found in detector.infer(items):
        assert [thing.label for thing in found] == ["human", "vehicle"]
        assert [thing.score for thing in found] == pytest.approx([0.81, 0.4], rel=1e-3)
        assert found[1].box == Box(320, 160, 640, 480)
        assert all(isinstance(thing.score, float) for thing in found)


def test_photos_of_one_shape_are_computed_together() -> None:
    graph = WhiteGraph(OURS)
    detector = AnimalDetector(graph)
    wide, tall = photo(1280, 640, 0, 0, 64, 64), photo(640, 1280, 10, 20, 74, 84)
    items = [detector.prepare(view) for view in (wide, tall, wide)]
    found = detector.infer(items)
    assert [batch.shape for batch in graph.seen] == [(2, 640, 1280, 3), (1, 1280, 640, 3)]
    assert [things[1].box for things in found] == [Box(0, 0, 64, 64), Box(10, 20, 74, 84), Box(0, 0, 64, 64)]


def test_a_graph_of_one_photo_gets_them_one_by_one() -> None:
    graph = WhiteGraph(TensorSpec("images", "float32", (1, 3, 640, 640)))
    detector = AnimalDetector(graph)
    detector.infer([detector.prepare(photo(640, 640, 0, 0, 64, 64))] * 3)
    assert [batch.shape for batch in graph.seen] == [(1, 3, 640, 640)] * 3
    assert graph.seen[0].max() == 1


def test_nothing_is_found_in_nothing() -> None:
    detector = AnimalDetector(WhiteGraph(OURS))
    assert detector.infer([detector.prepare(photo(64, 64, 0, 0, 0, 0))]) == [[]]
    assert detector.infer([]) == []


def test_outputs_besides_the_candidates_are_passed_over() -> None:
    raw = TensorSpec("339", "float32", (None, 3, None, None, 8))
    graph = WhiteGraph(USUAL, TensorSpec("output", "float32", (None, None, 8)), raw, raw)
    detector = AnimalDetector(graph)
    (found,) = detector.infer([detector.prepare(photo(640, 640, 64, 64, 128, 128))])
    assert found[1].box == Box(64, 64, 128, 128)


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("images", "float32", (None, 3, 640, 1280)),
        TensorSpec("images", "float32", (None, 640, 640, 3)),
        TensorSpec("images", "uint8", (None, 3, 640, 640)),
        TensorSpec("images", "int64", (None, 3, None, None)),
        TensorSpec("images", "float32", (None, 3)),
    ],
    ids=str,
)
def test_another_input_is_refused(spec: TensorSpec) -> None:
    with pytest.raises(ModelBroken, match=r"must read uint8 \[N, H, W, 3\] or float"):
        AnimalDetector(WhiteGraph(spec))


def test_another_output_is_refused() -> None:
    """Such as that of a network of 80 classes."""
    with pytest.raises(ModelBroken, match=r"must answer \[N, candidates, 8\]; it answers output0 "):
        AnimalDetector(WhiteGraph(USUAL, TensorSpec("output0", "float32", (1, 25500, 85))))


def test_the_card_tells_of_the_contested_licence() -> None:
    assert CARD.capabilities == {ANIMAL_BOXES}
    assert "contested" in CARD.licence
    assert "AGPL-3.0" in CARD.licence
    assert LABELS == ("animal", "human", "vehicle")


# -- files -------------------------------------------------------------------------------------------------


def usual_graph(path: Path, side: int) -> Path:
    """An ONNX file with the signature of YOLOv5's own export: one candidate, as likely as all is bright."""
    box = np.array([[[side / 2, side / 2, side / 2, side / 4]]], np.float32)
    sure = np.array([[[1.0, 0.0, 0.0]]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean", "shape"], ["bright"]),
        helper.make_node("Concat", ["box", "bright", "sure"], ["output0"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "usual",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 1, 8])],
        [
            numpy_helper.from_array(box, "box"),
            numpy_helper.from_array(sure, "sure"),
            numpy_helper.from_array(np.array([1, 1, 1]), "shape"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("runtime", [GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME])
def test_an_onnx_file_made_elsewhere(runtime: GraphRuntime, tmp_path: Path) -> None:
    path = usual_graph(tmp_path / DETECTOR, 640)
    detector = load({DETECTOR: path}, Graphs(Settings(graph_runtime=runtime)))
    (found,) = detector.infer([detector.prepare(photo(400, 200, 0, 0, 400, 200))])
    # Half of the square is white and half grey. The box is as wide as half of it, in the photo's middle.
    assert found[0].label == "animal"
    assert found[0].score == pytest.approx((1 + 114 / 255) / 2, abs=1e-3)
    assert found[0].box == Box(100, 50, 300, 150)


def test_it_is_loaded_as_a_detector() -> None:
    asked: list[GraphOptions] = []

    def graphs(path: Path, options: GraphOptions) -> Any:
        asked.append(options)
        return WhiteGraph(OURS)

    load({DETECTOR: Path("somewhere")}, graphs)
    assert asked == [GraphOptions(detects=True)]
