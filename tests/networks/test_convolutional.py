"""What all convolutional networks have in common, at tiny sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from sightline.errors import CheckpointInvalid
from sightline.networks import Network, fitted, graph_artifacts
from sightline.networks.efficientnet import EfficientNetV2
from sightline.networks.fasterrcnn import FasterRcnn
from sightline.networks.mtcnn import OutputNetwork, ProposalNetwork, RefinementNetwork
from sightline.networks.yolov5 import YoloV5x6
from sightline.weights.sources import Built, Recipe
from sightline.weights.tensors import Tensor

NETWORKS: dict[str, Callable[[], Network]] = {
    "fasterrcnn": FasterRcnn,
    "yolov5": YoloV5x6,
    "efficientnet": lambda: EfficientNetV2(labels=2498),
    "pnet": ProposalNetwork,
    "rnet": RefinementNetwork,
    "onet": OutputNetwork,
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]()


def digests(network: Network, folder: Path, seed: int) -> dict[str, str]:
    """Of each graph with made-up weights, tiny."""
    found = {}
    for artifact in graph_artifacts(network, "checkpoint"):
        assert artifact.made_up is not None
        artifact.made_up(folder / artifact.name, Recipe(seed, "tiny"))
        found[artifact.name] = hashlib.sha256((folder / artifact.name).read_bytes()).hexdigest()
    return found


def test_equal_recipes_give_equal_files(network: Network, tmp_path: Path) -> None:
    first, again, other = (digests(network, tmp_path, seed) for seed in (1, 1, 2))
    assert first == again
    assert not set(first.values()) & set(other.values())
    for name in first:
        assert (tmp_path / name).stat().st_size < 4_000_000
        proto = onnx.load(tmp_path / name)
        onnx.checker.check_model(proto, full_check=True)
        properties = {entry.key: entry.value for entry in proto.metadata_props}
        assert properties == {"graph": name, "weights": "random", "seed": "2", "size": "tiny"}


def test_inputs_and_outputs_do_not_depend_on_the_size(network: Network, tmp_path: Path) -> None:
    """Feature maps, between two graphs of a model, may have fewer channels."""
    signatures = []
    for sized in (network, network.tiny()):
        graphs = []
        for build in sized.graphs.values():
            graph = build({name: ones(shape) for name, shape in sized.tensors.items()})
            graphs.append((graph._inputs, graph._outputs))
        signatures.append(graphs)
    for full, tiny in zip(*signatures, strict=True):
        for one, other in zip(full, tiny, strict=True):
            assert [value.name for value in one] == [value.name for value in other]
            types = [[value.type.tensor_type.elem_type for value in values] for values in (one, other)]
            assert types[0] == types[1]


def ones(shape: tuple[int, ...]) -> Tensor:
    return Tensor("F32", shape, lambda: np.ones(shape, np.float32))


def test_a_checkpoint_must_have_exactly_these_tensors(network: Network) -> None:
    tiny = network.tiny()
    drawn = dict(tiny.draw(0))
    assert list(fitted(tiny, drawn)) == list(tiny.tensors)
    names = list(tiny.tensors)
    with pytest.raises(CheckpointInvalid, match=f"no tensor {names[3]};"):
        fitted(tiny, {name: tensor for name, tensor in drawn.items() if name not in names[3:5]})
    with pytest.raises(CheckpointInvalid, match=r"a tensor more\.weight that"):
        fitted(tiny, {**drawn, "more.weight": ones((1,))})
    with pytest.raises(CheckpointInvalid, match=rf"{names[2]} of the checkpoint has shape \[1, 9\]"):
        fitted(tiny, {**drawn, names[2]: ones((1, 9)), names[5]: ones((2, 9))})


def test_made_up_tensors_have_the_shapes_that_are_told(network: Network) -> None:
    tiny = network.tiny()
    drawn = tiny.draw(3)
    assert {name: tensor.numpy().shape for name, tensor in drawn.items()} == dict(tiny.tensors)
    assert all(np.isfinite(tensor.numpy()).all() for tensor in drawn.values())
    assert all(tensor.numpy().dtype == np.float32 for tensor in drawn.values())


def test_a_built_graph_says_that_its_weights_are_published(
    network: Network, tmp_path: Path, torch_file, arrays_of
) -> None:
    tiny = network.tiny()
    path = torch_file.save(arrays_of(tiny.draw(0)), tmp_path / "checkpoint.pt")
    for artifact in graph_artifacts(tiny, "checkpoint.pt"):
        (source,) = artifact.sources
        assert isinstance(source, Built)
        source.build({"checkpoint.pt": path}, tmp_path / artifact.name, lambda *_: None)
        properties = {e.key: e.value for e in onnx.load(tmp_path / artifact.name).metadata_props}
        assert properties == {"graph": artifact.name, "weights": "published"}
