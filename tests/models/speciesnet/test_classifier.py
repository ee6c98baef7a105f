from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.capabilities.species import SPECIES, SpeciesScores
from sightline.errors import ModelBroken
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import TensorSpec
from sightline.models.speciesnet import CLASSIFIER, LABELS, MODELS, load
from sightline.models.speciesnet.classifier import SpeciesClassifier, read_labels, stretched
from sightline.types import PixelBox
from sightline.weights.sources import ArchiveMember, HubFile

NAMES = tuple(f"uuid-{n};mammalia;order;family;genus;species{n};animal {n}" for n in range(8))
OURS = TensorSpec("pixels", "uint8", (None, 480, 480, 3))
ROWS_FIRST = TensorSpec("input", "float32", (None, 480, 480, 3))
COLOURS_FIRST = TensorSpec("input", "float32", (None, 3, 480, 480))


class ColourGraph:
    """Logits of the first three labels are the mean red, green and blue in levels / 16; then 1, 2, 3, …"""

    def __init__(self, spec: TensorSpec, labels: int = len(NAMES)) -> None:
        self.inputs = (spec,)
        self.outputs = (TensorSpec("logits", "float32", (None, labels)),)
        self.seen: list[Any] = []

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        (batch,) = inputs.values()
        self.seen.append(batch)
        whole = batch.astype(np.float64) * (1 if batch.dtype == np.uint8 else 255)
        colours = whole.mean(axis=(2, 3) if batch.shape[1] == 3 else (1, 2)) / 16
        rest = np.tile(np.arange(1, len(NAMES) - 2), (len(batch), 1))
        return [np.concatenate([colours, rest], axis=1).astype(np.float32)]


def crop(*colour: int, box: PixelBox | None = None) -> View:
    pixels = np.full((50, 90, 3), colour, np.uint8)
    return View(open_picture(encode_png(pixels), ImageLimits(10**8, 10**8, 10**5)), box)


@pytest.mark.parametrize("spec", [OURS, ROWS_FIRST, COLOURS_FIRST], ids=str)
def test_the_five_likeliest_labels(spec: TensorSpec) -> None:
    classifier = SpeciesClassifier(ColourGraph(spec), NAMES)
    found = classifier.infer([classifier.prepare(crop(0, 160, 64))])
    powers = [math.exp(logit) for logit in (0, 10, 4, 1, 2, 3, 4, 5)]
    wanted = SpeciesScores(
        tuple(NAMES[n] for n in (1, 7, 2, 6, 5)),
        tuple(pytest.approx(powers[n] / sum(powers), rel=1e-5) for n in (1, 7, 2, 6, 5)),
    )
    assert found == [wanted], "of equal logits the first label goes first"
    assert all(isinstance(score, float) for score in found[0].scores)


def test_crops_are_computed_together() -> None:
    graph = ColourGraph(OURS)
    classifier = SpeciesClassifier(graph, NAMES)
    found = classifier.infer([classifier.prepare(crop(*colour)) for colour in np.eye(3, dtype=int) * 255])
    assert [answer.labels[0] for answer in found] == list(NAMES[:3])
    assert [batch.shape for batch in graph.seen] == [(3, 480, 480, 3)]


def test_a_graph_of_one_crop_gets_them_one_by_one() -> None:
    graph = ColourGraph(TensorSpec("input", "float32", (1, 3, 480, 480)))
    classifier = SpeciesClassifier(graph, NAMES)
    found = classifier.infer([classifier.prepare(crop(*colour)) for colour in np.eye(3, dtype=int) * 255])
    assert [answer.labels[0] for answer in found] == list(NAMES[:3])
    assert len(graph.seen) == 3


def test_huge_logits_are_probabilities_all_the_same() -> None:
    class Huge(ColourGraph):
        def run(self, inputs: Mapping[str, Any]) -> list[Any]:
            return [1e4 * super().run(inputs)[0]]

    classifier = SpeciesClassifier(Huge(OURS), NAMES)
    (found,) = classifier.infer([classifier.prepare(crop(0, 160, 64))])
    assert found.scores == (1, 0, 0, 0, 0)


def test_fewer_than_five_labels() -> None:
    class Few(ColourGraph):
        def run(self, inputs: Mapping[str, Any]) -> list[Any]:
            return [super().run(inputs)[0][:, :2]]

    classifier = SpeciesClassifier(Few(OURS, 2), NAMES[:2])
    (found,) = classifier.infer([classifier.prepare(crop(0, 160, 64))])
    assert found.labels == (NAMES[1], NAMES[0])
    assert sum(found.scores) == pytest.approx(1)


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("input", "float32", (None, 3, 224, 224)),
        TensorSpec("input", "uint8", (None, 3, 480, 480)),
        TensorSpec("input", "float16", (None, 480, 480, 3)),
        TensorSpec("input", "float32", (None, 480 * 480 * 3)),
    ],
    ids=str,
)
def test_another_input_is_refused(spec: TensorSpec) -> None:
    with pytest.raises(ModelBroken, match="480"):
        SpeciesClassifier(ColourGraph(spec), NAMES)


