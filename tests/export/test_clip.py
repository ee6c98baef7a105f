"""The CLIP exporter on small random towers: what its files look like, and that no wrong one passes."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="exporters are tested in the parity environment")
transformers = pytest.importorskip("transformers")

from sightline.errors import ExportFailed  # noqa: E402
from sightline.export import Order, onnx_file  # noqa: E402
from sightline.export.clip import export, reference  # noqa: E402
from sightline.models import clip  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import GraphRuntime, Settings  # noqa: E402
from sightline.weights.exporting import run_exporter  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]


def order(name: str, output: Path, seed: int = 0) -> Order:
    return Order(model=name, weights="random", seed=seed, size="tiny", output=output)


@pytest.mark.parametrize("tower", clip.TOWERS, ids=lambda tower: tower.name)
def test_a_random_tower_loads_as_its_model(tower: clip.Tower, tmp_path: Path) -> None:
    export(order(tower.name, tmp_path))
    written = {path.name for path in tmp_path.iterdir()}
    definition = next(each for each in clip.MODELS if each.name == tower.name)
    assert written == {artifact.name for artifact in definition.card.artifacts}
    proto = onnx.load(tmp_path / tower.graph_name)
    onnx.checker.check_model(proto)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties["weights"] == "random"
    assert properties.get("tokenizer") == ("stand-in" if tower.reads_text else None)
    files = {name: tmp_path / name for name in written}
    model = definition.load(files, Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME)))
    if tower.reads_text:
        items = [model.prepare(text) for text in ("a dog", "an elephant beside a tree " * 3)]
    else:
        items = list(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8))
    first, second = model.infer(items)
    assert first.shape == (tower.dimensions,)
    assert 0.1 < np.linalg.norm(first) < 1000
    assert np.linalg.norm(first - second) > 1e-3 * np.linalg.norm(first), "it must look at what it is given"


def test_a_seed_decides(tmp_path: Path) -> None:
    tower = clip.TOWERS[0]
    first, again, other = (
        reference(tower, order(tower.name, tmp_path, seed)).visual_projection.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    layer = torch.nn.Linear(4, 3)
    inputs = {"x": torch.randn(2, 4)}
    onnx_file.write(layer, inputs, {"x": {0: "batch"}}, "y", tmp_path / "layer.onnx", {})
    with torch.no_grad():
        right = layer(inputs["x"])
    onnx_file.compare(tmp_path / "layer.onnx", inputs, right)
    with pytest.raises(ExportFailed, match="differs"):
        onnx_file.compare(tmp_path / "layer.onnx", inputs, right + 0.01)
    with pytest.raises(ExportFailed, match="answers"):
        onnx_file.compare(tmp_path / "layer.onnx", inputs, right[:1])


# -- in an environment of its own --------------------------------------------------------------------------


class _Files(http.server.SimpleHTTPRequestHandler):
    """``/REPOSITORY/resolve/REVISION/FILE`` with the headers the hub's client asks for."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = Path(self.directory) / unquote(self.path).rpartition("/")[2]
        if "/resolve/" not in self.path or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{len(data)}"')
        self.send_header("X-Repo-Commit", self.path.split("/resolve/")[1].split("/")[0])
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """Both towers of a small CLIP in one checkpoint, pickled, as the original repository has them."""
    folder = tmp_path / "hub"
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    configuration = transformers.CLIPConfig(
        vision_config={**small, "projection_dim": 512},
        text_config={**small, "projection_dim": 512},
        projection_dim=512,
    )
    torch.manual_seed(5)
    model = transformers.CLIPModel(configuration)
    folder.mkdir()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(
        json.dumps({**configuration.to_dict(), "architectures": ["CLIPModel"]})
    )

    def handler(*arguments: object) -> _Files:
        return _Files(*arguments, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_original_weights_come_from_the_hub(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: an environment made by uv, a checkpoint from a hub on loopback, a graph that agrees."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    lines: list[str] = []
    arguments = {"seed": 0, "size": "full", "output": tmp_path / "out", "log": lines.append}
    run_exporter(
        "clip", model="clip-vit-b-32", weights="canonical", offline=False, hub_endpoint=hub, **arguments
    )
    assert any("agrees with the original" in line for line in lines)
    model = transformers.CLIPModel.from_pretrained(tmp_path / "hub").eval()
    pixels = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = model.get_image_features(
            torch.from_numpy(clip.SQUARE.normalise(pixels))
        ).pooler_output.numpy()
    graph = Graphs(Settings(graph_runtime=GraphRuntime.ONNXRUNTIME))(tmp_path / "out" / "image.onnx")
    np.testing.assert_allclose(clip.ClipImage(graph).infer(list(pixels)), wanted, rtol=1e-3, atol=1e-4)


def test_a_hub_that_does_not_answer_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ExportFailed, match="the hub does not answer") as caught:
        run_exporter(
            "clip",
            model="clip-vit-b-32",
            weights="canonical",
            seed=0,
            size="full",
            output=tmp_path / "out",
            offline=False,
            hub_endpoint="http://127.0.0.1:9",
            log=lambda line: None,
        )
    assert str(tmp_path) not in str(caught.value)
