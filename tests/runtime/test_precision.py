"""In which precision a detector is served: by the settings, or by what was measured on its very weights."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.imaging import ImageLimits, View, picture_from_pixels
from sightline.models import AS_SET, GraphOptions, ModelDefinition, megadetector
from sightline.runtime import graphs
from sightline.runtime.engine import Context, Engine
from sightline.runtime.graphs import Graphs
from sightline.runtime.precision import Choice, allow, choose, half_of, obeys_choice
from sightline.runtime.residency import wanted
from sightline.settings import Precision, Settings
from sightline.types import Detection, Provenance
from sightline.weights.drift import DriftRecord, FindFigures, Limits, Spread, digests_of
from sightline.weights.store import Installed, Store

(DETECTOR,) = megadetector.MODELS
_really_computes_bf16 = graphs.cpu_computes_bf16


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", offline=True)


@pytest.fixture
def installed(store: Store, tmp_path: Path, detector_file: Path) -> Installed:
    folder = tmp_path / "detector"
    folder.mkdir()
    (folder / "detector.onnx").write_bytes(detector_file.read_bytes())
    return store.adopt(wanted(DETECTOR), folder, Provenance.IMPORTED, "a test's")


@pytest.fixture
def keep(store: Store, installed: Installed) -> Callable[..., None]:
    def write(
        *, precision: Precision = Precision.BF16, within: bool = True, arithmetic: str | None = None
    ) -> None:
        spread = Spread(0.1, 0.5, 2.0)
        record = DriftRecord(
            format=1,
            model=installed.model,
            fingerprint=installed.fingerprint,
            digests=digests_of(installed.manifest),
            precision=precision,
            arithmetic=arithmetic or graphs.Graphs(Settings(_env_file=None)).arithmetic,
            min_score=0.2,
            limits=Limits(),
            figures=FindFigures(30, 40, 1, 0, 0, spread, spread),
            within_limits=within,
            f32_s=0.8,
            half_s=0.4,
            measured_at="2026-01-02T03:04:05+00:00",
            version="0.1.0",
        )
        store.keep_drift(wanted(DETECTOR), record)

    return write


@pytest.fixture(autouse=True)
def _with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "cpu_computes_bf16", lambda: True)


def chosen(installed: Installed, **fields: Any) -> Choice:
    return choose(Settings(_env_file=None, **fields), installed)


def drift_file(installed: Installed) -> Path:
    return installed.files["detector.onnx"].parent / "drift.json"


def test_nothing_measured_is_f32(installed: Installed) -> None:
    choice = chosen(installed)
    assert choice.precision is Precision.F32
    assert "was not measured, see `sightline models drift megadetector-v5a PHOTOS --keep`" in choice.why
    assert choice.complaint is None


def test_a_measurement_within_the_limits_is_obeyed(installed: Installed, keep: Callable[..., None]) -> None:
    keep()
    choice = chosen(installed)
    assert choice.precision is Precision.BF16
    assert (
        choice.why == "its drift in bf16 was measured on 2026-01-02 with 30 photos and is within the limits"
    )


def test_one_beyond_them_is_f32(installed: Installed, keep: Callable[..., None]) -> None:
    keep(within=False)
    choice = chosen(installed)
    assert choice.precision is Precision.F32
    assert choice.why.endswith("and is beyond the limits")


@pytest.mark.parametrize("precision", [Precision.F16, Precision.F32, Precision.AUTO])
def test_what_this_machine_does_not_compute_in_is_f32(
    installed: Installed, keep: Callable[..., None], precision: Precision
) -> None:
    keep(precision=precision)
    choice = chosen(installed)
    assert choice.precision is Precision.F32
    assert f"does not compute in {precision.value} by itself" in choice.why


def test_a_processor_without_bf16_is_f32(
    installed: Installed, keep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep()
    monkeypatch.setattr(graphs, "cpu_computes_bf16", lambda: False)
    assert chosen(installed).precision is Precision.F32
    assert half_of(Settings(_env_file=None)) is Precision.F32


@pytest.mark.parametrize("harm", [b"junk", b""])
def test_a_damaged_record_counts_as_none(
    installed: Installed, keep: Callable[..., None], harm: bytes
) -> None:
    keep()
    drift_file(installed).write_bytes(harm)
    choice = chosen(installed)
    assert choice.precision is Precision.F32
    assert choice.complaint is not None
    assert choice.complaint.startswith("the record of its drift is damaged; measure again with `sightline")


def test_a_record_of_other_weights_counts_as_none(installed: Installed, keep: Callable[..., None]) -> None:
    keep()
    path = drift_file(installed)
    record = DriftRecord.from_json(path.read_bytes())
    path.write_bytes(dataclasses.replace(record, fingerprint="0" * 16).to_json())
    choice = chosen(installed)
    assert choice.precision is Precision.F32
    assert "is of other weights" in (choice.complaint or "")


@pytest.mark.parametrize(("setting", "precision"), [("auto", "bf16"), ("bf16", "bf16"), ("f32", "f32")])
@pytest.mark.parametrize("within", [True, False])
def test_a_setting_goes_before_what_was_measured(
    installed: Installed, keep: Callable[..., None], setting: str, precision: str, within: bool
) -> None:
    keep(within=within)
    choice = chosen(installed, detector_precision=setting)
    assert choice == Choice(Precision(precision), f"SIGHTLINE_DETECTOR_PRECISION={setting}")


def test_onnx_runtime_has_no_choice(installed: Installed, keep: Callable[..., None]) -> None:
    keep()
    choice = chosen(installed, graph_runtime="onnxruntime")
    assert choice == Choice(Precision.F32, "ONNX Runtime computes as the file says")
    assert half_of(Settings(_env_file=None, graph_runtime="onnxruntime")) is Precision.F32


def test_only_graphs_that_detect_follow_the_choice() -> None:
    asked: list[GraphOptions] = []

    def record(path: Path, options: GraphOptions = AS_SET) -> Any:
        asked.append(options)

    follow = allow(record, Choice(Precision.BF16, "", measured=True))
    follow(Path("a"), GraphOptions(detects=True))
    follow(Path("a"))
    follow(Path("a"), GraphOptions(Precision.F32, detects=True))
    assert [how.precision for how in asked] == [Precision.BF16, None, Precision.F32]
    assert allow(record, Choice(Precision.F32, "")) is record


def test_detectors_of_faces_have_their_own_precision(catalogue: Any) -> None:
    obeying = {name for name, definition in catalogue.items() if obeys_choice(definition.card)}
    assert obeying == {"fasterrcnn-resnet50-fpn", "megadetector-v5a"}


@pytest.fixture
def catalogue() -> Any:
    from sightline import models

    return models.catalogue()


def test_graphs_say_what_they_compute_in() -> None:
    def computes_in(asked: GraphOptions, **fields: Any) -> Precision | None:
        return Graphs(Settings(_env_file=None, **fields)).computes_in(asked)

    assert computes_in(AS_SET) is Precision.BF16
    assert computes_in(GraphOptions(detects=True)) is Precision.F32
    assert computes_in(GraphOptions(detects=True), detector_precision="auto") is Precision.BF16
    assert computes_in(GraphOptions(Precision.F16)) is Precision.F16
    assert computes_in(AS_SET, precision="bf16", graph_runtime="onnxruntime") is Precision.F32
    assert computes_in(AS_SET, device="gpu.7") is None, "a device that is not here says nothing"


# -- served ------------------------------------------------------------------------------------------------


async def served(settings: Settings, store: Store, definition: ModelDefinition) -> list[Detection]:
    """What a detector finds in one picture of noise."""
    pixels = np.random.default_rng(3).integers(0, 256, (128, 128, 3), np.uint8)
    engine = Engine(settings, {definition.name: definition}, store)
    engine.start()
    try:
        view = View(picture_from_pixels(pixels, ImageLimits(10**6, 10**6, 10**4), source="noise"))
        found = await engine.infer(definition.name, view, Context(time.monotonic() + 30))
    finally:
        await engine.close()
    detections: list[Detection] = found.output
    return detections


async def test_what_was_measured_is_what_is_served(
    installed: Installed, keep: Callable[..., None], store: Store, configure: Any
) -> None:
    exact = await served(configure(detector_precision="f32"), store, DETECTOR)
    rounded = await served(configure(detector_precision="bf16"), store, DETECTOR)
    assert exact
    assert exact != rounded or not _really_computes_bf16()
    assert await served(configure(precision="auto"), store, DETECTOR) == exact
    keep()
    assert await served(configure(precision="auto"), store, DETECTOR) == rounded
    assert await served(configure(detector_precision="f32"), store, DETECTOR) == exact
    keep(within=False)
    assert await served(configure(precision="auto"), store, DETECTOR) == exact


async def test_a_damaged_record_is_told_once(
    installed: Installed,
    keep: Callable[..., None],
    store: Store,
    configure: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep()
    drift_file(installed).write_bytes(b"junk")
    engine = Engine(configure(precision="auto"), {DETECTOR.name: DETECTOR}, store)
    with caplog.at_level(logging.WARNING, "sightline"):
        for _ in range(2):
            await engine.residency.preload(DETECTOR.name)
            engine.residency._residents.clear()  # as if it had been evicted
        await engine.close()
    (warning,) = caplog.messages
    assert warning.startswith("megadetector-v5a computes in f32: the record of its drift is damaged")


def test_a_measurement_of_other_arithmetic_decides_nothing(installed: Installed, keep: Any) -> None:
    keep(arithmetic="OpenVINO 1, another processor")
    choice = chosen(installed)
    assert choice.precision is Precision.F32
    assert choice.complaint is not None
    assert "another processor; measure again with" in choice.complaint


def test_f32_for_all_goes_before_a_measurement(installed: Installed, keep: Any) -> None:
    keep()
    assert chosen(installed).precision is Precision.BF16
    assert chosen(installed, precision="f32").precision is Precision.F32


def test_arithmetic_names_runtime_and_device() -> None:
    openvino = graphs.Graphs(Settings(_env_file=None)).arithmetic
    onnxruntime = graphs.Graphs(Settings(_env_file=None, graph_runtime="onnxruntime")).arithmetic
    assert openvino.startswith("OpenVINO 20")
    assert onnxruntime.startswith("ONNX Runtime 1.")
    assert onnxruntime.endswith(", cpu")
