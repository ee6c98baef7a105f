"""Squares and image towers, on small graphs of both signatures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sightline.errors import ModelBroken
from sightline.imaging import ImageLimits, View, open_picture
from sightline.models import Graph
from sightline.models.embedders import ImageTower, Square
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Settings
from sightline.types import PixelBox

SQUARE = Square(short_side=32, size=28, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


def view_of(pixels: np.ndarray, box: PixelBox | None = None) -> View:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return View(open_picture(buffer.getvalue(), ImageLimits(10**8, 10**8, 10**5)), box)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width + 1000 * height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def graph(
    folder: Path, shape: list[int | str], dtype: int = TensorProto.UINT8, outputs: tuple[str, ...] = ("y",)
) -> Graph:
    """Means over all but the first dimension and the channels, under each name of ``outputs``."""
    axes = [index for index, size in enumerate(shape) if index and size != 3]
    nodes = [helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("ReduceMean", ["floats", "axes"], [name], keepdims=0) for name in outputs]
    proto = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "graph.onnx")
    return Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME))(folder / "graph.onnx")


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["even", "down"]))
@settings(max_examples=40, deadline=None)
def test_the_middle_is_cut_after_resizing(
    require_same_pixels: Any, width: int, height: int, halves: str
) -> None:
    square = Square(short_side=32, size=28, mean=SQUARE.mean, std=SQUARE.std, halves=halves)
    image = Image.fromarray(noise(width, height))
    size = (32, int(32 * height / width)) if width <= height else (int(32 * width / height), 32)
    kernel = Image.Resampling.BICUBIC
    resized = np.asarray(image.resize((size[0], height), kernel).resize(size, kernel))
    top, left = (
        (side - 28) // 2 if halves == "down" else round((side - 28) / 2) for side in resized.shape[:2]
    )
    found = square.cut(view_of(np.asarray(image)))
    require_same_pixels(found, resized[top : top + 28, left : left + 28])
    assert found.shape == (28, 28, 3)
    assert found.base is None, "a queued item must hold nothing but itself"


def test_a_part_is_cut_as_if_it_were_the_picture() -> None:
    pixels = noise(80, 60)
    part = SQUARE.cut(view_of(pixels, PixelBox(7, 9, 57, 49)))
    np.testing.assert_array_equal(part, SQUARE.cut(view_of(pixels[9:49, 7:57])))


def test_normalise_is_the_usual_formula() -> None:
    pixels = np.stack([noise(5, 7), noise(5, 7)])
    wanted = ((pixels / 255.0 - np.array(SQUARE.mean)) / np.array(SQUARE.std)).transpose(0, 3, 1, 2)
    found = SQUARE.normalise(pixels)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_graph_of_bytes_gets_bytes(tmp_path: Path) -> None:
    tower = ImageTower(graph(tmp_path, ["n", 28, 28, 3]), SQUARE)
    items = [tower.prepare(view_of(noise(width, 40))) for width in (50, 60, 70)]
    for item, vector in zip(items, tower.infer(items), strict=True):
        assert vector.dtype == np.float32
        assert vector.base is None
        np.testing.assert_allclose(vector, item.mean((0, 1)), rtol=1e-5)


def test_a_graph_of_floats_gets_normalised_planes(tmp_path: Path) -> None:
    tower = ImageTower(graph(tmp_path, ["n", 3, "h", "w"], TensorProto.FLOAT), SQUARE)
    item = tower.prepare(view_of(noise(50, 40)))
    wanted = (item.mean((0, 1)) / 255 - np.array(SQUARE.mean)) / np.array(SQUARE.std)
    np.testing.assert_allclose(tower.infer([item])[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (["n", 32, 32, 3], TensorProto.UINT8),
        (["n", 3, 28, 28], TensorProto.UINT8),
        (["n", 28, 28, 3], TensorProto.FLOAT),
        (["n", 3, 28], TensorProto.FLOAT),
        (["n", 28, 28, 3], TensorProto.INT64),
    ],
)
def test_a_graph_that_reads_something_else_is_refused(
    tmp_path: Path, shape: list[int | str], dtype: int
) -> None:
    with pytest.raises(ModelBroken, match=r"uint8 \[N, 28, 28, 3\] or float32 \[N, 3, 28, 28\]"):
        ImageTower(graph(tmp_path, shape, dtype), SQUARE)


def test_of_several_outputs_the_one_of_the_right_name_is_read(tmp_path: Path) -> None:
    ImageTower(graph(tmp_path, ["n", 28, 28, 3], outputs=("other", "image_embeds")), SQUARE)
    with pytest.raises(ModelBroken, match="image_embeds; it has other, another"):
        ImageTower(graph(tmp_path, ["n", 28, 28, 3], outputs=("other", "another")), SQUARE)
