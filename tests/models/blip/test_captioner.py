"""Captions of small captioners through real graphs, against the same weights without a memory or a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.capabilities.caption import CAPTION, CaptionRequest
from sightline.errors import InvalidParameters, ModelBroken
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import blip, catalogue
from sightline.models.blip.captioner import BEGIN_TOKEN, END_TOKEN, Captioner, Item
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Settings
from sightline.types import PixelBox

BOTH_RUNTIMES = pytest.mark.parametrize("runtime", [GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME])


def load(files: Mapping[str, Path], runtime: GraphRuntime = GraphRuntime.ONNXRUNTIME) -> Captioner:
    definition = next(each for each in blip.MODELS if each.name == "blip-base")
    model = definition.load(files, Graphs(Settings(graph_runtime=runtime, precision="f32", threads=1)))
    assert isinstance(model, Captioner)
    return model


def view(seed: int, width: int = 60, height: int = 40) -> View:
    generator = np.random.default_rng(seed)
    pixels = np.broadcast_to(generator.integers(0, 256, 3, np.uint8), (height, width, 3))
    return View(open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4)))


def request(seed: int, max_length: int = 20, num_beams: int = 4) -> CaptionRequest:
    return CaptionRequest(view(seed), max_length, num_beams)


@BOTH_RUNTIMES
@pytest.mark.parametrize("num_beams", [1, 2, 4])
def test_captions_are_by_the_book(
    small_blip: Any,
    small_files: Mapping[str, Path],
    write_by_the_book: Callable[..., list[int]],
    num_beams: int,
    runtime: GraphRuntime,
) -> None:
    model = load(small_files, runtime)
    items = [model.prepare(request(seed, 7, num_beams)) for seed in range(3)]
    wanted = [write_by_the_book(small_blip, item.pixels, num_beams, 7) for item in items]
    assert model.token_ids(items) == wanted
    assert len({tuple(ids) for ids in wanted}) == 3, "it must look at the picture"


def test_pictures_of_one_batch_do_not_notice_each_other(small_files: Mapping[str, Path]) -> None:
    model = load(small_files)
    asked = [(20, 4), (2, 4), (40, 4), (9, 1), (20, 4), (33, 2), (20, 1), (5, 4)]
    items = [model.prepare(request(seed, *numbers)) for seed, numbers in enumerate(asked)]
    together = model.token_ids(items)
    assert together == [model.token_ids([item])[0] for item in items]
    assert all(len(ids) <= length for ids, (length, _) in zip(together, asked, strict=True))
    assert len({len(ids) for ids in together}) > 3, "some must end early"


@pytest.mark.parametrize("max_length", [2, 3, 16, 17, 18, 34, 70])
def test_the_greatest_length_counts_the_first_token(
    talkative_blip: Any, tmp_path: Path, max_length: int
) -> None:
    model = load(talkative_blip.save(tmp_path))
    (ids,) = model.token_ids([model.prepare(request(0, max_length))])
    assert len(ids) == max_length
    assert ids[0] == BEGIN_TOKEN
    assert END_TOKEN not in ids


@pytest.mark.parametrize(
    ("max_length", "num_beams", "range_"),
    [(0, 4, "2 to 512"), (1, 4, "2 to 512"), (513, 4, "2 to 512"), (20, 0, "1 to 16"), (20, 17, "1 to 16")],
)
def test_what_cannot_be_asked_is_refused_with_what_can(
    small_files: Mapping[str, Path], max_length: int, num_beams: int, range_: str
) -> None:
    with pytest.raises(InvalidParameters, match=range_):
        load(small_files).prepare(request(0, max_length, num_beams))


class Watched:
    """A graph that notes the shapes it is asked with."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.shapes: list[dict[str, tuple[int, ...]]] = []

    def run(self, inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        self.shapes.append({name: value.shape for name, value in inputs.items()})
        assert all(value.flags.c_contiguous for value in inputs.values()), "the runtime would copy it"
        return self._graph.run(inputs)


def watched(files: Mapping[str, Path]) -> tuple[Captioner, Watched, Watched]:
    graphs = Graphs(Settings(graph_runtime="onnxruntime", threads=1))
    vision, decoder = Watched(graphs(files["vision.onnx"])), Watched(graphs(files["decoder.onnx"]))
    return Captioner(blip.SQUARE, vision, decoder, tokenizer=None), vision, decoder


def test_one_step_serves_all_pictures_and_finished_ones_leave(small_files: Mapping[str, Path]) -> None:
    model, vision, decoder = watched(small_files)
    items = [model.prepare(request(seed, length)) for seed, length in enumerate((3, 6, 6))]
    lengths = [len(ids) for ids in model.token_ids(items)]
    assert len(vision.shapes) == 1
    pictures = [shapes["ids"][0] for shapes in decoder.shapes]
    assert pictures == [3, 3, 2, 2, 2]
    assert lengths[0] <= 3
    assert all(shapes["picture"][1] == shapes["ids"][0] for shapes in decoder.shapes)
    assert all(shapes["ids"][1] == 4 for shapes in decoder.shapes)


def test_few_sizes_are_asked_for(talkative_blip: Any, tmp_path: Path) -> None:
    """Each new size costs the runtime a preparation."""
    model, _, decoder = watched(talkative_blip.save(tmp_path))
    model.token_ids([model.prepare(request(0, 60))])
    assert len(decoder.shapes) == 59
    assert {shapes["past"][3] for shapes in decoder.shapes} == {64, 128, 256}


def test_all_of_the_picture_is_squeezed(small_files: Mapping[str, Path]) -> None:
    pixels = np.zeros((30, 90, 3), np.uint8)
    pixels[:, 60:] = 255
    picture = open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4))
    model = load(small_files)
    item = model.prepare(CaptionRequest(View(picture)))
    assert isinstance(item, Item)
    assert item.pixels.shape == (384, 384, 3)
    assert item.pixels.mean() == pytest.approx(255 / 3, abs=1)
    part = model.prepare(CaptionRequest(View(picture, PixelBox(60, 0, 90, 30))))
    assert part.pixels.min() == 255


