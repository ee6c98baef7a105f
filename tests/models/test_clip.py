"""CLIP's adapters: pixels and tokens in, vectors out, on small graphs with both published signatures."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.errors import InvalidParameters, ModelBroken
from sightline.imaging import ImageLimits, View, open_picture
from sightline.models import catalogue, clip
from sightline.models.clip_vocabulary import stand_in
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Settings
from sightline.types import PixelBox

DIMENSIONS = 12
START, END = 49406, 49407


def save(
    path: Path, nodes: Sequence[onnx.NodeProto], inputs: dict, outputs: dict, constants: dict[str, np.ndarray]
) -> Path:
    """``inputs`` and ``outputs`` map names to (element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


KERNEL = np.random.default_rng(3).normal(0, 0.02, (4, 3, 32, 32)).astype(np.float32)
PROJECTION = np.random.default_rng(4).normal(0, 0.3, (4 * 49, DIMENSIONS)).astype(np.float32)
TABLE = np.random.default_rng(5).normal(0, 1, (49408, DIMENSIONS)).astype(np.float32)
TAIL = [
    helper.make_node("Conv", ["planes", "kernel"], ["patches"], strides=[32, 32]),
    helper.make_node("Flatten", ["patches"], ["flat"]),
    helper.make_node("MatMul", ["flat", "projection"], ["image_embeds"]),
]
WEIGHTS = {"kernel": KERNEL, "projection": PROJECTION}
EMBEDS = {"image_embeds": (TensorProto.FLOAT, ["n", DIMENSIONS])}


def hub_graph(folder: Path, outputs: dict | None = None) -> Path:
    """The published signature: normalised float32 [N, 3, 224, 224]."""
    head = helper.make_node("Identity", ["pixel_values"], ["planes"])
    inputs = {"pixel_values": (TensorProto.FLOAT, ["n", 3, 224, 224])}
    return save(folder / "hub.onnx", [head, *TAIL], inputs, outputs or EMBEDS, WEIGHTS)


def own_graph(folder: Path) -> Path:
    """Our graph's signature: uint8 [N, 224, 224, 3], normalised inside."""
    mean, std = np.array(clip.SQUARE.mean), np.array(clip.SQUARE.std)
    head = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "offset"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    constants = {
        **WEIGHTS,
        "scale": (1 / (255 * std)).astype(np.float32),
        "offset": (mean / std).astype(np.float32),
    }
    inputs = {"pixels": (TensorProto.UINT8, ["n", 224, 224, 3])}
    return save(folder / "own.onnx", [*head, *TAIL], inputs, EMBEDS, constants)


def text_graph(folder: Path, length: int | str = "l", *, mask: bool = False) -> Path:
    """Causal: the sum of the tokens' vectors up to and with the end token."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("CumSum", ["vectors", "one"], ["sums"]),
        helper.make_node("Equal", ["input_ids", "end"], ["is_end"]),
        helper.make_node("Cast", ["is_end"], ["at_end"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["at_end", "last"], ["column"]),
        helper.make_node("Mul", ["sums", "column"], ["picked"]),
        helper.make_node("ReduceSum", ["picked", "axes"], ["read"], keepdims=0),
    ]
    inputs = {"input_ids": (TensorProto.INT64, ["n", length])}
    if mask:
        inputs["attention_mask"] = (TensorProto.INT64, ["n", length])
        nodes += [
            helper.make_node("ReduceMin", ["attention_mask"], ["least"], keepdims=0),
            helper.make_node("Cast", ["least"], ["factor"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["read", "factor"], ["text_embeds"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["read"], ["text_embeds"]))
    constants = {
        "table": TABLE,
        "one": np.array(1, np.int64),
        "axes": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "end": np.array(END, np.int64),
    }
    outputs = {"text_embeds": (TensorProto.FLOAT, ["n", DIMENSIONS])}
    return save(folder / "text.onnx", nodes, inputs, outputs, constants)


@pytest.fixture
def graphs() -> Graphs:
    return Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME))


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    stand_in().save(str(path))
    return path


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> clip.ClipText:
    files = {"text.onnx": text_graph(tmp_path_factory.mktemp("text")), "tokenizer.json": tokenizer_file}
    return load("clip-vit-b-32-text", files)


def load(name: str, files: dict[str, Path]) -> clip.ClipImage | clip.ClipText:
    definition = next(each for each in clip.MODELS if each.name == name)
    return definition.load(files, Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME)))


def view_of(image: Image.Image, box: PixelBox | None = None) -> View:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return View(open_picture(buffer.getvalue(), ImageLimits(10**8, 10**8, 10**5)), box)


def photo(width: int, height: int) -> Image.Image:
    """Smooth structure and noise, different everywhere."""
    generator = np.random.default_rng(width * 10_000 + height)
    small = Image.fromarray(generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(small).astype(np.int16) + generator.integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def reference_pixels(image: Image.Image) -> np.ndarray:
    """The reference preprocessing, written out: shorter side to 224 bicubic, middle square."""
    width, height = image.size
    size = (224, int(224 * height / width)) if width <= height else (int(224 * width / height), 224)
    # One pass after the other: which comes first in one call depends on Pillow's version.
    image = image.resize((size[0], height), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BICUBIC)
    left, top = round((image.width - 224) / 2.0), round((image.height - 224) / 2.0)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


SIZES = [(640, 480), (479, 641), (224, 224), (225, 226), (100, 60), (31, 500), (3, 2), (1001, 233)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pixels_are_those_of_the_reference(
    graphs: Graphs, tmp_path: Path, require_same_pixels: Any, width: int, height: int
) -> None:
    image = photo(width, height)
    item = clip.ClipImage(graphs(own_graph(tmp_path))).prepare(view_of(image))
    require_same_pixels(item, reference_pixels(image))


def test_a_part_is_prepared_as_if_it_were_the_picture(
    graphs: Graphs, tmp_path: Path, require_same_pixels: Any
) -> None:
    image = photo(400, 300)
    item = clip.ClipImage(graphs(own_graph(tmp_path))).prepare(view_of(image, PixelBox(50, 40, 350, 290)))
    require_same_pixels(item, reference_pixels(image.crop((50, 40, 350, 290))))


def test_a_prepared_picture_holds_nothing_but_itself(graphs: Graphs, tmp_path: Path) -> None:
    item = clip.ClipImage(graphs(own_graph(tmp_path))).prepare(view_of(photo(900, 300)))
    assert item.base is None
    assert item.nbytes == 224 * 224 * 3


def expected_vector(pixels: np.ndarray) -> np.ndarray:
    normal = (pixels / 255.0 - np.array(clip.SQUARE.mean)) / np.array(clip.SQUARE.std)
    patches = normal.reshape(7, 32, 7, 32, 3)
    maps = np.einsum("aibjc,kcij->kab", patches, KERNEL.astype(np.float64))
    return maps.reshape(-1) @ PROJECTION


@pytest.mark.parametrize("write", [own_graph, hub_graph])
def test_both_signatures_give_the_same_vectors(
    graphs: Graphs, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    model = clip.ClipImage(graphs(write(tmp_path)))
    items = [model.prepare(view_of(photo(width, height))) for width, height in SIZES[:4]]
    vectors = model.infer(items)
    assert len(vectors) == 4
    for item, vector in zip(items, vectors, strict=True):
        assert vector.shape == (DIMENSIONS,)
        assert vector.dtype == np.float32
        assert vector.base is None, "a kept vector must not keep its batch"
        np.testing.assert_allclose(vector, expected_vector(item), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("write", [own_graph, hub_graph])
def test_vectors_do_not_depend_on_the_batch(
    graphs: Graphs, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    model = clip.ClipImage(graphs(write(tmp_path)))
    items = [model.prepare(view_of(photo(width, height))) for width, height in SIZES]
    together = model.infer(items)
    for item, vector in zip(items, together, strict=True):
        (alone,) = model.infer([item])
        np.testing.assert_allclose(alone, vector, rtol=1e-5, atol=1e-5)


def test_normalise_is_the_reference_formula() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    wanted = ((pixels / 255.0 - np.array(clip.SQUARE.mean)) / np.array(clip.SQUARE.std)).transpose(0, 3, 1, 2)
    found = clip.SQUARE.normalise(pixels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_output_is_found_by_its_name(graphs: Graphs, tmp_path: Path) -> None:
    patches = (TensorProto.FLOAT, ["n", 4, 7, 7])
    model = clip.ClipImage(graphs(hub_graph(tmp_path, {"patches": patches, **EMBEDS})))
    (vector,) = model.infer([model.prepare(view_of(photo(224, 224)))])
    assert vector.shape == (DIMENSIONS,)


def test_an_only_output_needs_no_name(graphs: Graphs, tmp_path: Path) -> None:
    flat = {"flat": (TensorProto.FLOAT, ["n", 196])}
    model = clip.ClipImage(graphs(hub_graph(tmp_path, flat)))
    assert model.infer([model.prepare(view_of(photo(224, 224)))])[0].shape == (196,)


def test_foreign_graphs_are_refused(graphs: Graphs, tmp_path: Path, tokenizer_file: Path) -> None:
    several = {"patches": (TensorProto.FLOAT, ["n", 4, 7, 7]), "flat": (TensorProto.FLOAT, ["n", 196])}
    with pytest.raises(ModelBroken, match="image_embeds"):
        clip.ClipImage(graphs(hub_graph(tmp_path, several)))
    with pytest.raises(ModelBroken, match="uint8"):
        clip.ClipImage(graphs(text_graph(tmp_path)))
    files = {"text.onnx": own_graph(tmp_path), "tokenizer.json": tokenizer_file}
    with pytest.raises(ModelBroken):
        load("clip-vit-b-32-text", files)


# -- texts -------------------------------------------------------------------------------------------------


def test_ids_go_from_start_to_end(reader: clip.ClipText) -> None:
    ids = reader.prepare("a photo of a dog")
    assert ids.dtype == np.int64
    assert (ids[0], ids[-1]) == (START, END)
    assert 7 <= len(ids) <= 16


def test_case_and_white_space_do_not_matter(reader: clip.ClipText) -> None:
    np.testing.assert_array_equal(
        reader.prepare("  A photo\n\tof a DOG "), reader.prepare("a photo of a dog")
    )


def test_an_empty_text_is_a_text(reader: clip.ClipText) -> None:
    for text in ("", "  \n"):
        np.testing.assert_array_equal(reader.prepare(text), [START, END])


def test_too_long_a_text_is_refused_with_its_count(reader: clip.ClipText) -> None:
    assert len(reader.prepare("a " * 75)) == 77
    with pytest.raises(InvalidParameters, match=r"78 tokens.*at most 77"):
        reader.prepare("a " * 76)


def test_too_long_a_text_is_told_from_others_by_its_beginning(reader: clip.ClipText) -> None:
    text = "a dog on the beach, " + "very " * 100
    with pytest.raises(InvalidParameters, match=re.escape(f"The text '{text[:60]}…' has ")):
        reader.prepare(text)
    with pytest.raises(InvalidParameters, match=f"The text '{'!' * 3}{'猫' * 57}' has "):
        reader.prepare("!" * 3 + "猫" * 57)


def test_nothing_is_read_after_an_end_token_in_the_text(reader: clip.ClipText) -> None:
    ids = reader.prepare("a dog<|endoftext|> and a cat")
    np.testing.assert_array_equal(ids, reader.prepare("a dog"))


@given(text=st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused(reader: clip.ClipText, text: str) -> None:
    try:
        ids = reader.prepare(text)
    except InvalidParameters:
        return
    assert 2 <= len(ids) <= 77
    assert ids[0] == START
    assert np.flatnonzero(ids == END).tolist() == [len(ids) - 1]
    assert ids.min() >= 0


TEXTS = ["", "a dog", "a photograph of two zebras at a water hole in the evening", "a " * 75]


@pytest.mark.parametrize("mask", [False, True], ids=["plain", "with attention mask"])
@pytest.mark.parametrize("length", ["l", 77], ids=["free length", "fixed length"])
def test_texts_become_the_right_vectors(
    tmp_path: Path, tokenizer_file: Path, length: int | str, mask: bool
) -> None:
    files = {"text.onnx": text_graph(tmp_path, length, mask=mask), "tokenizer.json": tokenizer_file}
    model = load("clip-vit-l-14-text", files)
    items = [model.prepare(text) for text in TEXTS]
    together = model.infer(items)
    for ids, vector in zip(items, together, strict=True):
        assert vector.dtype == np.float32
        assert vector.base is None
        np.testing.assert_allclose(vector, TABLE[ids].sum(0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(model.infer([ids])[0], vector, rtol=1e-5, atol=1e-5)


def test_a_tokenizer_that_is_not_clips_is_refused(tmp_path: Path) -> None:
    files = {"text.onnx": text_graph(tmp_path), "tokenizer.json": tmp_path / "tokenizer.json"}
    files["tokenizer.json"].write_text("{}")
    with pytest.raises(ModelBroken, match=r"tokenizer\.json"):
        load("clip-vit-b-32-text", files)
    files["tokenizer.json"].write_text(
        '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"<|endoftext|>": 0}, "unk_token": "?"}}'
    )
    with pytest.raises(ModelBroken, match="49407"):
        load("clip-vit-b-32-text", files)


# -- cards -------------------------------------------------------------------------------------------------


def test_every_tower_is_a_model_of_its_own() -> None:
    found = {name: each.card for name, each in catalogue().items() if name.startswith("clip-")}
    assert sorted(found) == ["clip-vit-b-32", "clip-vit-b-32-text", "clip-vit-l-14", "clip-vit-l-14-text"]
    for name, card in found.items():
        reads = name.endswith("-text")
        wanted = TEXT_EMBEDDING if reads else IMAGE_EMBEDDING
        assert card.capabilities == {wanted}
        assert card.space == name.removesuffix("-text")
        kept = [artifact.name for artifact in card.artifacts if not artifact.intermediate]
        assert kept == (["text.onnx", "tokenizer.json"] if reads else ["image.onnx"])
        assert all(artifact.sha256 for artifact in card.artifacts if not artifact.name.endswith(".onnx"))


def test_towers_of_one_space_come_from_one_file() -> None:
    """It is downloaded once for both."""
    for tower in clip.TOWERS:
        twin = next(other for other in clip.TOWERS if other.space == tower.space and other is not tower)
        assert (twin.checkpoint, twin.dimensions) == (tower.checkpoint, tower.dimensions)
        assert twin.reads_text is not tower.reads_text
