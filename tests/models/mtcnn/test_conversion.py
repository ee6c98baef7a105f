from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sightline.errors import ExportFailed, WeightsError
from sightline.models.mtcnn import CARD
from sightline.models.mtcnn.conversion import convert_onet, convert_pnet, convert_rnet, read_weights
from sightline.models.mtcnn.geometry import CANVAS
from sightline.runtime.graphs import Graphs
from sightline.settings import Precision

Array = NDArray[np.float32]


def quiet(label: str, done: int, total: int | None) -> None:
    pass


class Trap:
    """A pickle of it creates a file when it is loaded by the plain unpickler."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_all_weights_of_the_card_are_read(released: Mapping[str, Path]) -> None:
    weights = {name: read_weights(path) for name, path in released.items()}
    assert sum(array.size for net in weights.values() for array in net.values()) == CARD.parameters
    assert weights["pnet.pt"]["conv1.weight"].shape == (10, 3, 3, 3)
    assert weights["onet.pt"]["dense5.weight"].shape == (256, 1152)
    assert all(array.dtype == np.float32 for net in weights.values() for array in net.values())


def test_a_tensor_with_strides_is_put_in_order(released: Mapping[str, Path]) -> None:
    """The first storage of the file, read by hand: kernels lie as (width, height, input, output)."""
    data = released["pnet.pt"].read_bytes()
    weight = read_weights(released["pnet.pt"])["conv1.weight"]
    expected = weight.transpose(3, 2, 1, 0).astype("<f4").tobytes()
    assert expected in data


@pytest.mark.parametrize("honest_pickles", [0, 3])
def test_a_pickle_that_calls_something_is_refused_and_not_run(
    honest_pickles: int, tmp_path: Path, released: Mapping[str, Path]
) -> None:
    mark = tmp_path / "ran"
    trap = pickle.dumps(Trap(mark), protocol=2)
    pickle.loads(trap)
    assert mark.exists(), "the trap does not work, so the test would prove nothing"
    mark.unlink()

    with released["pnet.pt"].open("rb") as file:
        for _ in range(honest_pickles):
            pickle.load(file)
        head_bytes = file.tell() if honest_pickles else 0
    foreign = tmp_path / "pnet.pt"
    foreign.write_bytes(released["pnet.pt"].read_bytes()[:head_bytes] + trap)
    with pytest.raises(WeightsError, match="refused: the weights file asks for") as caught:
        convert_pnet({"pnet.pt": foreign}, tmp_path / "pnet.onnx", quiet)
    assert isinstance(caught.value, ExportFailed)
    assert not mark.exists()
    assert not (tmp_path / "pnet.onnx").exists()


@pytest.mark.parametrize("name", ["system", "popen"])
def test_no_other_function_can_be_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"\x80\x02cos\n" + name.encode() + b"\nX\x02\x00\x00\x00id\x85R.")
    with pytest.raises(ExportFailed, match=rf"asks for os\.{name}"):
        read_weights(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(keep=st.floats(0, 0.999))
def test_a_file_cut_short_is_refused(keep: float, tmp_path: Path, released: Mapping[str, Path]) -> None:
    data = released["pnet.pt"].read_bytes()
    cut = tmp_path / "pnet.pt"
    cut.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ExportFailed):
        read_weights(cut)


@pytest.mark.parametrize(
    ("said", "lie"),
    [
        pytest.param(b"K\nK\x03K\x03K\x03t", b"K\xffK\x03K\x03K\x03t", id="shape"),
        pytest.param(b"K\x01K\nK\x1eKZt", b"K\x01K\nK\x1eK\xfft", id="stride"),
    ],
)
def test_a_tensor_past_the_end_of_its_numbers_is_refused(
    said: bytes, lie: bytes, tmp_path: Path, released: Mapping[str, Path]
) -> None:
    data = released["pnet.pt"].read_bytes()
    assert said in data
    path = tmp_path / "pnet.pt"
    path.write_bytes(data.replace(said, lie, 1))
    with pytest.raises(ExportFailed, match="larger than its numbers"):
        read_weights(path)


def test_another_networks_weights_are_refused(released: Mapping[str, Path], tmp_path: Path) -> None:
    for convert, name, wrong in (
        (convert_pnet, "pnet", "rnet"),
        (convert_rnet, "rnet", "pnet"),
        (convert_onet, "onet", "rnet"),
    ):
        with pytest.raises(ExportFailed, match=f"does not hold the weights of {name}"):
            convert({f"{name}.pt": released[f"{wrong}.pt"]}, tmp_path / "x.onnx", quiet)


def test_two_conversions_give_the_same_bytes(
    released: Mapping[str, Path], files: Mapping[str, Path], tmp_path: Path
) -> None:
    convert_rnet(released, tmp_path / "again.onnx", quiet)
    assert (tmp_path / "again.onnx").read_bytes() == files["rnet.onnx"].read_bytes()


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
    expected = proposed(picture, read_weights(released["pnet.pt"]))
    canvas = random.uniform(-1, 1, (1, 4, CANVAS, CANVAS)).astype(np.float32)
    even_height, even_width = height + height % 2, width + width % 2
    canvas[0, 3, top : top + even_height, left : left + even_width] = 1
    canvas[0, 3, top : top + height, left : left + width] = 0
    canvas[0, :3, top : top + height, left : left + width] = picture

    (answer,) = graphs(files["pnet.onnx"], precision=Precision.F32).run({"pixels": canvas})
    rows, columns = expected.shape[1:]
    part = answer[0, :, top // 2 : top // 2 + rows, left // 2 : left // 2 + columns]
    np.testing.assert_allclose(part[0], expected[1] - expected[0], atol=2e-5)
    np.testing.assert_allclose(part[1:], expected[2:], atol=2e-5)
