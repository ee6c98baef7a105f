"""CLIP in small: towers of a few weights, fitted to tell the loopback servers' pictures apart.

The text tower adds up a random vector per token. The image tower is two convolutions and a projection, fitted
by least squares so that a picture's vector lies on its label's: real arithmetic on real pixels and texts, in
a millisecond, and right about maps, aerial views and everything else that ``koopserver`` draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pypdfium2
from koopserver import pdf, pictures
from onnx import TensorProto, helper, numpy_helper

from sightline.capabilities.label_sets import LabelSet
from sightline.imaging import ImageLimits, View, open_picture
from sightline.imaging.picture import picture_from_pixels
from sightline.models import clip, label_sets
from sightline.models.clip_vocabulary import stand_in
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.store import Store

DIMENSIONS = 16
LABEL_SET = "map-or-aerial"
# What each of the server's pictures is, in the words of that set.
_LABELS = {"map": "maps", "aerial": "aerial_satellite", "sign": "miscellaneous", "logo": "miscellaneous"}
_SAMPLES = 12
_RIDGE = 1e-3
_LIMITS = ImageLimits(10**8, 10**8, 10**5)


def install(root: Path, work: Path) -> None:
    """Put both towers of clip-vit-b-32 into the store at ``root``; files are made in ``work``."""
    store = Store(root, allow_random=True)
    text, image = work / "text", work / "image"
    for folder in (text, image):
        folder.mkdir(parents=True)
    tokenizer = stand_in()
    tokenizer.save(str(text / "tokenizer.json"))
    table = np.random.default_rng(5).normal(0, 1, (tokenizer.get_vocab_size(), DIMENSIONS)).astype(np.float32)
    table[0] = 0  # texts are padded with it
    _save(text / "text.onnx", *_text_graph(table))
    vectors = {
        label: np.mean([_unit(table[tokenizer.encode(each).ids].sum(0)) for each in prompts], axis=0)
        for label, prompts in _label_set().prompts
    }
    _save(image / "image.onnx", *_image_graph(_fitted(vectors, work)))
    for name, folder in (("clip-vit-b-32", image), ("clip-vit-b-32-text", text)):
        definition = next(each for each in clip.MODELS if each.name == name)
        store.adopt(wanted(definition), folder, Provenance.RANDOM, "fitted to the tests' pictures")


def _label_set() -> LabelSet:
    found: LabelSet = label_sets.connect(Settings(_env_file=None)).model.prepare(LABEL_SET)
    return found


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


# -- fitting -----------------------------------------------------------------------------------------------


def _samples() -> Iterator[tuple[str, View]]:
    """Labels and pictures of the kinds the servers give out; seeds are others than theirs."""
    for kind, label in _LABELS.items():
        for number in range(_SAMPLES):
            size = {"sign": (48, 48), "logo": (80, 30)}.get(kind, (160, 110))
            data = pictures.picture(kind, 10**9 + number, "jpg" if kind == "aerial" else "png", size)
            yield label, View(open_picture(data, _LIMITS))
    for page, label in (("map", "maps"), ("text", "miscellaneous")):
        for number in range(_SAMPLES):
            document = pypdfium2.PdfDocument(pdf.pdf(page, seed=10**9 + number))
            pixels = np.ascontiguousarray(
                document[0].render(scale=100 / 72, rev_byteorder=True).to_numpy()[..., :3]
            )
            document.close()
            yield label, View(picture_from_pixels(pixels, _LIMITS, source=f"{page} {number}"))


def _fitted(vectors: dict[str, np.ndarray], work: Path) -> np.ndarray:
    """The projection, float32 [features + 1, DIMENSIONS], that maps pictures' features to labels' vectors."""
    labels, views = zip(*_samples(), strict=True)
    path = work / "features.onnx"
    _save(path, *_image_graph(None))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"pixels": np.stack([clip.SQUARE.cut(view) for view in views])})
    design = np.hstack([features, np.ones((len(features), 1))]).astype(np.float64)
    targets = np.stack([_unit(vectors[label]) for label in labels])
    squares = design.T @ design + _RIDGE * np.eye(design.shape[1])
    return np.linalg.solve(squares, design.T @ targets).astype(np.float32)


# -- graphs ------------------------------------------------------------------------------------------------

_Graph = tuple[list[onnx.NodeProto], dict[str, tuple], dict[str, tuple], dict[str, np.ndarray]]


def _text_graph(table: np.ndarray) -> _Graph:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "along"], ["text_embeds"], keepdims=0),
    ]
    inputs = {"input_ids": (TensorProto.INT64, ["n", "l"])}
    outputs = {"text_embeds": (TensorProto.FLOAT, ["n", DIMENSIONS])}
    return nodes, inputs, outputs, {"table": table, "along": np.array([1], np.int64)}


def _image_graph(projection: np.ndarray | None) -> _Graph:
    """Means of colours and of edges over the picture; with a projection, its vector."""
    generator = np.random.default_rng(11)
    colours = generator.normal(0, 2, (24, 3, 1, 1)).astype(np.float32)
    edges = generator.normal(0, 1, (24, 3, 3, 3)).astype(np.float32)
    edges -= edges.mean(axis=(2, 3), keepdims=True)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "full"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "colours", "offsets"], ["tones"]),
        helper.make_node("Conv", ["planes", "edges"], ["steps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["tones"], ["some_tones"]),
        helper.make_node("Abs", ["steps"], ["edginess"]),
        helper.make_node("Concat", ["some_tones", "edginess"], ["maps"], axis=1),
        helper.make_node("ReduceMean", ["maps", "around"], ["features"], keepdims=0),
    ]
    constants = {
        "full": np.array(255, np.float32),
        "colours": colours,
        "offsets": generator.normal(0, 1.5, 24).astype(np.float32),
        "edges": edges,
        "around": np.array([2, 3], np.int64),
    }
    outputs = {"features": (TensorProto.FLOAT, ["n", 48])}
    if projection is not None:
        nodes.append(helper.make_node("Gemm", ["features", "weights", "bias"], ["image_embeds"]))
        constants |= {"weights": projection[:-1], "bias": projection[-1]}
        outputs = {"image_embeds": (TensorProto.FLOAT, ["n", DIMENSIONS])}
    return nodes, {"pixels": (TensorProto.UINT8, ["n", 224, 224, 3])}, outputs, constants


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple],
    outputs: dict[str, tuple],
    constants: dict[str, np.ndarray],
) -> None:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
