"""What the runtime's tests share: a model that can be held, telemetry that counts, small ONNX files."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline import operations
from sightline.capabilities import Capability
from sightline.imaging import ImageLimits, Picture, View, encode_png, open_picture
from sightline.models import ModelCard, ModelDefinition
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.engine import Engine
from sightline.runtime.telemetry import Telemetry
from sightline.settings import Settings
from sightline.types import Detection
from sightline.weights.sources import Artifact
from sightline.weights.store import Store

WAIT_S = 10.0


class Recorder(Telemetry):
    """Telemetry that can be asked."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.batches: list[tuple[str, int]] = []
        self.tasks: list[tuple[str, str]] = []

    def batch_computed(self, model: str, size: int, infer_s: float) -> None:
        self.batches.append((model, size))

    def item_failed(self, model: str) -> None:
        self.counts["failed"] += 1

    def item_refused(self, model: str) -> None:
        self.counts["refused"] += 1

    def item_waited(self, model: str, prepare_s: float, queue_s: float) -> None:
        self.counts["waited"] += 1

    def model_loaded(self, model: str, load_s: float) -> None:
        self.counts[f"loaded {model}"] += 1

    def model_unloaded(self, model: str) -> None:
        self.counts[f"unloaded {model}"] += 1

    def task_finished(self, operation: str, status: str, total_s: float) -> None:
        self.tasks.append((operation, status))


class HeldModel:
    """Multiplies by ten. While ``gate`` is closed a batch waits in ``infer``; ``entered`` counts batches."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.computed: Counter[int] = Counter()
        self.poison: dict[int, BaseException] = {}

    def prepare(self, subject: Any) -> Any:
        return subject

    def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(items))
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        for item in items:
            if item in self.poison:
                raise self.poison[item]
        self.computed.update(items)
        return [item * 10 for item in items]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def held_model() -> Iterator[HeldModel]:
    model = HeldModel()
    yield model
    model.gate.set()


@pytest.fixture
def held_models() -> Callable[[], HeldModel]:
    """Makes more models like ``held_model``."""
    return HeldModel


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Waits until something other threads bring about is true."""

    def wait(condition: Callable[[], object]) -> None:
        until = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < until, "it never came true"
            time.sleep(0.002)

    return wait


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> Path:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def linear_onnx(tmp_path: Path) -> Path:
    """``y = x @ W`` with x [batch, 64], and ``n = sum(x)`` [batch] as second output; W from a fixed seed."""
    weights = np.random.default_rng(7).standard_normal((64, 32), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["y"]),
        helper.make_node("ReduceSum", ["x", "axes"], ["n"], keepdims=0),
    ]
    return _save(
        tmp_path / "linear.onnx",
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32]),
            helper.make_tensor_value_info("n", TensorProto.FLOAT, ["batch"]),
        ],
        [
            numpy_helper.from_array(weights, "W"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
        ],
    )


@pytest.fixture
def scale_onnx(tmp_path: Path) -> Path:
    """``y = x * 2`` over int64 [n, 2]: a graph without floats."""
    return _save(
        tmp_path / "scale.onnx",
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 2])],
        [numpy_helper.from_array(np.array([2], np.int64), "two")],
    )


Define = Callable[..., ModelDefinition]


@pytest.fixture
def define() -> Define:
    """Makes a definition of whatever model it is given, or of what ``load(files, graphs)`` returns."""

    def definition(
        name: str,
        model: Any = None,
        *capabilities: Capability,
        load: Callable[..., Any] | None = None,
        files: Sequence[Artifact] = (),
        space: str | None = None,
        max_batch: int = 4,
    ) -> ModelDefinition:
        card = ModelCard(
            name=name,
            capabilities=frozenset(capabilities),
            description="For tests.",
            licence="MIT",
            homepage="https://example.org",
            preprocessing="none",
            parameters=0,
            multiply_adds=0,
            artifacts=tuple(files),
            space=space,
            max_batch=max_batch,
        )
        return ModelDefinition(card, load or (lambda files, graphs: model))

    return definition


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Settings]:
    """Settings that read nothing and write below the test's own folder."""

    def settings(**fields: Any) -> Settings:
        usual = {"models_dir": tmp_path / "models", "threads": 1, "precision": "f32", "offline": True}
        return Settings(_env_file=None, **{**usual, **fields})

    return settings


class Finder:
    """A detector that finds what ``find(view)`` returns; ``seen`` has the box of every view it got."""

    def __init__(self, find: Callable[[View], list[Detection]]) -> None:
        self.find = find
        self.seen: list[list[int] | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def prepare(self, subject: View) -> View:
        subject.pixels()
        return subject

    def infer(self, items: Sequence[View]) -> list[list[Detection]]:
        self.seen += [item.box.as_list() if item.box else None for item in items]
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        return [self.find(item) for item in items]


class MeanColour:
    """An embedder: the mean colour, float32 [3]."""

    def __init__(self) -> None:
        self.count = 0

    def prepare(self, subject: View) -> Any:
        return subject.pixels().astype(np.float32).mean((0, 1))

    def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        self.count += len(items)
        return items


class Counting:
    """A reader of texts: how many characters and words, float32 [2]."""

    def prepare(self, subject: str) -> Any:
        return np.array([len(subject), len(subject.split())], np.float32)

    def infer(self, items: Sequence[Any]) -> Sequence[Any]:
        return items


@pytest.fixture
def finder() -> Callable[[Callable[[View], list[Detection]]], Finder]:
    return Finder


@pytest.fixture
def mean_colour() -> MeanColour:
    return MeanColour()


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def photo() -> Picture:
    """64 × 48 pixels of noise from a fixed seed."""
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    return open_picture(encode_png(pixels), ImageLimits(10**6, 10**6, 10**4))


@pytest.fixture
async def start(configure: Any, recorder: Recorder) -> AsyncIterator[Callable[..., Analyzer]]:
    """Starts an analyzer over the given models and, besides those built in, operations."""
    started: list[Analyzer] = []

    def make(*definitions: ModelDefinition, extra: Sequence[Any] = (), **fields: Any) -> Analyzer:
        settings = configure(**fields)
        known = {definition.name: definition for definition in definitions}
        store = Store.from_settings(settings)
        engine = Engine(settings, known, store, recorder)
        answering = {**operations.catalogue(), **{operation.name: operation for operation in extra}}
        analyzer = Analyzer(settings, answering, known, engine, store, recorder)
        engine.start()
        started.append(analyzer)
        return analyzer

    yield make
    for analyzer in started:
        await analyzer.__aexit__(None, None, None)