def test_a_queued_item_does_not_hold_its_picture(small_files: Mapping[str, Path]) -> None:
    item = load(small_files).prepare(CaptionRequest(view(0, 384, 384)))
    assert item.pixels.base is None


def test_words_only(small_files: Mapping[str, Path]) -> None:
    model = load(small_files)
    assert model.text([BEGIN_TOKEN, END_TOKEN]) == ""
    assert model.text([BEGIN_TOKEN, 30523, 0, 101, END_TOKEN, 0, 0]) == ""
    words = model._tokenizer.encode("bibo , bibo 's do").ids
    assert model.text([BEGIN_TOKEN, *words]) == "bibo, bibo ' s do"


def test_an_answer_is_a_text(small_files: Mapping[str, Path]) -> None:
    model = load(small_files)
    items = [model.prepare(request(seed)) for seed in range(2)]
    assert model.infer(items) == [model.text(ids) for ids in model.token_ids(items)]
    assert all(isinstance(text, str) for text in model.infer(items))


@pytest.mark.parametrize("name", ["vision.onnx", "decoder.onnx"])
def test_foreign_graphs_are_refused(small_files: Mapping[str, Path], name: str) -> None:
    other = "decoder.onnx" if name == "vision.onnx" else "vision.onnx"
    with pytest.raises(ModelBroken, match=name):
        load({**small_files, name: small_files[other]})


def test_a_foreign_tokenizer_is_refused(small_files: Mapping[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ModelBroken, match=r"tokenizer\.json does not load"):
        load({**small_files, "tokenizer.json": path})
    path.write_text(
        '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"[SEP]": 0}, "unk_token": "?"}}'
    )
    with pytest.raises(ModelBroken, match="102"):
        load({**small_files, "tokenizer.json": path})


def test_two_sizes_are_known_and_the_small_one_comes_first() -> None:
    captioners = [each for each in catalogue().values() if CAPTION in each.card.capabilities]
    assert [each.name for each in captioners][:2] == ["blip-base", "blip-large"]
    for definition in captioners[:2]:
        kept = [artifact.name for artifact in definition.card.artifacts if not artifact.intermediate]
        assert kept == ["vision.onnx", "decoder.onnx", "tokenizer.json"]