def test_labels_of_another_network_are_refused() -> None:
    with pytest.raises(ModelBroken, match="7 labels"):
        SpeciesClassifier(ColourGraph(OURS), NAMES[:-1])


# -- crops -------------------------------------------------------------------------------------------------


def test_a_part_of_a_picture() -> None:
    pixels = np.zeros((50, 90, 3), np.uint8)
    pixels[10:20, 30:60] = (7, 8, 9)
    view = View(open_picture(encode_png(pixels), ImageLimits(10**8, 10**8, 10**5)), PixelBox(30, 10, 60, 20))
    item = SpeciesClassifier(ColourGraph(OURS), NAMES).prepare(view)
    assert (item == (7, 8, 9)).all()


def test_every_level_comes_through() -> None:
    """Cut and not rounded, after a factor a little above 255: no level becomes its neighbour."""
    levels = np.arange(256, dtype=np.uint8)
    pixels = np.repeat(np.repeat(levels.reshape(16, 16, 1), 30, axis=0), 30, axis=1).repeat(3, axis=2)
    assert pixels.shape == (480, 480, 3)
    assert np.array_equal(stretched(pixels), pixels)


def test_levels_between_two_are_cut() -> None:
    """From 10 to 11 in 480 steps: up to and at 11 everything is 10, as 10.99 would be."""
    pixels = np.zeros((480, 2, 3), np.uint8)
    pixels[:, 0], pixels[:, 1] = 10, 11
    row = stretched(pixels)[0, :, 0].astype(int)
    assert row.tolist() == sorted(row.tolist())
    assert set(row) == {10, 11}
    # 11 begins where 10 + share exceeds 11 · 255 / 255.999, at a share of 0.957; shares grow by 1 / 240.
    assert np.argmax(row == 11) == pytest.approx(120 + 0.957 * 240, abs=2)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255))
def test_any_shape_becomes_a_square(height: int, width: int, level: int) -> None:
    found = stretched(np.full((height, width, 3), level, np.uint8))
    assert found.shape == (480, 480, 3)
    assert found.dtype == np.uint8
    assert (found == level).all()


# -- labels ------------------------------------------------------------------------------------------------


def test_labels_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / LABELS
    path.write_bytes("\r\n".join([*NAMES, "é;;;;;;blank", "", ""]).encode())
    assert read_labels(path) == [*NAMES, "é;;;;;;blank"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("blank\n", "Line 1"), (f"{NAMES[0]}\n\n{NAMES[1]}", "Line 2"), ("a;b;c;d;e;f;g;h", "seven parts"),
     ("", "empty"), ("\n \n", "empty")],
)  # fmt: skip
def test_a_line_that_is_no_label_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / LABELS
    path.write_text(text)
    with pytest.raises(ModelBroken, match=message):
        read_labels(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / LABELS
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelBroken, match="UTF-8"):
        read_labels(path)


# -- cards -------------------------------------------------------------------------------------------------


def test_three_releases_can_be_chosen() -> None:
    assert {each.name: each.card.space for each in MODELS} == {
        "speciesnet-v4.0.1a": "v4.0.1a", "speciesnet-v4.0.2a": "v4.0.2a", "speciesnet-v4.0.3a": "v4.0.3a",
    }  # fmt: skip
    for definition in MODELS:
        card = definition.card
        assert card.capabilities == {SPECIES}
        assert card.max_batch == 4
        checkpoint, graph, labels = card.artifacts
        assert (graph.name, labels.name) == (CLASSIFIER, LABELS)
        assert checkpoint.intermediate
        mirrored = [source for source in labels.sources if isinstance(source, HubFile)]
        assert len(mirrored) == (card.space != "v4.0.3a")
        archived = [
            source for source in (*checkpoint.sources, *labels.sources) if isinstance(source, ArchiveMember)
        ]
        assert len(archived) == 2
        assert {f"/pyTorch/{card.space}/" in source.url for source in archived} == {True}
    digests = {definition.card.artifacts[0].sha256 for definition in MODELS}
    assert len(digests) == 1, "one network for all releases"


def test_loading_takes_both_files(tmp_path: Path) -> None:
    (tmp_path / LABELS).write_text("\n".join(NAMES))
    classifier = load(
        {CLASSIFIER: tmp_path / CLASSIFIER, LABELS: tmp_path / LABELS}, lambda path, **_: ColourGraph(OURS)
    )
    assert classifier.infer([classifier.prepare(crop(255, 0, 0))])[0].labels[0] == NAMES[0]
