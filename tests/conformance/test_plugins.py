"""One new file adds a capability, one a model and one an operation; nothing else is touched."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from starlette.testclient import TestClient
from typer.testing import CliRunner

from sightline import models
from sightline.cli.app import app
from sightline.errors import ConfigurationError, SourceMissing
from sightline.imaging import encode_png
from sightline.runtime.analyzer import Analyzer, Status, Task
from sightline.runtime.resident import wanted
from sightline.server.app import create_app
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.store import Store

PNG = {"content-type": "image/png"}
WHITE = encode_png(np.full((30, 40, 3), 255, np.uint8))
CAPABILITY = """
from dataclasses import dataclass

from sightline.capabilities import Capability
from sightline.imaging import View


@dataclass(frozen=True)
class Light:
    mean: float


LIGHT: Capability[View, Light] = Capability("light", "How bright a view is.")
CAPABILITIES = (LIGHT,)
"""
MODEL = """
from pathlib import Path

import numpy as np
from sightline.models import ModelCard, ModelDefinition
from sightline.weights.sources import Artifact, PackageFile
from sightline_plugins.capabilities.brightness import LIGHT, Light

GRAPH = "brightness.onnx"


class Brightness:
    def __init__(self, graph):
        self.graph = graph

    def prepare(self, view):
        return view.reduced(8).mean(axis=(0, 1), dtype=np.float32) / 255

    def infer(self, items):
        return [Light(float(mean)) for mean in self.graph.run({"colours": np.stack(items)})[0]]


CARD = ModelCard(
    name="brightness",
    capabilities=frozenset({LIGHT}),
    description="Mean brightness.",
    licence="CC0-1.0",
    homepage="https://example.org/brightness",
    preprocessing="mean-1",
    parameters=0,
    multiply_adds=0,
    artifacts=(Artifact(GRAPH, (PackageFile(Path(__file__).with_name(GRAPH)),)),),
)
MODELS = (ModelDefinition(CARD, lambda files, graphs: Brightness(graphs(files[GRAPH]))),)
"""
OPERATION = """
from sightline.operations import Answer, Operation, RegionParams, Result, TimingGroup
from sightline.types import Target
from sightline_plugins.capabilities.brightness import LIGHT


class Brightness(Result):
    percent: float


class MeasureBrightness(Operation[RegionParams, Brightness]):
    name = "measure_brightness"
    description = "Says how bright the image is."
    needs = (LIGHT,)
    targets = (Target.WHOLE_IMAGE,)
    default_target = Target.WHOLE_IMAGE
    Params = RegionParams
    Result = Brightness
    example = {}
    timing_group = TimingGroup.CLASSIFICATION

    async def run(self, scene, params, models):
        region = await scene.region(params.target, params.face_context)
        found = await scene.infer(LIGHT, scene.view(region))
        return Answer(Brightness(percent=round(100 * found.output.mean, 1)), found.model, region)


