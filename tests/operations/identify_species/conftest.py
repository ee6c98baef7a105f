"""A small release of SpeciesNet: a real classifier graph that knows colours, real rules, and a detector that
finds what it is told to."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from sightline.models import speciesnet, speciesnet_ensemble
from sightline.runtime.residency import wanted
from sightline.taxa import BLANK, HUMAN, VEHICLE
from sightline.types import Provenance
from sightline.weights.store import Store

LION = "1;mammalia;carnivora;felidae;panthera;leo;lion"
LEOPARD = "2;mammalia;carnivora;felidae;panthera;pardus;leopard"
ZEBRA = "3;mammalia;perissodactyla;equidae;equus;quagga;plains zebra"
OSTRICH = "4;aves;struthioniformes;struthionidae;struthio;camelus;common ostrich"
FELIDAE = "5;mammalia;carnivora;felidae;;;cat family"
MAMMALIA = "6;mammalia;;;;;mammal"
LABELS = (LION, LEOPARD, ZEBRA, OSTRICH, FELIDAE, MAMMALIA, BLANK, HUMAN, VEHICLE)

# What the classifier makes of a crop of one colour, for the labels in their order.
RED = (0.90, 0.04, 0.02, 0.01, 0.01, 0.005, 0.005, 0.005, 0.005)  # a lion
GREEN = (0.30, 0.20, 0.35, 0.05, 0.04, 0.03, 0.02, 0.005, 0.005)  # some mammal
BLUE = (0.002, 0.002, 0.002, 0.002, 0.002, 0.003, 0.97, 0.010, 0.007)  # nothing

LION_KEY = "mammalia;carnivora;felidae;panthera;leo"
RULES: Mapping[str, Any] = {
    "v4.0.3a": {LION_KEY: {"allow": {"KEN": [], "USA": ["TX"]}}},
    "v4.0.1a": {LION_KEY: {"allow": {"KEN": [], "NOR": [], "USA": []}}},
}

DETECTOR = """
import json, os
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.types import Box, Detection

class Finder:
    def prepare(self, view):
        return view.pixels().shape

    def infer(self, items):
        told = json.loads(os.environ["STAND_IN_FOUND"])
        return [[Detection(Box(*box), score, label) for label, score, box in told] for _ in items]

CARD = ModelCard(
    name="a-finder", capabilities=frozenset({ANIMAL_BOXES}), description="d", licence="CC0-1.0",
    homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0,
)
MODELS = (ModelDefinition(CARD, lambda files, graphs: Finder()),)
"""


def classifier_graph(path: Path) -> None:
    """The signature of ours: the mean colour, times the logarithms of the shares above."""
    weights = np.log(np.array([RED, GREEN, BLUE], np.float32))
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        # Divided first: sums of ones are exact in float32, sums of so many 255s are not.
        helper.make_node("Div", ["floats", "full"], ["unit"]),
        helper.make_node("ReduceMean", ["unit"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 480, 480, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            numpy_helper.from_array(np.array(255, np.float32), "full"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def install(store: Store, version: str, folder: Path, provenance: Provenance) -> None:
    classifier = next(each for each in speciesnet.MODELS if each.card.space == version)
    classifier_graph(folder / "classifier.onnx")
    (folder / "labels.txt").write_text("\n".join(LABELS))
    store.adopt(wanted(classifier), folder, provenance, "for a test")
    ensemble = next(each for each in speciesnet_ensemble.MODELS if each.card.space == version)
    (folder / "taxonomy.txt").write_text("\n".join(LABELS))
    (folder / "geofence.json").write_text(json.dumps(RULES[version]))
    store.adopt(wanted(ensemble), folder, provenance, "for a test")


@pytest.fixture(scope="session")
def wildlife_dir(tmp_path_factory: pytest.TempPathFactory, models_dir: Path, installed_places: Any) -> Path:
    """A store with places and two releases, one of them of random weights; a third is not there."""
    root = tmp_path_factory.mktemp("wildlife")
    shutil.copytree(models_dir / "places", root / "places")
    store = Store(root, allow_random=True)
    for version, provenance in (("v4.0.3a", Provenance.IMPORTED), ("v4.0.1a", Provenance.RANDOM)):
        install(store, version, tmp_path_factory.mktemp("release"), provenance)
    return root


@pytest.fixture(scope="session")
def detector_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "models").mkdir()
    (folder / "models" / "finder.py").write_text(DETECTOR)
    return folder


Painted = Callable[..., bytes]


@pytest.fixture
def photo(monkeypatch: pytest.MonkeyPatch) -> Painted:
    """A blue photo of 64 × 32 with boxes in other colours, which the detector will find.

    ``photo(("animal", 0.9, (0, 0, 8, 8), "red"))``. Sides are powers of two, so that crops are exact.
    """

    def paint(*things: tuple[str, float, Sequence[int], str]) -> bytes:
        image = Image.new("RGB", (64, 32), "blue")
        for _, _, (x_min, y_min, x_max, y_max), colour in things:
            fill = {"green": (0, 255, 0)}.get(colour, colour)
            ImageDraw.Draw(image).rectangle((x_min, y_min, x_max - 1, y_max - 1), fill=fill)
        monkeypatch.setenv("STAND_IN_FOUND", json.dumps([thing[:3] for thing in things]))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    return paint
