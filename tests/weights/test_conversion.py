"""From a publisher's checkpoint on a hub to graphs that compute, for two models of one checkpoint."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import numpy as np
import pytest

from sightline.errors import CheckpointInvalid, DigestMismatch
from sightline.models.clip_backbone import VIT_B_32_IMAGE, VIT_B_32_TEXT
from sightline.networks import graph_artifacts
from sightline.runtime.graphs import Graphs
from sightline.settings import Settings
from sightline.weights.sources import HubFile
from sightline.weights.tensors import Tensor

EXTRA = Tensor.of(np.zeros(3, np.float32))
IMAGE, TEXT = VIT_B_32_IMAGE.tiny(), VIT_B_32_TEXT.tiny()


def safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    header, content = {}, b""
    for name, tensor in tensors.items():
        data = tensor.numpy().astype("<f4").tobytes()
        place = [len(content), len(content) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": place}
        content += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    return safetensors({**IMAGE.draw(1), **TEXT.draw(1)})


@pytest.fixture
def cards(wanted, artifact, sha256):
    def make(data: bytes, **facts):
        source = artifact(
            "model.safetensors",
            HubFile("org/repo", "model.safetensors"),
            **{"sha256": sha256(data), "size_bytes": len(data), "intermediate": True, **facts},
        )
        return [
            wanted(source, *graph_artifacts(network, source.name), model=model)
            for model, network in {"image": IMAGE, "text": TEXT}.items()
        ]

    return make


def test_both_towers_of_a_checkpoint(store, cards, hub, checkpoint, root):
    hub.put("model.safetensors", checkpoint)
    with store.together(cards(checkpoint)):
        image, text = [store.pull(card) for card in cards(checkpoint)]
    assert len(hub.seen) == 1
    assert list(image.files) == ["image.onnx"], "the checkpoint itself is not kept"
    graphs = Graphs(Settings())
    pixels = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    graph = graphs(image.files["image.onnx"])
    (vectors,) = graph.run({graph.inputs[0].name: pixels})
    assert vectors.shape == (2, IMAGE.dimensions)
    assert np.all(np.isfinite(vectors))
    assert not np.allclose(vectors[0], vectors[1])
    graph = graphs(text.files["text.onnx"])
    ids = np.array([[49406, 320, 1125, 49407]], np.int64)
    (vectors,) = graph.run({graph.inputs[0].name: ids})
    assert vectors.shape == (1, TEXT.dimensions)


def test_conversion_gives_equal_bytes(store, make_store, cards, hub, checkpoint, tmp_path):
    hub.put("model.safetensors", checkpoint)
    card = cards(checkpoint)[0]
    other = make_store(root=tmp_path / "another machine")
    assert store.pull(card).fingerprint == other.pull(card).fingerprint


@pytest.mark.parametrize("unpinned", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut short"),
        pytest.param(lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], id="flipped in the header"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: safetensors(TEXT.draw(1)), id="another model's"),
        pytest.param(lambda data: safetensors({**IMAGE.draw(1), "lora": EXTRA}), id="with more in it"),
    ],
)
def test_another_file_at_the_address_is_one_line(damage, unpinned, store, cards, hub, checkpoint, root):
    hub.put("model.safetensors", damage(checkpoint))
    card = cards(checkpoint, **({"sha256": None, "size_bytes": None} if unpinned else {}))[0]
    with pytest.raises((CheckpointInvalid, DigestMismatch)) as raised:
        store.pull(card)
    assert "\n" not in str(raised.value)
    assert "image" in str(raised.value)
    assert store.installed(card) is None
    hub.put("model.safetensors", checkpoint)
    assert store.pull(card).files["image.onnx"].is_file()


def test_a_flipped_number_is_noticed_by_the_digest(store, cards, hub, checkpoint):
    hub.put("model.safetensors", checkpoint[:-1] + bytes([checkpoint[-1] ^ 1]))
    with pytest.raises(DigestMismatch, match="sha256"):
        store.pull(cards(checkpoint)[0])
