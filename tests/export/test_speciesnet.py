"""The SpeciesNet exporter: random networks, and a release like the published ones."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data

torch = pytest.importorskip("torch", reason="exporters are tested in the parity environment")
onnx2torch = pytest.importorskip("onnx2torch")

from sightline.errors import DigestMismatch, ExportFailed, SourceMissing, SourceUnreachable, UnknownModel  # noqa: E402
from sightline.export import Order, downloads, hub, made_up_taxonomy, speciesnet, speciesnet_release  # noqa: E402
from sightline.imaging import ImageLimits, View, encode_png, open_picture  # noqa: E402
from sightline.models.speciesnet import CLASSIFIER, LABELS, load  # noqa: E402
from sightline.models.speciesnet_ensemble import GEOFENCE_FILE, TAXONOMY_FILE  # noqa: E402
from sightline.models.speciesnet_ensemble import load as load_rules  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import GraphRuntime, Precision, Settings  # noqa: E402
from sightline.weights.exporting import run_exporter  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

NAME = "speciesnet-v4.0.3a"
STEM = "always_crop_99710272_22x8_v12_epoch_00148"
LABELLED = "".join(f"uuid-{n};mammalia;order;family;genus;kind{n};animal {n}\n" for n in range(40))


def order(output: Path, seed: int = 0, model: str = NAME, **more: Any) -> Order:
    return Order(model=model, **{"weights": "random", "size": "tiny", "seed": seed, "output": output, **more})


def canonical(output: Path, source: Path | None, trusted: str | None = None, model: str = NAME) -> Order:
    return order(output, model=model, weights="canonical", size="full", source=source, trusted_sha256=trusted)


def view(pixels: np.ndarray) -> View:
    return View(open_picture(encode_png(pixels), ImageLimits.from_settings(Settings())))


# -- random weights ----------------------------------------------------------------------------------------


def test_a_random_classifier_loads_and_tells_photos_apart(tmp_path: Path) -> None:
    speciesnet.export(order(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {CLASSIFIER, LABELS}
    proto = onnx.load(tmp_path / CLASSIFIER)
    onnx.checker.check_model(proto)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties == {"model": NAME, "weights": "random", "seed": "0", "size": "tiny"}
    files = {name: tmp_path / name for name in (CLASSIFIER, LABELS)}
    answers = []
    for runtime in (GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME):
        model = load(files, Graphs(Settings(graph_runtime=runtime, precision=Precision.F32)))
        items = [model.prepare(view(pixels)) for pixels in (data.astronaut(), data.coffee(), data.chelsea())]
        answers.append(model.infer(items))
    for one, other in zip(*answers, strict=True):
        assert one.labels[0] == other.labels[0]
        assert one.scores == pytest.approx(other.scores, rel=1e-2)
        assert list(one.scores) == sorted(one.scores, reverse=True)
    assert len({answer.labels for answer in answers[0]}) == 3
    assert set(answers[0][0].labels) <= set(made_up_taxonomy.labels())


def test_random_rules_fit_the_random_classifier(tmp_path: Path) -> None:
    speciesnet.export(order(tmp_path, model=f"{NAME}-ensemble", seed=9))
    assert {path.name for path in tmp_path.iterdir()} == {TAXONOMY_FILE, GEOFENCE_FILE}
    load_rules({name: tmp_path / name for name in (TAXONOMY_FILE, GEOFENCE_FILE)}, Graphs(Settings()))
    assert set(made_up_taxonomy.labels()) <= set((tmp_path / TAXONOMY_FILE).read_text().splitlines())


def test_a_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        speciesnet.random_network(order(tmp_path, seed)).network.classifier[-1].weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=NAME):
        speciesnet.export(order(tmp_path, model="speciesnet-v4.0.1b"))


# -- a release like the published ones ---------------------------------------------------------------------


def traced_classifier(count: int) -> Any:
    """A GraphModule made as the published one was: TensorFlow's way of writing ONNX, back into torch.

    Rows first, uneven margins, a gate, and a squeeze whose axes are an input.
    """
    generator = np.random.default_rng(0)
    weights: dict[str, Any] = {"axes": np.array([2, 3])}

    def drawn(name: str, *shape: int, spread: float = 0.2) -> str:
        weights[name] = generator.normal(0, spread, shape).astype(np.float32)
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [output], **attributes)

    nodes = [
        node("Transpose", ["input"], "planes", perm=[0, 3, 1, 2]),
        node(
            "Conv",
            ["planes", drawn("k1", 8, 3, 3, 3), drawn("b1", 8)],
            "stem",
            strides=[4, 4],
            pads=[0, 0, 1, 1],
        ),
        node("Sigmoid", ["stem"], "stem_gate"),
        node("Mul", ["stem", "stem_gate"], "maps"),
        node("Conv", ["maps", drawn("k2", 8, 1, 3, 3), drawn("b2", 8)], "deep", pads=[1] * 4, group=8),
        node("GlobalAveragePool", ["deep"], "pooled"),
        node("Conv", ["pooled", drawn("k3", 8, 8, 1, 1), drawn("b3", 8)], "squeezed"),
        node("Sigmoid", ["squeezed"], "gate"),
        node("Mul", ["deep", "gate"], "gated"),
        node("Add", ["gated", "maps"], "joined"),
        node("ReduceMean", ["joined"], "mean", axes=[2, 3], keepdims=1),
        node("Squeeze", ["mean", "axes"], "features"),
        node("MatMul", ["features", drawn("k4", 8, count, spread=8)], "products"),
        node("Add", ["products", drawn("b4", count)], "logits"),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 480, 480, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", count])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnx2torch.convert(model).eval()


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    """The bytes of a saved classifier for 40 labels, and the classifier."""
    network = traced_classifier(40)
    buffer = io.BytesIO()
    torch.save(network, buffer)
    return buffer.getvalue(), network


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def release(folder: Path, content: bytes, version: str | None = "4.0.3a") -> Path:
    folder.mkdir(parents=True)
    (folder / f"{STEM}.pt").write_bytes(content)
    (folder / f"{STEM}.labels.txt").write_text(LABELLED)
    (folder / "taxonomy_release.20260609.txt").write_text("taxonomy")
    (folder / "geofence_release.20260609.json").write_text("{}")
    if version:
        told = {
            "version": version,
            "type": "always_crop",
            "classifier": f"{STEM}.pt",
            "classifier_labels": f"{STEM}.labels.txt",
            "detector": "https://example.org/md_v5a.0.1.pt",
            "taxonomy": "taxonomy_release.20260609.txt",
            "geofence": "geofence_release.20260609.json",
        }
        (folder / "info.json").write_text(json.dumps(told))
    return folder


def packed(folder: Path, kind: str) -> Path:
    path = folder.with_suffix(f".{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"some/folder/{file.name}")
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, "./x")
    return path


@pytest.mark.parametrize("kind", ["folder", "folder without a description", "file", "tar.gz", "zip"])
def test_a_release_of_the_users(kind: str, pickled: tuple[bytes, Any], tmp_path: Path) -> None:
    content, network = pickled
    source = release(tmp_path / "x", content, None if "without" in kind else "4.0.3a")
    if kind == "file":
        source = source / f"{STEM}.pt"
    elif kind in ("tar.gz", "zip"):
        source = packed(source, kind)
    output = tmp_path / "out"
    output.mkdir()
    speciesnet.export(canonical(output, source, digest(content)))
    speciesnet.export(canonical(output, source, model=f"{NAME}-ensemble"))
    assert {path.name for path in output.iterdir()} == {CLASSIFIER, LABELS, TAXONOMY_FILE, GEOFENCE_FILE}
    assert (output / TAXONOMY_FILE).read_text() == "taxonomy"
    assert (output / GEOFENCE_FILE).read_text() == "{}"
    model = load({name: output / name for name in (CLASSIFIER, LABELS)}, Graphs(Settings(precision="f32")))
    items = [model.prepare(view(pixels)) for pixels in (data.coffee(), data.astronaut(), data.rocket())]
    with torch.no_grad():
        logits = network(torch.from_numpy(np.stack(items)).float() / 255)
    best = logits.softmax(1).topk(5)
    lines = LABELLED.splitlines()
    for answer, scores, places in zip(model.infer(items), best.values, best.indices, strict=True):
        assert answer.labels == tuple(lines[place] for place in places)
        assert answer.scores == pytest.approx(scores.tolist(), rel=1e-4)


def test_a_classifier_that_nobody_vouches_for_is_not_read(pickled: tuple[bytes, Any], tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "mark",)

    buffer = io.BytesIO()
    torch.save(Harmful(), buffer)
    source = release(tmp_path / "x", buffer.getvalue())
    with pytest.raises(ExportFailed) as caught:
        speciesnet.export(canonical(tmp_path, source))
    assert "runs code" in str(caught.value)
    assert f"--trust {digest(buffer.getvalue())}" in str(caught.value)
    assert len(str(caught.value)) < 300, "longer messages are cut on their way to the terminal"
    with pytest.raises(DigestMismatch):
        speciesnet.export(canonical(tmp_path, source, "0" * 64))
    assert not (tmp_path / "mark").exists()
    with pytest.raises(ExportFailed, match=r"holds no module|cannot be read"):
        speciesnet.export(canonical(tmp_path, source, digest(buffer.getvalue())))
    assert (tmp_path / "mark").exists(), "trusted, its code runs"


def test_the_rules_need_no_trust_and_no_classifier(tmp_path: Path) -> None:
    source = release(tmp_path / "x", b"")
    (source / f"{STEM}.pt").unlink()
    speciesnet.export(canonical(tmp_path, source, model=f"{NAME}-ensemble"))
    assert (tmp_path / TAXONOMY_FILE).is_file()
    with pytest.raises(ExportFailed, match=r"x holds no classifier\.pt \(one file like always_crop\*\.pt\)"):
        speciesnet.export(canonical(tmp_path, source))


def test_another_release_is_refused(tmp_path: Path) -> None:
    source = release(tmp_path / "x", b"", "4.0.2a")
    with pytest.raises(ExportFailed, match=r"are of v4\.0\.2a, and v4\.0\.3a is to be exported"):
        speciesnet.export(canonical(tmp_path, source))
    (source / "info.json").write_text("[]")
    with pytest.raises(ExportFailed, match="does not describe a release"):
        speciesnet.export(canonical(tmp_path, source))


def test_a_description_names_only_files_beside_it(tmp_path: Path) -> None:
    source = release(tmp_path / "x", b"")
    (tmp_path / "secret.txt").write_text("secret")
    told = json.loads((source / "info.json").read_text()) | {"taxonomy": "../secret.txt"}
    (source / "info.json").write_text(json.dumps(told))
    with pytest.raises(ExportFailed, match="holds no taxonomy"):
        speciesnet.export(canonical(tmp_path, source, model=f"{NAME}-ensemble"))


@pytest.mark.parametrize("name", ["gone", "damaged.tar.gz", "empty.zip"])
def test_what_is_no_release_is_refused(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    if name == "damaged.tar.gz":
        source.write_bytes(b"\x1f\x8b" + b"x" * 100)
    elif name == "empty.zip":
        zipfile.ZipFile(source, "w").close()
    with pytest.raises(ExportFailed, match=name):
        speciesnet.export(canonical(tmp_path, source))


def test_a_classifier_for_other_labels_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(traced_classifier(39), buffer)
    source = release(tmp_path / "x", buffer.getvalue())
    with pytest.raises(ExportFailed, match=r"answers \[2, 39\] to 2 crops; 40 labels are listed"):
        speciesnet.export(canonical(tmp_path, source, digest(buffer.getvalue())))
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(4, 40), buffer)
    source = release(tmp_path / "y", buffer.getvalue())
    with pytest.raises(ExportFailed, match="does not read crops of 480 pixels"):
        speciesnet.export(canonical(tmp_path, source, digest(buffer.getvalue())))


# -- the network -------------------------------------------------------------------------------------------


@pytest.fixture
def silent_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: None)


def test_the_archive_is_fetched_where_no_mirror_answers(
    pickled: tuple[bytes, Any],
    silent_hub: None,
    downloads_cache: Path,
    published: Any,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    archive = packed(release(tmp_path / "x", pickled[0], "4.0.1a"), "tar.gz").read_bytes()
    url = published({"/v4.0.1a/1/download": archive})
    monkeypatch.setattr(speciesnet_release, "KAGGLE_URL", url + "/{version}/1/download")
    model = "speciesnet-v4.0.1a"
    with pytest.raises(ExportFailed, match="--trust"):
        speciesnet.export(canonical(tmp_path, None, model=model))
    assert [path.name for path in downloads_cache.iterdir()] == ["speciesnet-v4.0.1a.tar.gz"]
    speciesnet.export(canonical(tmp_path, None, digest(pickled[0]), model=model))
    assert (tmp_path / CLASSIFIER).is_file()


def test_a_mirror_is_asked_first(
    pickled: tuple[bytes, Any], downloads_cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(repo: str, path: str, revision: str) -> Path:
        asked.append((repo, path))
        file = tmp_path / "hub-file"
        file.write_bytes(pickled[0] if path.endswith(".pt") else LABELLED.encode())
        return file.rename(tmp_path / f"hub-{len(asked)}")

    monkeypatch.setattr(hub, "fetch", fetch)
    speciesnet.export(canonical(tmp_path, None, digest(pickled[0]), model="speciesnet-v4.0.2a"))
    repo = "Addax-Data-Science/SPECIESNET-v4-0-2-A"
    assert asked == [(repo, f"{STEM}.pt"), (repo, f"{STEM}.labels.20251208.txt")]


def test_where_nothing_answers_all_places_are_named(
    silent_hub: None, downloads_cache: Path, published: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(speciesnet_release, "KAGGLE_URL", "http://127.0.0.1:9/{version}")
    with pytest.raises(
        SourceUnreachable, match=r"the hub does not answer.*127\.0\.0\.1:9 does not answer.*--from"
    ):
        speciesnet.export(canonical(tmp_path, None, model="speciesnet-v4.0.1a"))
    with pytest.raises(
        SourceUnreachable, match=r"no mirror is known of .*v4\.0\.3a; 127\.0\.0\.1:9 does not"
    ):
        speciesnet.export(canonical(tmp_path, None))
    monkeypatch.setattr(speciesnet_release, "KAGGLE_URL", published({}) + "/{version}")
    with pytest.raises(SourceMissing, match="answers 404"):
        speciesnet.export(canonical(tmp_path, None))
    monkeypatch.setattr(downloads.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnreachable, match="offline"):
        speciesnet.export(canonical(tmp_path, None))


def test_it_runs_in_an_environment_of_its_own(pickled: tuple[bytes, Any], tmp_path: Path) -> None:
    """From a pickle, so that all it needs has to be in the lock."""
    source = release(tmp_path / "x", pickled[0])
    output, lines = tmp_path / "out", list[str]()
    output.mkdir()
    run_exporter(
        "speciesnet",
        model=NAME,
        weights="canonical",
        seed=0,
        size="full",
        output=output,
        offline=False,
        log=lines.append,
        source=source,
        trusted_sha256=digest(pickled[0]),
    )
    assert sum("agrees with the original" in line for line in lines) == 2
    assert any("runs code out of it" in line for line in lines)
    assert (output / CLASSIFIER).is_file()
