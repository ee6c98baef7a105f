"""The Faster R-CNN exporter: tiny random halves, and the published weights' way from the network to files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="exporters are tested in the parity environment")
torchvision = pytest.importorskip("torchvision")

from sightline.errors import DigestMismatch, ExportFailed, SourceUnreachable, UnknownModel  # noqa: E402
from sightline.export import Order, fasterrcnn  # noqa: E402
from sightline.imaging import ImageLimits, View, encode_png, open_picture  # noqa: E402
from sightline.models.fasterrcnn import BOXES, CARD, FEATURES, load  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import GraphRuntime, Settings  # noqa: E402
from sightline.weights.exporting import run_exporter  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

CANONICAL = Order(model=CARD.name, weights="canonical", seed=0, size="full", output=Path())


def order(output: Path, seed: int = 0, size: str = "tiny") -> Order:
    return Order(model=CARD.name, weights="random", seed=seed, size=size, output=output)  # type: ignore[arg-type]


def test_a_random_model_loads_and_finds_things(tmp_path: Path) -> None:
    fasterrcnn.export(order(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {artifact.name for artifact in CARD.artifacts}
    for name in (FEATURES, BOXES):
        proto = onnx.load(tmp_path / name)
        onnx.checker.check_model(proto)
        properties = {entry.key: entry.value for entry in proto.metadata_props}
        assert properties == {"model": CARD.name, "weights": "random", "seed": "0", "size": "tiny"}
    files = {name: tmp_path / name for name in (FEATURES, BOXES)}
    picture = open_picture(encode_png(data.astronaut()), ImageLimits.from_settings(Settings()))
    answers = []
    for runtime in (GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME):
        model = load(files, Graphs(Settings(graph_runtime=runtime)))
        answers.append(model.infer([model.prepare(View(picture))])[0])
    assert len({thing.label for thing in answers[0]}) > 1
    for one, other in zip(*answers, strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-3)


def test_a_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        fasterrcnn.reference(order(tmp_path, seed)).backbone.body.conv1.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_another_model_is_refused(tmp_path: Path) -> None:
    wrong = Order(model="retinanet", weights="random", seed=0, size="tiny", output=tmp_path)
    with pytest.raises(UnknownModel, match="fasterrcnn-resnet50-fpn"):
        fasterrcnn.export(wrong)


# -- published weights -------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache of downloads, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def publish(state: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(fasterrcnn, "WEIGHTS_DIGEST", digest[:8])


def name_of_file() -> str:
    return fasterrcnn.WEIGHTS_URL.rpartition("/")[2]


def test_published_weights_compute_what_they_do_in_torchvision(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision adds no epsilon to the variances of these weights; small ones would show it."""
    state = fasterrcnn.reference(order(tmp_path, size="full")).state_dict()
    state["backbone.body.bn1.running_var"][:4] = 0.01
    publish(state, cache / name_of_file(), monkeypatch)
    ours = fasterrcnn.reference(CANONICAL)
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    weights = torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1
    theirs = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=weights).eval()
    assert weights.url == fasterrcnn.WEIGHTS_URL
    assert weights.meta["num_params"] == CARD.parameters == sum(p.numel() for p in ours.parameters())
    image = torch.from_numpy(data.coffee()[:200, :160].copy()).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        found, wanted = ours([image])[0], theirs([image])[0]
    assert len(found["boxes"]) > 0
    for part in ("boxes", "scores", "labels"):
        torch.testing.assert_close(found[part], wanted[part])


def test_a_file_with_another_digest_is_refused(cache: Path) -> None:
    (cache / name_of_file()).write_bytes(b"not the weights")
    with pytest.raises(DigestMismatch, match="258fb6c6"):
        fasterrcnn.reference(CANONICAL)


def test_weights_of_another_model_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish({"weight": torch.zeros(1)}, cache / name_of_file(), monkeypatch)
    with pytest.raises(ExportFailed, match="do not fit"):
        fasterrcnn.reference(CANONICAL)


def test_a_silent_network_is_said_in_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fasterrcnn, "WEIGHTS_URL", "http://127.0.0.1:9/weights-258fb6c6.pth")
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:9 does not answer"):
        fasterrcnn.reference(CANONICAL)
    monkeypatch.setattr(fasterrcnn.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnreachable, match="offline"):
        fasterrcnn.reference(CANONICAL)


def test_it_runs_in_an_environment_of_its_own(tmp_path: Path) -> None:
    lines: list[str] = []
    run_exporter(
        "fasterrcnn",
        model=CARD.name,
        weights="random",
        seed=5,
        size="tiny",
        output=tmp_path,
        offline=False,
        log=lines.append,
    )
    assert sum("agrees with the original" in line for line in lines) == 12
    assert (tmp_path / BOXES).stat().st_size > np.prod([784, 64])