OPERATIONS = (MeasureBrightness(),)
"""


def graph() -> onnx.ModelProto:
    """The mean of three channels."""
    colours = helper.make_tensor_value_info("colours", TensorProto.FLOAT, ["batch", 3])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch"])
    node = helper.make_node("ReduceMean", ["colours"], ["mean"], axes=[1], keepdims=0)
    whole = helper.make_graph([node], "brightness", [colours], [mean])
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    for kind, text in (("capabilities", CAPABILITY), ("models", MODEL), ("operations", OPERATION)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "brightness.py").write_text(text)
    onnx.save(graph(), folder / "models" / "brightness.onnx")
    return folder


def settings(plugins: Path) -> Settings:
    return Settings(plugins_dir=plugins, models_dir=plugins.parent / "store", offline=True, _env_file=None)


@pytest.mark.parametrize("text", [CAPABILITY, MODEL, OPERATION])
def test_forty_lines_are_enough(text: str) -> None:
    assert len(text.strip().splitlines()) <= 40


async def test_files_in_a_folder_answer_like_what_is_built_in(plugins: Path) -> None:
    async with Analyzer.create(settings(plugins)) as analyzer:
        picture = analyzer.open(encode_png(np.full((10, 20, 3), 51, np.uint8)))
        (measured,) = await analyzer.analyze(picture, [analyzer.bind(Task("a", "measure_brightness"))])
    assert measured.status is Status.OK
    assert measured.answer is not None
    assert measured.answer.data.percent == pytest.approx(20, abs=0.1)
    assert measured.answer.model is not None
    assert measured.answer.model.name == "brightness"
    assert measured.answer.model.provenance is Provenance.BUILT_IN


async def test_a_graph_in_a_package_has_a_fingerprint_and_is_not_copied(plugins: Path) -> None:
    used = settings(plugins)
    catalogue, store = models.catalogue(plugins), Store.from_settings(used)
    found = store.installed(wanted(catalogue["brightness"]), verify=True)
    assert found is not None
    assert found.files == {"brightness.onnx": plugins / "models" / "brightness.onnx"}
    assert store.disk_bytes("brightness") == 0
    (plugins / "models" / "brightness.onnx").write_bytes(b"another graph")
    changed = store.installed(wanted(catalogue["brightness"]))
    assert changed is not None
    assert changed.fingerprint != found.fingerprint


def test_the_file_of_a_package_must_be_there(plugins: Path) -> None:
    (plugins / "models" / "brightness.onnx").unlink()
    with pytest.raises(ConfigurationError, match=r"brightness\.onnx"):
        Analyzer.create(settings(plugins))


def test_a_model_in_a_package_is_not_replaced(plugins: Path, tmp_path: Path) -> None:
    (tmp_path / "brightness.onnx").write_bytes(b"mine")
    store = Store.from_settings(settings(plugins))
    with pytest.raises(SourceMissing):
        store.adopt(wanted(models.catalogue(plugins)["brightness"]), tmp_path, Provenance.EXPORTED, "me")


async def test_it_answers_in_rehearsals(plugins: Path) -> None:
    rehearsal = settings(plugins).model_copy(update={"rehearse": True})
    async with Analyzer.create(rehearsal) as analyzer:
        task = analyzer.bind(Task("a", "measure_brightness"))
        (measured,) = await analyzer.analyze(analyzer.open(WHITE), [task])
    assert measured.status is Status.OK


async def test_a_second_claim_to_a_name_stops_the_start_and_names_both(plugins: Path) -> None:
    (plugins / "operations" / "copy.py").write_text(OPERATION)
    with pytest.raises(
        ConfigurationError, match=r"'measure_brightness'.*operations\.brightness.*operations\.copy"
    ):
        Analyzer.create(settings(plugins))


async def test_an_undeclared_capability_stops_the_start_and_is_named(plugins: Path) -> None:
    declared = (plugins / "capabilities" / "brightness.py").read_text()
    (plugins / "capabilities" / "brightness.py").write_text(declared.replace("CAPABILITIES = (LIGHT,)", ""))
    with pytest.raises(ConfigurationError, match=r"model brightness .*: light"):
        Analyzer.create(settings(plugins))


async def test_a_broken_plug_in_stops_the_start_and_is_named(plugins: Path) -> None:
    (plugins / "models" / "broken.py").write_text("import nowhere_to_be_found")
    with pytest.raises(ConfigurationError, match=r"'broken\.py' does not import: ModuleNotFoundError"):
        Analyzer.create(settings(plugins))


def test_the_server_has_routes_schema_metrics_and_lists_for_them(plugins: Path) -> None:
    with TestClient(create_app(settings(plugins))) as client:
        assert "/v1/operations/measure_brightness" in client.get("/openapi.json").json()["paths"]
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        assert "MeasureBrightnessTask" in schemas
        (model,) = [
            each for each in client.get("/v1/models").json()["models"] if each["name"] == "brightness"
        ]
        assert model["capabilities"] == ["light"]
        assert (model["provenance"], model["download_bytes"]) == ("built_in", None)
        listed = [each["name"] for each in client.get("/v1/operations").json()["operations"]]
        assert "measure_brightness" in listed
        assert "brightness" in [each["name"] for each in client.get("/v1/models").json()["models"]]
        assert "measure_brightness" in client.get("/available_operations/").json()["operations"]
        answer = client.post("/v1/operations/measure_brightness", content=WHITE, headers=PNG).json()
        assert answer["images"][0]["results"]["measure_brightness"]["data"] == {"percent": 100.0}
        legacy = {"operation_id": "it", "type": "measure_brightness"}
        form = {"tasks_json": json.dumps([legacy])}
        answer = client.post("/analyze_image_upload/", files={"image_file": WHITE}, data=form).json()
        assert answer["results"]["it"]["data"] == {"percent": 100.0}
        metrics = client.get("/metrics").text
        assert 'sightline_tasks_total{operation="measure_brightness",status="ok"} 2.0' in metrics
        assert 'sightline_model_loaded{model="brightness"} 1.0' in metrics


def test_the_command_line_lists_and_runs_them(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "white.png"
    photo.write_bytes(WHITE)
    monkeypatch.setenv("SIGHTLINE_PLUGINS_DIR", str(plugins))
    monkeypatch.setenv("SIGHTLINE_MODELS_DIR", str(tmp_path / "store"))
    run = CliRunner().invoke
    assert "measure_brightness" in run(app, ["operations"]).output
    rows = json.loads(run(app, ["models", "list", "--json"]).stdout)
    (row,) = [row for row in rows if row["name"] == "brightness"]
    assert (row["gives"], row["state"]) == (["light"], "built in")
    done = run(app, ["analyze", str(photo), "--task", "measure_brightness", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["results"]["measure_brightness"]["data"] == {"percent": 100.0}


def test_the_docs_describe_them(plugins: Path) -> None:
    tables = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "tables.py"))
    pages = tables["pages"](plugins)
    assert "| `brightness` | light |" in pages["models.md"]
    assert "| `light` | How bright a view is. |" in pages["models.md"]
    assert "## measure_brightness" in pages["operations.md"]
