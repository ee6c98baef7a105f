"""The BLIP exporter on small random captioners: its files, and the captions written with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="exporters are tested in the parity environment")
transformers = pytest.importorskip("transformers")

from sightline.errors import ExportFailed, UnknownModel  # noqa: E402
from sightline.export import Order, hub  # noqa: E402
from sightline.export.blip import export, reference  # noqa: E402
from sightline.models import blip  # noqa: E402
from sightline.models.blip.captioner import Captioner, Item  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import GraphRuntime, Settings  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]


def order(name: str, output: Path, seed: int = 0) -> Order:
    return Order(model=name, weights="random", seed=seed, size="tiny", output=output)


def load(name: str, folder: Path) -> Captioner:
    definition = next(each for each in blip.MODELS if each.name == name)
    files = {artifact.name: folder / artifact.name for artifact in definition.card.artifacts}
    graphs = Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME))
    model = definition.load(files, graphs)
    assert isinstance(model, Captioner)
    return model


def generated(original: Any, pixels: np.ndarray, num_beams: int, max_length: int) -> list[int]:
    options: dict[str, Any] = {"early_stopping": True} if num_beams > 1 else {}
    ids = original.generate(
        pixel_values=torch.from_numpy(blip.SQUARE.normalise(pixels[None])),
        max_length=max_length,
        num_beams=num_beams,
        do_sample=False,
        **options,
    )
    return ids[0].tolist()


# Seeds whose captions are of several lengths.
@pytest.mark.parametrize(("name", "seed"), [("blip-base", 3), ("blip-large", 1)])
def test_a_random_captioner_writes_what_the_library_writes(name: str, seed: int, tmp_path: Path) -> None:
    checkpoint = next(each for each in blip.CHECKPOINTS if each.name == name)
    export(order(name, tmp_path, seed))
    for file in ("vision.onnx", "decoder.onnx"):
        proto = onnx.load(tmp_path / file)
        onnx.checker.check_model(proto)
        properties = {entry.key: entry.value for entry in proto.metadata_props}
        assert properties["weights"] == "random"
        assert properties["tokenizer"] == "stand-in"
    model = load(name, tmp_path)
    original = reference(checkpoint, order(name, tmp_path, seed))
    pictures = np.random.default_rng(0).integers(0, 256, (5, 1, 1, 3), dtype=np.uint8)
    noise = np.random.default_rng(1).integers(0, 64, (5, 384, 384, 3), dtype=np.uint8)
    pixels = pictures // 2 + noise
    asked = [(2, 4), (3, 2), (9, 1), (12, 3), (20, 4), (24, 1), (40, 4)]
    items = [Item(each, length, beams) for each in pixels for length, beams in asked]
    wanted = [generated(original, item.pixels, item.num_beams, item.max_length) for item in items]
    assert model.token_ids(items) == wanted
    assert len({len(ids) for ids in wanted}) > 4, "some must end early, at various lengths"
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert [model.text(ids) for ids in wanted] == [
        tokenizer.decode(ids, skip_special_tokens=True) for ids in wanted
    ]


def test_a_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        reference(blip.CHECKPOINTS[0], order("blip-base", tmp_path, seed)).get_input_embeddings().weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_other_models_are_other_families(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="blip-base, blip-large"):
        export(order("clip-vit-b-32", tmp_path))


# -- original weights --------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkpoint as the original repositories have them, in place of the hub."""
    folder = tmp_path / "hub"
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    configuration = transformers.BlipConfig(
        text_config=small, vision_config={**small, "image_size": 384, "initializer_range": 0.02}
    )
    torch.manual_seed(5)
    model = transformers.BlipForConditionalGeneration(configuration)
    folder.mkdir()
    state = dict(model.state_dict())
    # Checkpoints of the library's early days hold buffers that it no longer knows.
    state["text_decoder.bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(state, folder / "pytorch_model.bin")
    described = {**configuration.to_dict(), "architectures": ["BlipForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(hub, "fetch", lambda repo, path, revision: _in(folder, path))
    return folder


def _in(folder: Path, path: str) -> Path:
    from sightline.errors import SourceMissing

    if not (folder / path).is_file():
        raise SourceMissing(path)
    return folder / path


def test_original_weights_are_exported_with_their_tokenizer(checkpoint_folder: Path, tmp_path: Path) -> None:
    """Heads come from the checkpoint's configuration: the library's own default is another number."""
    out = tmp_path / "out"
    out.mkdir()
    export(Order(model="blip-base", weights="canonical", seed=0, size="full", output=out))
    assert {path.name for path in out.iterdir()} == {"vision.onnx", "decoder.onnx", "tokenizer.json"}
    assert (out / "tokenizer.json").read_text() == "{}"
    properties = {entry.key: entry.value for entry in onnx.load(out / "vision.onnx").metadata_props}
    assert properties["tokenizer"].startswith("hub file Salesforce/blip-image-captioning-base/tokenizer.json")
    (picture,) = Graphs(Settings(graph_runtime="onnxruntime"))(out / "vision.onnx").outputs
    assert picture.shape == (4, None, 4, 577, 16)


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint_folder: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint_folder / "pytorch_model.bin")
    del state["text_decoder.bert.encoder.layer.1.crossattention.self.key.weight"]
    torch.save(state, checkpoint_folder / "pytorch_model.bin")
    with pytest.raises(ExportFailed, match="lacks 1 of"):
        export(Order(model="blip-base", weights="canonical", seed=0, size="full", output=tmp_path / "out"))
