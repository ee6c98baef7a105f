"""The DINOv2 exporter on small random networks, and its way to the original weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="exporters are tested in the parity environment")
transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

from sightline.errors import ExportFailed, SourceUnreachable, UnknownModel  # noqa: E402
from sightline.export import Order, hub  # noqa: E402
from sightline.export.dinov2 import REPO, REVISION, Network, export, reference  # noqa: E402
from sightline.models import dinov2  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import GraphRuntime, Settings  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]


def order(name: str, output: Path, seed: int = 0) -> Order:
    return Order(model=name, weights="random", seed=seed, size="tiny", output=output)


@pytest.mark.parametrize("definition", dinov2.MODELS, ids=lambda definition: definition.name)
def test_a_random_network_loads_as_its_model(definition: Any, tmp_path: Path) -> None:
    export(order(definition.name, tmp_path))
    (path,) = tmp_path.iterdir()
    assert path.name == definition.card.artifacts[0].name
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    assert "Resize" not in {node.op_type for node in proto.graph.node}, (
        "positions are interpolated beforehand"
    )
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties == {"model": definition.name, "weights": "random", "seed": "0", "size": "tiny"}
    model = definition.load({path.name: path}, Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME)))
    size = next(each.square.size for each in dinov2.VARIANTS if each.name == definition.name)
    items = list(np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8))
    vectors = model.infer(items)
    assert [vector.shape for vector in vectors] == [(dinov2.DIMENSIONS,)] * 3
    np.testing.assert_allclose(model.infer(items[:1])[0], vectors[0], rtol=1e-3, atol=1e-4)
    assert np.linalg.norm(vectors[0] - vectors[1]) > 1e-3 * np.linalg.norm(vectors[0])


def test_layer_scales_count(tmp_path: Path) -> None:
    """Trained ones are far from 1, which is what random networks have."""
    original = reference(order("dinov2-base", tmp_path))
    for layer in original.encoder.layer:
        for scale in (layer.layer_scale1, layer.layer_scale2):
            scale.lambda1.data = torch.rand_like(scale.lambda1) * 2 - 0.5
    variant = dinov2.VARIANTS[0]
    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    with torch.no_grad():
        wanted = original(torch.from_numpy(variant.square.normalise(pixels.numpy()))).pooler_output
        found = Network(original, variant)(pixels)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        reference(order("dinov2-base", tmp_path, seed)).layernorm.bias for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_other_models_are_not_its_own(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="dinov2-base, dinov2-base-518"):
        export(order("dinov2-giant", tmp_path))


# -- original weights --------------------------------------------------------------------------------------

# Names of the tensors in model.safetensors of the original repository → in the library today.
PUBLISHED = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


def published(name: str) -> str:
    for ours, theirs in PUBLISHED.items():
        name = name.replace(ours, theirs)
    return name


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    """A small network as the original repository would hold it, in the hub client's cache, and itself."""
    model = reference(order("dinov2-base", tmp_path, seed=3))
    cache = tmp_path / "hub"
    repository = cache / f"models--{REPO.replace('/', '--')}"
    folder = repository / "snapshots" / REVISION
    folder.mkdir(parents=True)
    tensors = {published(name): tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors_torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    configuration = {**model.config.to_dict(), "architectures": ["Dinov2Model"]}
    (folder / "config.json").write_text(json.dumps(configuration))
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    return folder, model


def canonical(output: Path) -> Order:
    return Order(model="dinov2-base", weights="canonical", seed=0, size="full", output=output)


def test_the_published_checkpoint_is_understood(checkpoint: tuple[Path, Any], tmp_path: Path) -> None:
    _, model = checkpoint
    loaded = reference(canonical(tmp_path)).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint: tuple[Path, Any], tmp_path: Path) -> None:
    file = checkpoint[0] / "model.safetensors"
    tensors = safetensors_torch.load_file(file)
    del tensors["encoder.layer.1.layer_scale1.lambda1"]
    safetensors_torch.save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ExportFailed, match=r"lacks 1 of the model's weights.*layer_scale1"):
        export(canonical(tmp_path))


def test_another_network_is_refused(checkpoint: tuple[Path, Any], tmp_path: Path) -> None:
    file = checkpoint[0] / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "hidden_act": "relu"}))
    with pytest.raises(ExportFailed, match="not the network"):
        export(canonical(tmp_path))


def test_without_the_original_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnreachable, match="offline mode"):
        export(canonical(tmp_path))
