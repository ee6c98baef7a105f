"""DINOv2's graphs answer what its layers answer one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import plain
import pytest

from sightline.models import dinov2
from sightline.networks.dinov2 import Dinov2
from sightline.networks.transformer import Pixels
from sightline.weights.tensors import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network_of(size: int, patch: int) -> Dinov2:
    return Dinov2(pixels=Pixels(size, patch, MEAN, STD), layers=2, mlp_ratio=1, width=96)


def cubic(distance: float) -> float:
    """Keys' kernel with A = -3/4, by its definition."""
    d = abs(distance)
    if d < 1:
        return 1.25 * d**3 - 2.25 * d**2 + 1
    return -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d < 2 else 0.0


def interpolated(table: np.ndarray, grid: int) -> np.ndarray:
    """Each new place as the sum of the sixteen around it; those beyond the edge repeat the edge."""
    places = table.reshape(37, 37, -1)
    result = np.zeros((grid, grid, places.shape[-1]))
    for row in range(grid):
        for column in range(grid):
            y, x = ((at + 0.5) * 37 / grid - 0.5 for at in (row, column))
            for i in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
                for j in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                    place = places[min(max(i, 0), 36), min(max(j, 0), 36)]
                    result[row, column] += cubic(y - i) * cubic(x - j) * place
    return result.reshape(grid**2, -1)


# One grid that is the table's, and two that are interpolated: 16 is that of the model at 224 pixels.
@pytest.mark.parametrize(("size", "patch", "layers"), [(37 * 2, 2, 1), (32, 2, 2), (28, 14, 2)])
def test_the_vector_of_the_class_token(size: int, patch: int, layers: int, tmp_path: Path) -> None:
    network = replace(network_of(size, patch), layers=layers)
    checkpoint = network.draw(6)
    tensors = plain.read(checkpoint)
    pixels = plain.pictures(2, size)
    table = tensors["embeddings.position_embeddings"][0]
    places = table[1:] if size // patch == 37 else interpolated(table[1:], size // patch)
    x = plain.patch_convolution(pixels, tensors, "embeddings.patch_embeddings.projection", MEAN, STD) + places
    first = np.broadcast_to(tensors["embeddings.cls_token"][0] + table[0], (2, 1, 96))
    x = np.concatenate((first, x), 1)
    for number in range(layers):
        name = f"encoder.layer.{number}"
        seen = plain.norm(x, tensors, f"{name}.norm1", 1e-6)
        parts = (
            plain.linear(seen, tensors, f"{name}.attention.attention.{part}")
            for part in ("query", "key", "value")
        )
        seen = plain.linear(plain.attention(*parts, 12), tensors, f"{name}.attention.output.dense")
        x = x + seen * tensors[f"{name}.layer_scale1.lambda1"]
        inner = plain.linear(plain.norm(x, tensors, f"{name}.norm2", 1e-6), tensors, f"{name}.mlp.fc1")
        inner = plain.linear(plain.gelu(inner), tensors, f"{name}.mlp.fc2")
        x = x + inner * tensors[f"{name}.layer_scale2.lambda1"]
    wanted = plain.norm(x, tensors, "layernorm", 1e-6)[:, 0]
    (found,) = plain.run(
        network.graphs["image.onnx"], checkpoint, tmp_path / "image.onnx", {"pixels": pixels}
    )
    plain.require_close(found, wanted)
    assert np.corrcoef(found)[0, 1] < 0.99, "it must look at what it is given"


@pytest.mark.parametrize("variant", dinov2.VARIANTS, ids=lambda variant: variant.name)
def test_the_models_networks(variant: dinov2.Variant, tmp_path: Path) -> None:
    """Two models of one checkpoint, each with places for its own grid."""
    (graph,) = (each for each in dinov2.MODELS if each.name == variant.name)
    network = Dinov2(pixels=Pixels(variant.square.size, 14, MEAN, STD))
    assert len(network.tensors) == 222  # 223 in the file, less the mask token
    assert graph.card.artifacts[0] == dinov2.CHECKPOINT
    tiny = network.tiny()
    (found,) = plain.run(
        tiny.graphs["image.onnx"],
        tiny.draw(0),
        tmp_path / "image.onnx",
        {"pixels": plain.pictures(1, variant.square.size)},
    )
    assert found.shape == (1, dinov2.DIMENSIONS)


def test_layer_scales_are_in_the_weights(tmp_path: Path) -> None:
    """Scales of 0 leave the tokens as they were, so all pictures have one vector."""
    network = replace(network_of(28, 14), layers=1)
    tensors = dict(network.draw(6))
    for which in (1, 2):
        name = f"encoder.layer.0.layer_scale{which}.lambda1"
        tensors[name] = Tensor.of(np.zeros(tensors[name].shape, np.float32))
    build: Callable[..., object] = network.graphs["image.onnx"]
    (found,) = plain.run(build, tensors, tmp_path / "image.onnx", {"pixels": plain.pictures(2, 28)})
    np.testing.assert_array_equal(found[0], found[1])
