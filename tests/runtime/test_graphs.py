from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.errors import ConfigurationError, ModelBroken
from sightline.models import GraphOptions
from sightline.runtime.graphs import (
    Graphs,
    OnnxRuntimeGraph,
    OpenVinoGraph,
    cpu_computes_bf16,
    devices,
    nvidia_gpus,
)
from sightline.settings import GraphRuntime, Precision, Settings

BOTH = [GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME]


def graphs(cache_dir: Path | None = None, **fields: Any) -> Graphs:
    return Graphs(Settings(_env_file=None, **{"precision": "f32", "threads": 1, **fields}), cache_dir)


def some_input(batch: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((batch, 64), np.float32)


def weights() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).standard_normal((64, 32), np.float32)


@pytest.mark.parametrize("runtime", BOTH)
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_both_runtimes_compute_what_numpy_does(linear_onnx: Path, runtime: GraphRuntime, batch: int) -> None:
    graph = graphs()(linear_onnx, GraphOptions(runtime=runtime))
    x = some_input(batch)
    y, n = graph.run({"x": x})
    np.testing.assert_allclose(y, x @ weights(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(n, x.sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", BOTH)
def test_both_runtimes_describe_a_graph_alike(
    linear_onnx: Path, scale_onnx: Path, runtime: GraphRuntime
) -> None:
    graph = graphs()(linear_onnx, GraphOptions(runtime=runtime))
    assert [(spec.name, spec.dtype, spec.shape) for spec in graph.inputs] == [("x", "float32", (None, 64))]
    assert [(spec.name, spec.shape) for spec in graph.outputs] == [("y", (None, 32)), ("n", (None,))]
    assert graphs()(scale_onnx, GraphOptions(runtime=runtime)).inputs[0].dtype == "int64"


@pytest.mark.parametrize("runtime", BOTH)
def test_inputs_need_not_be_contiguous_and_are_left_alone(linear_onnx: Path, runtime: GraphRuntime) -> None:
    graph = graphs()(linear_onnx, GraphOptions(runtime=runtime))
    wide = some_input(8)
    x = wide[::2]
    before = wide.copy()
    y, _ = graph.run({"x": x})
    np.testing.assert_allclose(y, x @ weights(), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(wide, before)


@pytest.mark.parametrize("runtime", BOTH)
def test_inputs_may_be_read_only(linear_onnx: Path, runtime: GraphRuntime) -> None:
    x = some_input(2)
    x.flags.writeable = False
    y, _ = graphs()(linear_onnx, GraphOptions(runtime=runtime)).run({"x": x})
    np.testing.assert_allclose(y, x @ weights(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", BOTH)
def test_outputs_belong_to_the_caller(linear_onnx: Path, runtime: GraphRuntime) -> None:
    graph = graphs()(linear_onnx, GraphOptions(runtime=runtime))
    first, _ = graph.run({"x": some_input(4)})
    kept = first.copy()
    for seed in range(5):
        graph.run({"x": some_input(4, seed)})
    np.testing.assert_array_equal(first, kept)
    first += 1  # and may be written to


@pytest.mark.parametrize("runtime", BOTH)
@pytest.mark.parametrize("slots", [1, 3])
def test_many_threads_share_a_graph(linear_onnx: Path, runtime: GraphRuntime, slots: int) -> None:
    graph = graphs(compute_slots=slots)(linear_onnx, GraphOptions(runtime=runtime))

    def check(seed: int) -> None:
        x = some_input(1 + seed % 5, seed)
        np.testing.assert_allclose(graph.run({"x": x})[0], x @ weights(), rtol=1e-4, atol=1e-4)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(check, range(120)))


@pytest.mark.parametrize("runtime", BOTH)
def test_a_failed_run_does_not_cost_a_slot(linear_onnx: Path, runtime: GraphRuntime) -> None:
    graph = graphs()(linear_onnx, GraphOptions(runtime=runtime))
    for _ in range(3):
        with pytest.raises(Exception, match=r".+"):
            graph.run({"x": np.zeros((2, 63), np.float32)})
    assert graph.run({"x": some_input(2)})[0].shape == (2, 32)


def test_bf16_is_close_to_f32_and_not_the_same(linear_onnx: Path) -> None:
    if not cpu_computes_bf16():
        pytest.skip("this processor has no bf16 arithmetic")
    x = some_input(16)
    exact = graphs(precision="f32")(linear_onnx).run({"x": x})[0]
    rounded = graphs(precision="bf16")(linear_onnx).run({"x": x})[0]
    assert rounded.dtype == np.float32
    assert np.abs(exact - rounded).max() > 1e-4
    cosine = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert cosine.min() > 0.999
    automatic = graphs(precision="auto")(linear_onnx).run({"x": x})[0]
    np.testing.assert_array_equal(automatic, rounded)


def bits(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bfloat16 by cutting off: the upper half of each f32."""
    return (numbers.view(np.uint32) >> 16).astype(np.uint16)


def numbers(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_what_is_carried_stays_in_the_type_of_computing(linear_onnx: Path) -> None:
    plain = graphs(precision="bf16")(linear_onnx)
    carrying = graphs(precision="bf16")(linear_onnx, GraphOptions(carried={"x", "y", "elsewhere"}))
    assert [spec.dtype for spec in carrying.inputs] == ["uint16"]
    assert [spec.dtype for spec in carrying.outputs] == ["uint16", "float32"]
    x = bits(some_input(6))
    y, n = carrying.run({"x": x[::2]})  # in steps: not contiguous
    assert (y.dtype, y.shape) == (np.uint16, (3, 32))
    exact, total = plain.run({"x": numbers(x[::2])})
    np.testing.assert_allclose(numbers(y), exact, rtol=2**-7)
    np.testing.assert_allclose(n, total, rtol=1e-2, atol=1e-1)
    assert not carrying.run({"x": np.zeros_like(x)})[0].any(), "zero bits are zero"


@pytest.mark.parametrize("runtime", BOTH)
def test_what_is_carried_by_a_graph_in_f32_is_f32(linear_onnx: Path, runtime: GraphRuntime) -> None:
    graph = graphs(precision="f32")(linear_onnx, GraphOptions(runtime=runtime, carried={"x", "y"}))
    assert {spec.dtype for spec in (*graph.inputs, *graph.outputs)} == {"float32"}
    x = some_input(2)
    np.testing.assert_allclose(graph.run({"x": x})[0], x @ weights(), rtol=1e-4, atol=1e-4)


def test_a_detector_computes_in_the_precision_of_detectors(linear_onnx: Path) -> None:
    x = some_input(4)
    exact = graphs(precision="f32")(linear_onnx).run({"x": x})[0]
    usual = graphs(precision="bf16")(linear_onnx, GraphOptions(detects=True)).run({"x": x})[0]
    np.testing.assert_array_equal(usual, exact)
    asked = graphs(precision="f32", detector_precision="bf16")(linear_onnx, GraphOptions(detects=True)).run(
        {"x": x}
    )[0]
    rounded = graphs(precision="bf16")(linear_onnx).run({"x": x})[0]
    np.testing.assert_array_equal(asked, rounded)


def test_a_model_may_ask_for_another_precision_than_the_settings(linear_onnx: Path) -> None:
    x = some_input(4)
    asked = graphs(precision="bf16")(linear_onnx, GraphOptions(precision=Precision.F32)).run({"x": x})[0]
    np.testing.assert_array_equal(asked, graphs(precision="f32")(linear_onnx).run({"x": x})[0])


def test_the_settings_choose_the_runtime_and_a_model_may_differ(linear_onnx: Path) -> None:
    assert isinstance(graphs()(linear_onnx), OpenVinoGraph)
    assert isinstance(graphs(graph_runtime="onnxruntime")(linear_onnx), OnnxRuntimeGraph)
    assert isinstance(graphs()(linear_onnx, GraphOptions(runtime=GraphRuntime.ONNXRUNTIME)), OnnxRuntimeGraph)
    assert isinstance(
        graphs(graph_runtime="onnxruntime")(linear_onnx, GraphOptions(runtime=GraphRuntime.OPENVINO)),
        OpenVinoGraph,
    )


def test_a_model_that_needs_the_other_runtime_runs_on_its_cpu(linear_onnx: Path) -> None:
    """The device of the settings means nothing to a runtime they did not choose."""
    x = some_input(2)
    graph = graphs(device="gpu")(linear_onnx, GraphOptions(runtime=GraphRuntime.ONNXRUNTIME))
    assert graph.run({"x": x})[0].shape == (2, 32)
    graph = graphs(device="cuda")(linear_onnx, GraphOptions(runtime=GraphRuntime.OPENVINO))
    assert graph.run({"x": x})[0].shape == (2, 32)


@pytest.mark.parametrize(
    ("device", "runtime", "told"),
    [
        ("npu", "auto", "OpenVINO has no device 'NPU' here; it has .*CPU"),
        ("tensorrt", "auto", "ONNX Runtime has no device 'tensorrt' here; it has .*CPUExecutionProvider"),
        ("abacus", "auto", "Device names are cpu, cuda"),
        ("abacus", "openvino", "OpenVINO has no device 'ABACUS'"),
    ],
)
def test_a_device_that_is_not_here_is_a_configuration_error(
    linear_onnx: Path, device: str, runtime: str, told: str
) -> None:
    wrong = graphs(device=device, graph_runtime=runtime)
    with pytest.raises(ConfigurationError, match=told):
        wrong(linear_onnx)
    with pytest.raises(ConfigurationError, match=told):
        wrong.require_device()


@pytest.fixture
def driver(tmp_path: Path) -> Callable[[int, int], str]:
    """Build a library with the two functions of NVIDIA's driver that are asked."""

    def build(status: int, gpus: int) -> str:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        source, library = tmp_path / "cuda.c", tmp_path / "libcuda.so.1"
        source.write_text(
            f"int cuInit(unsigned flags) {{ return {status}; }}\n"
            f"int cuDeviceGetCount(int *count) {{ *count = {gpus}; return 0; }}\n"
        )
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
        return str(library)

    return build


@pytest.mark.parametrize(("status", "gpus", "found"), [(0, 2, 2), (0, 0, 0), (100, 1, 0)])
def test_gpus_are_those_that_the_driver_counts(
    driver: Callable[[int, int], str], status: int, gpus: int, found: int
) -> None:
    assert nvidia_gpus(driver(status, gpus)) == found


def test_without_a_driver_there_is_no_gpu(tmp_path: Path) -> None:
    assert nvidia_gpus(str(tmp_path / "libcuda.so.1")) == 0


def test_auto_computes_on_the_cpu_without_the_package_for_cuda(linear_onnx: Path) -> None:
    if "CUDA" in devices()["onnxruntime"]:
        pytest.skip("this machine has the package for CUDA")
    assert graphs(device="auto").usual_place == (GraphRuntime.OPENVINO, "cpu")
    assert graphs(device="auto", graph_runtime="onnxruntime").usual_place == (GraphRuntime.ONNXRUNTIME, "cpu")
    assert isinstance(graphs(device="auto")(linear_onnx), OpenVinoGraph)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_cpu_is_always_there(runtime: str) -> None:
    graphs(graph_runtime=runtime).require_device()


@pytest.mark.parametrize("runtime", BOTH)
@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x08\x12\x00" * 50])
def test_a_file_that_is_no_graph_is_a_broken_model(
    tmp_path: Path, runtime: GraphRuntime, content: bytes
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelBroken, match=f"model.onnx does not load in {runtime.value}") as caught:
        graphs()(path, GraphOptions(runtime=runtime))
    assert str(tmp_path) not in str(caught.value)


def test_the_compiled_form_is_kept_and_used_again(linear_onnx: Path, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "compiled"
    x = some_input(2)
    first = graphs(cache)(linear_onnx).run({"x": x})[0]
    blobs = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert blobs
    second = graphs(cache)(linear_onnx).run({"x": x})[0]
    np.testing.assert_array_equal(first, second)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == blobs


def test_threads_default_to_the_cores_there_are() -> None:
    assert graphs(threads=3).threads == 3
    assert graphs(threads=0).threads >= 1


def test_devices_are_listed_by_runtime() -> None:
    listed = devices()
    assert "CPU" in listed["openvino"]
    assert "CPU" in listed["onnxruntime"]


def test_importing_graphs_loads_no_runtime() -> None:
    code = "import sys, sightline.runtime.graphs; sys.exit(any(name in sys.modules for name in sys.argv[1:]))"
    assert (
        subprocess.run([sys.executable, "-c", code, "openvino", "onnxruntime"], check=False).returncode == 0
    )


FIRST_USE = """
import sys, threading
from pathlib import Path
from sightline.runtime.graphs import Graphs
from sightline.settings import Settings

together, graphs = threading.Barrier(4), Graphs(Settings(_env_file=None))

def load():
    together.wait()
    graphs(Path(sys.argv[1]))

threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join(60) for thread in threads]
sys.stdout.write(str(sum(thread.is_alive() for thread in threads)))
sys.stdout.flush()
import os
os._exit(0)
"""


def test_models_loaded_together_at_the_very_start_do_not_wait_for_each_other(linear_onnx: Path) -> None:
    """In a process of its own: what hung was the first use of the runtime's bindings."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE, str(linear_onnx)],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout == "0", "threads that hang"
