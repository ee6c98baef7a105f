"""CLIP's graphs answer what its layers answer one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain
import pytest

from sightline.models import clip

IMAGE_TOWERS = [tower for tower in clip.TOWERS if not tower.reads_text]
TEXT_TOWERS = [tower for tower in clip.TOWERS if tower.reads_text]


def block(
    x: np.ndarray, tensors: plain.Tensors, name: str, heads: int, mask: np.ndarray | float
) -> np.ndarray:
    seen = plain.norm(x, tensors, f"{name}.layer_norm1", 1e-5)
    parts = (plain.linear(seen, tensors, f"{name}.self_attn.{part}_proj") for part in "qkv")
    x = x + plain.linear(plain.attention(*parts, heads, mask), tensors, f"{name}.self_attn.out_proj")
    inner = plain.linear(plain.norm(x, tensors, f"{name}.layer_norm2", 1e-5), tensors, f"{name}.mlp.fc1")
    return x + plain.linear(plain.quick_gelu(inner), tensors, f"{name}.mlp.fc2")


@pytest.mark.parametrize("tower", IMAGE_TOWERS, ids=lambda tower: tower.name)
def test_pictures(tower: clip.Tower, tmp_path: Path) -> None:
    network = tower.network.tiny()
    checkpoint = network.draw(4)
    tensors = plain.read(checkpoint)
    pixels = plain.pictures(2, 224)
    x = plain.patch_convolution(
        pixels, tensors, "vision_model.embeddings.patch_embedding", clip.SQUARE.mean, clip.SQUARE.std
    )
    first = np.broadcast_to(tensors["vision_model.embeddings.class_embedding"], (2, 1, network.width))
    x = np.concatenate((first, x), 1) + tensors["vision_model.embeddings.position_embedding.weight"]
    x = plain.norm(x, tensors, "vision_model.pre_layrnorm", 1e-5)
    for number in range(network.layers):
        x = block(x, tensors, f"vision_model.encoder.layers.{number}", network.heads, 0.0)
    x = plain.norm(x[:, 0], tensors, "vision_model.post_layernorm", 1e-5)
    wanted = x @ tensors["visual_projection.weight"].T
    (found,) = plain.run(
        network.graphs["image.onnx"], checkpoint, tmp_path / "image.onnx", {"pixels": pixels}
    )
    assert found.shape == (2, tower.dimensions)
    plain.require_close(found, wanted)
    assert np.corrcoef(found)[0, 1] < 0.99, "it must look at what it is given"


@pytest.mark.parametrize("length", [77, 8])
@pytest.mark.parametrize("tower", TEXT_TOWERS, ids=lambda tower: tower.name)
def test_texts(tower: clip.Tower, length: int, tmp_path: Path) -> None:
    network = tower.network.tiny()
    checkpoint = network.draw(4)
    tensors = plain.read(checkpoint)
    ids = np.random.default_rng(2).integers(1, clip.END_TOKEN - 1, (3, length))
    ends = np.array([length - 1, 1, length // 2])
    for row, end in zip(ids, ends, strict=True):
        row[end], row[end + 1 :] = clip.END_TOKEN, 0
    x = tensors["text_model.embeddings.token_embedding.weight"][ids]
    x = x + tensors["text_model.embeddings.position_embedding.weight"][:length]
    for number in range(network.layers):
        x = block(x, tensors, f"text_model.encoder.layers.{number}", network.heads, plain.causal(length))
    x = plain.norm(x, tensors, "text_model.final_layer_norm", 1e-5)
    wanted = x[np.arange(3), ends] @ tensors["text_projection.weight"].T
    (found,) = plain.run(network.graphs["text.onnx"], checkpoint, tmp_path / "text.onnx", {"input_ids": ids})
    assert found.shape == (3, tower.dimensions)
    plain.require_close(found, wanted)
    assert np.corrcoef(found)[0, 1] < 0.99, "it must read what it is given"


def test_a_padded_text_has_the_vector_of_the_unpadded(tmp_path: Path) -> None:
    network = TEXT_TOWERS[0].network.tiny()
    network.graphs["text.onnx"](network.draw(1)).save(tmp_path / "text.onnx", {})
    run: Callable[..., list[np.ndarray]] = plain.session(tmp_path / "text.onnx").run
    short = np.array([[49406, 320, 1929, clip.END_TOKEN]])
    padded = np.pad(short, ((0, 0), (0, 12)))
    np.testing.assert_allclose(
        run(None, {"input_ids": short})[0], run(None, {"input_ids": padded})[0], rtol=1e-4, atol=1e-4
    )
