"""The MegaDetector exporter: random networks, and a checkpoint that looks like the published one."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="exporters are tested in the parity environment")
nn = torch.nn

from sightline.errors import DigestMismatch, ExportFailed, SourceMissing, SourceUnreachable, UnknownModel  # noqa: E402
from sightline.export import Order, downloads, megadetector, yolov5x6  # noqa: E402
from sightline.imaging import ImageLimits, View, encode_png, open_picture  # noqa: E402
from sightline.models.megadetector import CARD, DETECTOR, load  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import GraphRuntime, Settings  # noqa: E402
from sightline.weights.exporting import run_exporter  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]


def order(output: Path, seed: int = 0, **more: Any) -> Order:
    return Order(
        model=CARD.name, **{"weights": "random", "size": "tiny", "seed": seed, "output": output, **more}
    )


def canonical(output: Path, **more: Any) -> Order:
    return order(output, weights="canonical", size="full", **more)


def test_a_random_model_loads_and_finds_things(tmp_path: Path) -> None:
    megadetector.export(order(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [DETECTOR]
    proto = onnx.load(tmp_path / DETECTOR)
    onnx.checker.check_model(proto)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties == {"model": CARD.name, "weights": "random", "seed": "0", "size": "tiny"}
    pictures = [
        View(open_picture(encode_png(pixels), ImageLimits.from_settings(Settings())))
        for pixels in (data.astronaut(), data.coffee())
    ]
    answers = []
    for runtime in (GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME):
        model = load({DETECTOR: tmp_path / DETECTOR}, Graphs(Settings(graph_runtime=runtime)))
        answers.append(model.infer([model.prepare(view) for view in pictures]))
    for one, other in zip(*answers, strict=True):
        assert len({thing.label for thing in one}) > 1
        assert one[0].score > 0.2
        for ours, theirs in zip(one[:20], other[:20], strict=True):
            assert ours.label == theirs.label
            assert ours.score == pytest.approx(theirs.score, abs=1e-3)


def test_a_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        megadetector.reference(order(tmp_path, seed)).model[0].conv.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_full_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = yolov5x6.YoloV5x6()
    fused = sum(parameter.numel() for parameter in network.parameters()) - sum(
        layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)
    )
    assert fused == CARD.parameters == 139_990_096


def test_candidates_are_decoded_by_the_published_rule() -> None:
    """One cell's answer, by hand: centre (2σ − ½ + cell) · stride, sides (2σ)² · anchor."""
    head = yolov5x6.Detect((1, 1, 1, 1))
    with torch.no_grad():
        for layer in head.m:
            layer.weight.zero_()
            layer.bias.copy_(torch.linspace(-3, 3, 24))
    shape = {8: (8, 16), 16: (4, 8), 32: (2, 4), 64: (1, 2)}
    found = head([torch.zeros(1, 1, *shape[stride]) for stride in yolov5x6.STRIDES])[0]
    assert len(found) == 3 * (128 + 32 + 8 + 2)
    sigmoids = torch.linspace(-3, 3, 24).sigmoid().reshape(3, 8)
    # Second level, third anchor, row 2, column 5.
    row = found[3 * 128 + 2 * 32 + 2 * 8 + 5]
    x, y, w, h = sigmoids[2, :4].tolist()
    anchor = yolov5x6.ANCHORS[1][2]
    wanted = [
        (2 * x - 0.5 + 5) * 16,
        (2 * y - 0.5 + 2) * 16,
        (2 * w) ** 2 * anchor[0],
        (2 * h) ** 2 * anchor[1],
    ]
    assert row[:4].tolist() == pytest.approx(wanted, rel=1e-5)
    assert row[4:].tolist() == pytest.approx(sigmoids[2, 4:].tolist(), rel=1e-5)


def test_another_model_is_refused(tmp_path: Path) -> None:
    wrong = Order(model="yolo", weights="random", seed=0, size="tiny", output=tmp_path)
    with pytest.raises(UnknownModel, match="megadetector-v5a"):
        megadetector.export(wrong)


# -- a checkpoint like the published one -------------------------------------------------------------------


def foreign(name: str, module: str, **children: Any) -> Any:
    """An instance of a made-up class of the network's training code, holding ``children``."""
    sys.modules.setdefault("models", ModuleType("models"))
    home = sys.modules.setdefault(module, ModuleType(module))
    kind = getattr(home, name, None)
    if kind is None:
        kind = type(name, (nn.Module,), {"__module__": module, "__qualname__": name})
        setattr(home, name, kind)
    made = kind()
    for child, value in children.items():
        setattr(made, child, value)
    return made


def as_published(layer: Any) -> Any:
    """One layer of ours as the training code would have it pickled."""
    common = functools.partial(foreign, module="models.common")
    if isinstance(layer, yolov5x6.Conv):
        return common("Conv", conv=layer.conv, bn=layer.bn, act=nn.SiLU())
    if isinstance(layer, yolov5x6.Bottleneck):
        return common(
            "Bottleneck", cv1=as_published(layer.cv1), cv2=as_published(layer.cv2), add=layer.shortcut
        )
    if isinstance(layer, yolov5x6.C3):
        parts = {name: as_published(getattr(layer, name)) for name in ("cv1", "cv2", "cv3")}
        return common("C3", **parts, m=nn.Sequential(*map(as_published, layer.m)))
    if isinstance(layer, yolov5x6.Pyramid):
        return common(
            "SPPF", cv1=as_published(layer.cv1), cv2=as_published(layer.cv2), m=nn.MaxPool2d(5, 1, 2)
        )
    if isinstance(layer, yolov5x6.Double):
        return nn.Upsample(None, 2, "nearest")
    if isinstance(layer, yolov5x6.Detect):
        made = foreign(
            "Detect", "models.yolo", m=layer.m, nc=3, stride=torch.tensor([8.0, 16, 32, 64]), f=[23]
        )
        made.register_buffer("anchors", layer.anchors)
        return made
    return common("Concat", d=1)


