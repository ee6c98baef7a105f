"""BLIP's graphs answer what its layers answer one by one, and a decoder without a memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import plain
import pytest

from sightline.errors import CheckpointInvalid
from sightline.models import blip
from sightline.models.blip.captioner import BEGIN_TOKEN, Captioner, Item
from sightline.networks import fitted
from sightline.networks.blip import Blip
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Settings
from sightline.weights.sources import Recipe
from sightline.weights.tensors import Checkpoint, Tensor

LAYER = "text_decoder.bert.encoder.layer"
HEAD = "text_decoder.cls.predictions"
WORDS = "text_decoder.bert.embeddings.word_embeddings.weight"


def small(size: blip.Captioning) -> Blip:
    """The tiny network on pictures of four patches."""
    network = size.network.tiny()
    return replace(network, pixels=replace(network.pixels, size=32))


def vision(pixels: np.ndarray, tensors: plain.Tensors, network: Blip) -> np.ndarray:
    prefix = "vision_model.embeddings"
    x = plain.patch_convolution(
        pixels, tensors, f"{prefix}.patch_embedding", blip.SQUARE.mean, blip.SQUARE.std
    )
    first = np.broadcast_to(tensors[f"{prefix}.class_embedding"], (len(x), 1, x.shape[-1]))
    x = np.concatenate((first, x), 1) + tensors[f"{prefix}.position_embedding"]
    for number in range(network.vision_layers):
        name = f"vision_model.encoder.layers.{number}"
        seen = plain.norm(x, tensors, f"{name}.layer_norm1", 1e-5)
        parts = np.split(plain.linear(seen, tensors, f"{name}.self_attn.qkv"), 3, -1)
        seen = plain.attention(*parts, network.vision_heads)
        x = x + plain.linear(seen, tensors, f"{name}.self_attn.projection")
        inner = plain.linear(plain.norm(x, tensors, f"{name}.layer_norm2", 1e-5), tensors, f"{name}.mlp.fc1")
        x = x + plain.linear(plain.gelu(inner), tensors, f"{name}.mlp.fc2")
    return plain.norm(x, tensors, "vision_model.post_layernorm", 1e-5)


def logits(line: np.ndarray, seen: np.ndarray, tensors: plain.Tensors, network: Blip) -> np.ndarray:
    """After each token of one line [L], [L, vocabulary]; ``seen`` [patches, width] of one picture."""
    embeddings = "text_decoder.bert.embeddings"
    x = tensors[WORDS][line] + tensors[f"{embeddings}.position_embeddings.weight"][: len(line)]
    x = plain.norm(x, tensors, f"{embeddings}.LayerNorm", 1e-12)
    for number in range(network.text_layers):
        for kind, told, mask in (("attention", None, plain.causal(len(line))), ("crossattention", seen, 0.0)):
            name = f"{LAYER}.{number}.{kind}"
            query = plain.linear(x, tensors, f"{name}.self.query")
            key, value = (
                plain.linear(x if told is None else told, tensors, f"{name}.self.{part}")
                for part in ("key", "value")
            )
            mixed = plain.attention(query, key, value, network.text_heads, mask)
            x = plain.norm(
                x + plain.linear(mixed, tensors, f"{name}.output.dense"),
                tensors,
                f"{name}.output.LayerNorm",
                1e-12,
            )
        name = f"{LAYER}.{number}"
        inner = plain.gelu(plain.linear(x, tensors, f"{name}.intermediate.dense"))
        inner = plain.linear(inner, tensors, f"{name}.output.dense")
        x = plain.norm(x + inner, tensors, f"{name}.output.LayerNorm", 1e-12)
    x = plain.gelu(plain.linear(x, tensors, f"{HEAD}.transform.dense"))
    x = plain.norm(x, tensors, f"{HEAD}.transform.LayerNorm", 1e-12)
    return x @ tensors[WORDS].T + tensors[f"{HEAD}.bias"]


@pytest.mark.parametrize("size", blip.SIZES, ids=lambda size: size.name)
def test_keys_and_values_of_pictures(size: blip.Captioning, tmp_path: Path) -> None:
    network = small(size)
    checkpoint = network.draw(1)
    tensors, pixels = plain.read(checkpoint), plain.pictures(2, 32)
    seen = vision(pixels, tensors, network)
    parts = [
        plain.linear(seen, tensors, f"{LAYER}.{number}.crossattention.self.{part}")
        for part in ("key", "value")
        for number in range(network.text_layers)
    ]
    wanted = np.stack(parts).reshape(6, 2, 5, 2, 32).transpose(0, 1, 3, 2, 4)
    (found,) = plain.run(
        network.graphs["vision.onnx"], checkpoint, tmp_path / "vision.onnx", {"pixels": pixels}
    )
    plain.require_close(found, wanted)


@pytest.mark.parametrize("size", blip.SIZES, ids=lambda size: size.name)
def test_a_step_sees_its_own_line(size: blip.Captioning, tmp_path: Path) -> None:
    """Two pictures, two beams that share their first token, three steps; a slot of no line in between."""
    network = small(size)
    checkpoint = network.draw(1)
    tensors, pixels = plain.read(checkpoint), plain.pictures(2, 32)
    seen = vision(pixels, tensors, network)
    network.graphs["vision.onnx"](checkpoint).save(tmp_path / "vision.onnx", {})
    network.graphs["decoder.onnx"](checkpoint).save(tmp_path / "decoder.onnx", {})
    (picture,) = plain.session(tmp_path / "vision.onnx").run(None, {"pixels": pixels})
    decoder = plain.session(tmp_path / "decoder.onnx")
    lines = np.array([[[BEGIN_TOKEN, 2000, 3000], [BEGIN_TOKEN, 2000, 4000]]] * 2)
    lines[1] += [0, 17, 19]
    past = np.full((6, 2, 2, 1, 32), 5, np.float32)
    hidden = np.full((2, 2, 1), -1e4, np.float32)
    for step in range(3):
        inputs = {"ids": lines[:, :, step], "position": np.array([step]), "hidden": hidden}
        found, states = decoder.run(None, {**inputs, "past": past, "picture": picture})
        for number in range(2):
            for beam in range(2):
                wanted = logits(lines[number, beam, : step + 1], seen[number], tensors, network)[-1]
                plain.require_close(found[number, beam], wanted)
        past = np.concatenate((past, states), 3)
        # Of the first two steps beam 0's slot serves both; of the third each has its own.
        own = np.array([[0, -1e4], [0, -1e4]], np.float32)
        hidden = np.concatenate((hidden, np.broadcast_to(own, (2, 2, 2))), 2)


def with_copies(network: Blip) -> dict[str, Tensor]:
    tensors = dict(network.draw(1))
    tensors[f"{HEAD}.decoder.weight"] = tensors[WORDS]
    tensors[f"{HEAD}.decoder.bias"] = tensors[f"{HEAD}.bias"]
    tensors["text_decoder.bert.embeddings.position_ids"] = Tensor(
        "I64", (1, 512), lambda: np.arange(512)[None]
    )
    return tensors


def test_copies_are_dropped() -> None:
    network = small(blip.SIZES[0])
    assert list(fitted(network, with_copies(network))) == list(network.tensors)


def test_a_copy_can_take_the_place_of_its_original() -> None:
    """Files that store a shared tensor once need not store it under the first of its names."""
    network = small(blip.SIZES[0])
    tensors = with_copies(network)
    bias = tensors.pop(f"{HEAD}.bias")
    assert fitted(network, tensors)[f"{HEAD}.bias"] is bias


@pytest.mark.parametrize("copy", ["decoder.weight", "decoder.bias"])
def test_a_copy_that_differs_is_refused(copy: str) -> None:
    network = small(blip.SIZES[0])
    tensors = with_copies(network)
    changed = tensors[f"{HEAD}.{copy}"].numpy().copy()
    changed.flat[-1] += 1
    tensors[f"{HEAD}.{copy}"] = Tensor.of(changed)
    with pytest.raises(CheckpointInvalid, match=f"{HEAD}.{copy}"):
        fitted(network, tensors)


@pytest.mark.parametrize(
    ("size", "numbers"), [(blip.SIZES[0], 223_971_644), (blip.SIZES[1], 446_290_492)], ids=["base", "large"]
)
def test_the_networks_have_the_published_numbers(size: blip.Captioning, numbers: int) -> None:
    assert sum(int(np.prod(shape)) for shape in size.network.tensors.values()) == numbers


def test_the_table_of_words_is_stored_once(tmp_path: Path) -> None:
    network = small(blip.SIZES[0])
    checkpoint: Checkpoint = network.draw(1)
    network.graphs["decoder.onnx"](checkpoint).save(tmp_path / "decoder.onnx", {})
    assert (tmp_path / "decoder.onnx").stat().st_size < 1.3 * 4 * checkpoint[WORDS].size


@pytest.mark.parametrize("definition", blip.MODELS, ids=lambda definition: definition.name)
def test_made_up_captions_end(definition: blip.ModelDefinition, tmp_path: Path) -> None:
    """Some before their greatest length, at several lengths, and other pictures have other captions."""
    for artifact in definition.card.artifacts:
        if artifact.made_up is not None:
            artifact.made_up(tmp_path / artifact.name, Recipe(size="tiny"))
    files = {path.name: path for path in tmp_path.iterdir()}
    model = definition.load(files, Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME)))
    assert isinstance(model, Captioner)
    captions = model.token_ids([Item(pixels, 30, 3) for pixels in plain.pictures(6, 384)])
    assert len({tuple(ids) for ids in captions}) > 3
    assert len({len(ids) for ids in captions}) > 1
    assert max(len(set(ids)) for ids in captions) > 3
    assert all(model.text(ids) for ids in captions if len(ids) > 2)
