from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid
from sightline.models import GraphOptions
from sightline.models.mtcnn import CARD, load
from sightline.models.mtcnn.geometry import CANVAS
from sightline.runtime.graphs import Graphs
from sightline.settings import Precision
from sightline.weights.checkpoints import read_arrays
from sightline.weights.sources import Built, Recipe

Array = NDArray[np.float32]


def test_all_weights_of_the_card_are_read(released: Mapping[str, Path]) -> None:
    weights = {name: read_arrays(path) for name, path in released.items()}
    assert sum(array.size for net in weights.values() for array in net.values()) == CARD.parameters
    assert weights["pnet.pt"]["conv1.weight"].shape == (10, 3, 3, 3)
    assert weights["onet.pt"]["dense5.weight"].shape == (256, 1152)
    assert all(array.dtype == np.float32 for net in weights.values() for array in net.values())


def test_a_tensor_with_strides_is_put_in_order(released: Mapping[str, Path]) -> None:
    """The first storage of the file, read by hand: kernels lie as (width, height, input, output)."""
    data = released["pnet.pt"].read_bytes()
    weight = read_arrays(released["pnet.pt"])["conv1.weight"]
    expected = weight.transpose(3, 2, 1, 0).astype("<f4").tobytes()
    assert expected in data


def build(name: str, weights: Path, output: Path) -> None:
    (artifact,) = (each for each in CARD.artifacts if each.name == f"{name}.onnx")
    (source,) = artifact.sources
    assert isinstance(source, Built)
    source.build({f"{name}.pt": weights}, output, lambda *_: None)


@pytest.mark.parametrize(("name", "wrong"), [("pnet", "rnet"), ("rnet", "pnet"), ("onet", "rnet")])
def test_another_networks_weights_are_refused(
    name: str, wrong: str, released: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointInvalid, match=r"tensor \S+ |no tensor \S+;"):
        build(name, released[f"{wrong}.pt"], tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_two_conversions_give_the_same_bytes(
    released: Mapping[str, Path], files: Mapping[str, Path], tmp_path: Path
) -> None:
    build("rnet", released["rnet.pt"], tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == files["rnet.onnx"].read_bytes()


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_made_up_weights_answer_without_error(
    size: str, tmp_path: Path, graphs: Graphs, make_view, astronaut
) -> None:
    made = [artifact for artifact in CARD.artifacts if artifact.made_up is not None]
    assert [artifact.name for artifact in made] == ["pnet.onnx", "rnet.onnx", "onet.onnx"]
    for artifact in made:
        artifact.made_up(tmp_path / artifact.name, Recipe(3, size))
        onnx.checker.check_model(onnx.load(tmp_path / artifact.name), full_check=True)
    detector = load({artifact.name: tmp_path / artifact.name for artifact in made}, graphs)
    (found,) = detector.infer([detector.prepare(make_view(astronaut))])
    assert all(0 <= face.score <= 1 and len(face.landmarks) == 5 for face in found)


def convolved(x: Array, weight: Array, bias: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None]


def activated(x: Array, slopes: Array) -> Array:
    return np.where(x > 0, x, slopes[:, None, None] * x)


def pooled(x: Array) -> Array:
    padded = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)), constant_values=-np.inf)
    halves = padded.reshape(len(x), padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    result: Array = halves.max(axis=(2, 4))
    return result


def proposed(x: Array, weights: Mapping[str, Array]) -> Array:
    """The proposal network as it is written down, layer by layer: [2 logits + 4 offsets, h, w]."""
    x = pooled(
        activated(convolved(x, weights["conv1.weight"], weights["conv1.bias"]), weights["prelu1.weight"])
    )
    for number in (2, 3):
        x = convolved(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
        x = activated(x, weights[f"prelu{number}.weight"])
    heads = [convolved(x, weights[f"conv4_{k}.weight"], weights[f"conv4_{k}.bias"]) for k in (1, 2)]
    return np.concatenate(heads)


@pytest.mark.parametrize(("height", "width"), [(40, 36), (41, 36), (40, 37), (41, 37), (13, 13), (12, 60)])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (20, 34)])
def test_the_proposal_graph_respects_the_edge_of_a_picture(
    height: int,
    width: int,
    top: int,
    left: int,
    released: Mapping[str, Path],
    files: Mapping[str, Path],
    graphs: Graphs,
) -> None:
    """What lies beside a picture on the canvas changes nothing, with odd sides (half a pool) as with even."""
    random = np.random.default_rng(height * width)
    picture = random.uniform(-1, 1, (3, height, width)).astype(np.float32)
    expected = proposed(picture, read_arrays(released["pnet.pt"]))
    canvas = random.uniform(-1, 1, (1, 4, CANVAS, CANVAS)).astype(np.float32)
    even_height, even_width = height + height % 2, width + width % 2
    canvas[0, 3, top : top + even_height, left : left + even_width] = 1
    canvas[0, 3, top : top + height, left : left + width] = 0
    canvas[0, :3, top : top + height, left : left + width] = picture

    (answer,) = graphs(files["pnet.onnx"], GraphOptions(Precision.F32)).run({"pixels": canvas})
    rows, columns = expected.shape[1:]
    part = answer[0, :, top // 2 : top // 2 + rows, left // 2 : left // 2 + columns]
    np.testing.assert_allclose(part[0], expected[1] - expected[0], atol=2e-5)
    np.testing.assert_allclose(part[1:], expected[2:], atol=2e-5)
