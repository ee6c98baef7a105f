"""What all transformers promise: nothing of a checkpoint is left over, and equal inputs give equal files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from sightline.errors import CheckpointInvalid
from sightline.models import blip, clip, dinov2
from sightline.networks import Network, fitted
from sightline.networks.dinov2 import Dinov2
from sightline.networks.transformer import Pixels
from sightline.weights.tensors import Tensor

NETWORKS: Mapping[str, Network] = {
    **{tower.name: tower.network for tower in clip.TOWERS},
    **{size.name: size.network for size in blip.SIZES},
    **{
        variant.name: Dinov2(
            pixels=Pixels(variant.square.size, 14, variant.square.mean, variant.square.std), width=96
        )
        for variant in dinov2.VARIANTS
    },
}
# What else the published files hold.
OTHERS = {
    "clip-vit-b-32": ("text_model.final_layer_norm.weight", "logit_scale"),
    "clip-vit-b-32-text": ("vision_model.embeddings.position_ids", "visual_projection.weight"),
    "clip-vit-l-14": ("text_projection.weight", "vision_model.embeddings.position_ids"),
    "clip-vit-l-14-text": ("vision_model.encoder.layers.3.mlp.fc1.bias",),
    "dinov2-base": ("embeddings.mask_token",),
    "dinov2-base-518": ("embeddings.mask_token",),
    "blip-base": ("text_decoder.bert.embeddings.position_ids",),
    "blip-large": ("text_decoder.bert.embeddings.position_ids",),
}
NUMBER = Tensor.of(np.zeros((), np.float32))


@pytest.fixture(params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_equal_seeds_give_equal_files(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name].tiny()

    def digests(seed: int) -> list[str]:
        found = []
        for graph, build in network.graphs.items():
            build(network.draw(seed)).save(tmp_path / graph, {"weights": "random"})
            onnx.checker.check_model(str(tmp_path / graph), full_check=True)
            found.append(hashlib.sha256((tmp_path / graph).read_bytes()).hexdigest())
        return found

    first = digests(3)
    assert digests(3) == first
    assert not set(digests(4)) & set(first)


def test_what_the_file_holds_besides_is_ignored(name: str) -> None:
    network = NETWORKS[name].tiny()
    tensors = network.draw(0)
    found = fitted(network, {**dict.fromkeys(OTHERS[name], NUMBER), **tensors})
    assert list(found) == list(tensors) == list(network.tensors)


def test_a_missing_tensor_is_named(name: str) -> None:
    network = NETWORKS[name].tiny()
    tensors = dict(network.draw(0))
    gone = list(tensors)[len(tensors) // 2]
    del tensors[gone]
    with pytest.raises(CheckpointInvalid, match=f" {gone};"):
        fitted(network, tensors)


def test_a_tensor_of_another_shape_is_named(name: str) -> None:
    network = NETWORKS[name].tiny()
    tensors = dict(network.draw(0))
    bent = list(tensors)[-1]
    tensors[bent] = NUMBER
    with pytest.raises(CheckpointInvalid, match=bent):
        fitted(network, tensors)


def test_an_unexpected_tensor_is_named(name: str) -> None:
    """One layer more than the network has is another network."""
    network = NETWORKS[name].tiny()
    tensors = dict(network.draw(0))
    last = max(each for each in tensors if ".3." not in each and "layer" in each and ".1." in each)
    more = last.replace(".1.", ".9.")
    with pytest.raises(CheckpointInvalid, match=more):
        fitted(network, {**tensors, more: tensors[last]})


def test_the_two_towers_are_the_whole_published_file() -> None:
    """427,616,513 floats in the file of ViT-L/14, the logit scale among them."""
    large = [tower.network for tower in clip.TOWERS if tower.space == "clip-vit-l-14"]
    numbers = sum(int(np.prod(shape)) for network in large for shape in network.tensors.values())
    assert numbers + 1 == 427_616_513


def test_cards_count_the_networks_numbers() -> None:
    for tower in clip.TOWERS:
        numbers = sum(int(np.prod(shape)) for shape in tower.network.tensors.values())
        assert numbers == tower.parameters, tower.name