def tiny_or_given(widths: Any = yolov5x6.TINY) -> Any:
    return yolov5x6.YoloV5x6(widths)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes one, in half precision as published, with the classes gone afterwards; tiny instead of full."""
    monkeypatch.setattr(megadetector, "YoloV5x6", tiny_or_given)

    def write(network: Any, name: str = "md_v5a.0.0.pt") -> Path:
        layers = [as_published(layer) for layer in network.model]
        for number, layer in enumerate(layers):
            layer.i, layer.f = number, yolov5x6._SOURCES.get(number, -1)
        model = foreign(
            "Model", "models.yolo", model=nn.Sequential(*layers), names=["animal", "person", "vehicle"]
        )
        content = {"epoch": -1, "best_fitness": np.array([0.7]), "model": model.half(), "optimizer": None}
        path = tmp_path / "published" / name
        path.parent.mkdir(exist_ok=True)
        torch.save(content, path)
        model.float()
        for module in ("models", "models.common", "models.yolo"):
            sys.modules.pop(module, None)
        return path

    return write


def halved(network: Any) -> Any:
    """What is left of a network's numbers after half precision."""
    return network.half().float()


def test_a_checkpoint_is_exported_without_its_code(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    network = megadetector.reference(order(tmp_path, seed=3))
    network.model[-1].anchors *= 2  # training moves them
    path = checkpoint(network)
    wanted = halved(network)
    megadetector.export(canonical(tmp_path, source=path))
    assert "models.yolo" not in sys.modules
    ours = megadetector.reference(canonical(tmp_path, source=path))
    for (name, one), (_, other) in zip(ours.state_dict().items(), wanted.state_dict().items(), strict=True):
        assert torch.equal(one, other), name
    graph = Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME))(tmp_path / DETECTOR)
    pixels = data.chelsea()[None, :128, :192].copy()
    (found,) = graph.run({"pixels": pixels})
    with torch.no_grad():
        original = wanted(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(found, original.numpy(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("which", ["file", "folder"])
def test_files_of_the_users(checkpoint: Callable[..., Path], tmp_path: Path, which: str) -> None:
    path = checkpoint(megadetector.reference(order(tmp_path)), "md_v5a.0.1.pt")
    source = path if which == "file" else path.parent
    assert megadetector.reference(canonical(tmp_path, source=source)).model[0].conv.weight.shape[0] == 8
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    megadetector.reference(canonical(tmp_path, source=source, trusted_sha256=right.upper()))
    with pytest.raises(DigestMismatch, match=f"has sha256 {right} and not 0000"):
        megadetector.reference(canonical(tmp_path, source=source, trusted_sha256="0" * 64))


def test_folders_with_none_or_two_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="holds 0"):
        megadetector.reference(canonical(tmp_path, source=tmp_path))
    for number in (0, 1):
        (tmp_path / f"md_v5a.0.{number}.pt").touch()
    with pytest.raises(ExportFailed, match="holds 2"):
        megadetector.reference(canonical(tmp_path, source=tmp_path))
    with pytest.raises(ExportFailed, match=r"no file gone\.pt"):
        megadetector.reference(canonical(tmp_path, source=tmp_path / "gone.pt"))


def test_a_network_of_another_shape_is_refused(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    network = megadetector.reference(order(tmp_path))
    network.model[1].conv = nn.Conv2d(8, 16, 3, 2, 1, bias=False)
    with pytest.raises(ExportFailed, match=r"md_v5a\.0\.0\.pt is no YOLOv5x6 of three classes"):
        megadetector.reference(canonical(tmp_path, source=checkpoint(network)))


# -- the network -------------------------------------------------------------------------------------------


def test_the_second_address_is_tried(
    checkpoint: Callable[..., Path], downloads_cache: Path, published: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    path = checkpoint(megadetector.reference(order(tmp_path)))
    url = published({"/second.pt": path.read_bytes()})
    monkeypatch.setattr(megadetector, "CHECKPOINTS", (f"{url}/first.pt", f"{url}/second.pt"))
    megadetector.reference(canonical(tmp_path))
    assert [file.name for file in downloads_cache.iterdir()] == ["second.pt"]
    monkeypatch.setattr(downloads.constants, "HF_HUB_OFFLINE", True)
    megadetector.reference(canonical(tmp_path))  # out of the cache


def test_a_silent_network_is_said_in_one_line(
    downloads_cache: Path, published: Any, monkeypatch: Any
) -> None:
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:9 does not answer, and a\.pt is not in"):
        downloads.fetch("http://127.0.0.1:9/a.pt")
    with pytest.raises(SourceMissing, match=r"answers 404 for a\.pt"):
        downloads.fetch(published({}) + "/a.pt")
    monkeypatch.setattr(downloads.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnreachable, match="offline"):
        downloads.fetch("http://127.0.0.1:9/a.pt")


def test_it_runs_in_an_environment_of_its_own(tmp_path: Path) -> None:
    lines: list[str] = []
    run_exporter(
        "megadetector",
        model=CARD.name,
        weights="random",
        seed=5,
        size="tiny",
        output=tmp_path,
        offline=False,
        log=lines.append,
    )
    assert sum("agrees with the original" in line for line in lines) == 2
    assert (tmp_path / DETECTOR).stat().st_size > 100_000
