"""ONNX files as callables: OpenVINO on CPUs, ONNX Runtime on everything else, behind one interface.

OpenVINO is the default on CPUs because it computes in bf16 where the processor can (AMX, AVX512_BF16);
ONNX Runtime's CPU provider has no bf16 arithmetic at all.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import sys
import threading
from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ConfigurationError, ModelBroken
from sightline.models import AS_SET, Graph, GraphOptions, TensorSpec
from sightline.models.generation import GenerationLimits, TextGenerator
from sightline.runtime import intermediate
from sightline.runtime.cores import usable_cores
from sightline.runtime.generation import ProcessGenerator
from sightline.settings import DetectorPrecision, GraphRuntime, Precision, Settings

if TYPE_CHECKING:
    import onnxruntime
    import openvino

# Device names of the setting → ONNX Runtime's providers, best first.
ONNXRUNTIME_PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
    "coreml": ("CoreMLExecutionProvider",),
    "directml": ("DmlExecutionProvider",),
}

AUTO_DEVICE = "auto"
# TF32 rounds factors to 10 bits: it is ONNX Runtime's default on CUDA, and no longer f32.
_PROVIDER_OPTIONS: Mapping[str, Mapping[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}

_log = logging.getLogger(__name__)

# Models are loaded on several threads.
_FIRST_USE = threading.Lock()


class Graphs:
    """Opens graphs as the settings say. The compiled form of an OpenVINO graph is kept in ``cache_dir``."""

    def __init__(self, settings: Settings, cache_dir: Path | None = None) -> None:
        self._settings = settings
        self._cache_dir = cache_dir
        self.threads = settings.threads or max(1, int(usable_cores()))

    def __call__(self, path: Path, options: GraphOptions = AS_SET) -> Graph:
        """Load one ONNX file. See ``models.GraphLoader``.

        Raises:
            ModelBroken: the file is not a graph the runtime accepts.
            ConfigurationError: the device of the settings is not on this machine.
        """
        chosen, device = self._place(options.runtime)
        try:
            if chosen is GraphRuntime.OPENVINO:
                return OpenVinoGraph(
                    path,
                    device=device.upper(),
                    precision=self._precision(options),
                    threads=self.threads,
                    slots=self._settings.compute_slots,
                    cache_dir=self._cache_dir,
                    carried=options.carried,
                )
            return OnnxRuntimeGraph(path, device=device, threads=self.threads)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ModelBroken(
                f"{path.name} does not load in {chosen.value}: {type(error).__name__}"
            ) from error

    def generator(self, name: str, folder: Path, limits: GenerationLimits) -> TextGenerator:
        """See ``models.GraphLoader``. Text is generated on the CPU, whatever the device of the settings."""
        generator = ProcessGenerator(name, folder, limits, self.threads)
        generator.start()
        return generator

    def computes_in(self, options: GraphOptions = AS_SET) -> Precision | None:
        """Return the precision of a graph opened so, never ``AUTO``; None if the device does not say.

        It is f32 with ONNX Runtime, which computes as the file says.
        """
        chosen, device = self._place(options.runtime)
        if chosen is not GraphRuntime.OPENVINO:
            return Precision.F32
        precise = self._precision(options)
        return _openvino_usual(device.upper()) if precise is Precision.AUTO else precise

    def _precision(self, options: GraphOptions) -> Precision:
        """Return the graph's own precision or the settings'. Measurements are applied in ``precision.py``."""
        if options.precision is not None:
            return options.precision
        if not options.detects:
            return self._settings.precision
        usual = self._settings.detector_precision
        return Precision.F32 if usual is DetectorPrecision.MEASURED else Precision(usual.value)

    @property
    def arithmetic(self) -> str:
        """Runtime, its version and the device: what decides how numbers are rounded besides the precision."""
        chosen, device = self._place(None)
        if chosen is not GraphRuntime.OPENVINO:
            return f"ONNX Runtime {_onnxruntime().__version__}, {device}"
        core, name = _openvino_core(), device.upper()
        version = next(iter(core.get_versions(name.partition(".")[0].partition(":")[0]).values()))
        try:
            processor = str(core.get_property(name, "FULL_DEVICE_NAME")).strip()
        except RuntimeError:  # devices made of several have no name
            processor = name
        return f"OpenVINO {version.build_number}, {processor}"

    @property
    def usual_place(self) -> tuple[GraphRuntime, str]:
        """The runtime and the device of models that ask for neither."""
        return self._place(None)

    def require_device(self) -> None:
        """Raises ConfigurationError if the device of the settings is not on this machine."""
        runtime, device = self._place(None)
        if runtime is GraphRuntime.OPENVINO:
            _require_openvino_device(device.upper())
        else:
            _onnxruntime_providers(device)

    def _place(self, asked: GraphRuntime | None) -> tuple[GraphRuntime, str]:
        """The runtime and its device. A model that asks for the other runtime runs on that one's CPU."""
        device = self._settings.device.lower()
        usual = self._settings.graph_runtime
        if device == AUTO_DEVICE and usual is not GraphRuntime.OPENVINO:  # OpenVINO has an AUTO of its own
            device = "cuda" if _computes_on_cuda() else "cpu"
        if usual is GraphRuntime.AUTO:
            on_openvino = device.startswith(("cpu", "gpu", "npu"))
            usual = GraphRuntime.OPENVINO if on_openvino else GraphRuntime.ONNXRUNTIME
        if asked in (None, GraphRuntime.AUTO, usual):
            return usual, device
        return asked, "cpu"


def _openvino_core() -> openvino.Core:
    with _FIRST_USE:
        return _made_core()


@cache
def _made_core() -> openvino.Core:
    import openvino

    # The first number type that is translated makes the bindings look for numpy's functions, once. Two
    # threads that come there together hang: one holds the interpreter, the other the right to look.
    openvino.Type.f32.to_dtype()
    return openvino.Core()


def cpu_computes_bf16() -> bool:
    """Whether OpenVINO finds native bf16 arithmetic (AMX_BF16 or AVX512_BF16) on this processor."""
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _openvino_devices() -> tuple[str, ...]:
    """Devices that OpenVINO finds. Each look opens the libraries of all its devices, and some fail to open.

    glibc 2.36 ends the process if a thread starts during such an attempt in a process with more than
    about sixty libraries that have thread-local data (_dl_allocate_tls_init), so there is one look.
    """
    return tuple(_openvino_core().available_devices)


def _cpu_usual() -> Precision:
    return Precision.BF16 if cpu_computes_bf16() else Precision.F32


def _openvino_usual(device: str) -> Precision | None:
    """Return OpenVINO's default precision on ``device``; None if it does not report one."""
    if device.partition(".")[0] == "CPU":
        return _cpu_usual()
    try:
        hint = _openvino_core().get_property(device, "INFERENCE_PRECISION_HINT")
        return Precision(hint.to_string())
    except (RuntimeError, AttributeError, ValueError):
        return None


def devices() -> dict[str, list[str]]:
    """Devices by runtime, as each runtime names them."""
    return {
        "openvino": list(_openvino_devices()),
        "onnxruntime": [
            name.removesuffix("ExecutionProvider") for name in _onnxruntime().get_available_providers()
        ],
    }


class OpenVinoGraph:
    """A graph compiled by OpenVINO, with one inference request per compute slot."""

    def __init__(
        self,
        path: Path,
        *,
        device: str,
        precision: Precision,
        threads: int,
        slots: int,
        cache_dir: Path | None,
        carried: Collection[str],
    ) -> None:
        _require_openvino_device(device)
        core = _openvino_core()
        family = device.partition(".")[0]
        config: dict[str, Any] = {}
        if precision is not Precision.AUTO:
            config["INFERENCE_PRECISION_HINT"] = precision.value
        elif family == "CPU":
            config["INFERENCE_PRECISION_HINT"] = _cpu_usual().value
        if family == "CPU":
            config |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": slots, "ENABLE_CPU_PINNING": False}
        elif cache_dir is not None:
            config["CACHE_DIR"] = str(cache_dir)  # kernels of devices that compile them
        computed_in = str(config.get("INFERENCE_PRECISION_HINT", ""))
        half = computed_in in ("bf16", "f16")
        model = intermediate.read(core, path, cache_dir, half=half)
        if half and carried:
            model = _carrying(model, carried, computed_in)
        compiled = core.compile_model(model, device, config)
        del model
        self.inputs = tuple(_openvino_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_openvino_spec(port) for port in compiled.outputs)
        ports = (*compiled.inputs, *compiled.outputs)
        self._bf16 = {port.any_name for port in ports if port.element_type.get_type_name() == "bf16"}
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(slots):
            self._requests.put(compiled.create_infer_request())

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        request = self._requests.get()
        try:
            results = request.infer(
                {name: _tensor(inputs[name]) if name in self._bf16 else inputs[name] for name in inputs},
                share_inputs=True,
            )
            return [
                results[index].view(np.uint16) if spec.name in self._bf16 else results[index]
                for index, spec in enumerate(self.outputs)
            ]
        finally:
            self._requests.put(request)


def _require_openvino_device(device: str) -> None:
    here = _openvino_devices()
    family = device.partition(".")[0]
    if family.partition(":")[0] != "AUTO" and not any(name.partition(".")[0] == family for name in here):
        raise ConfigurationError(f"OpenVINO has no device {device!r} here; it has {', '.join(here)}")


def _carrying(model: openvino.Model, names: Collection[str], computed_in: str) -> openvino.Model:
    """``model`` with those inputs and outputs in the half precision it computes in."""
    from openvino import Type
    from openvino.preprocess import PrePostProcessor

    element = {"bf16": Type.bf16, "f16": Type.f16}[computed_in]
    processor = PrePostProcessor(model)
    for side, ports in ((processor.input, model.inputs), (processor.output, model.outputs)):
        for port in ports:
            if port.any_name in names:
                side(port.any_name).tensor().set_element_type(element)
    return processor.build()


def _tensor(bits: NDArray[np.uint16]) -> openvino.Tensor:
    """Bfloat16 numbers, where they lie if they lie in order."""
    from openvino import Tensor, Type

    return Tensor(np.ascontiguousarray(bits), list(bits.shape), Type.bf16)


def _openvino_spec(port: Any) -> TensorSpec:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    element = port.element_type
    # OpenVINO gives bfloat16 to numpy as float16, whose numbers it has not.
    dtype = "uint16" if element.get_type_name() == "bf16" else np.dtype(element.to_dtype()).name
    return TensorSpec(port.any_name, dtype, shape)


@cache
def _onnxruntime() -> ModuleType:
    runtime = import_module("onnxruntime")
    # ``sightline/__init__.py`` has set a variable for this. The runtime overlooks it where it was imported
    # before that, and in builds for Windows apps.
    runtime.disable_telemetry_events()
    return runtime


@cache
def _computes_on_cuda() -> bool:
    """Whether ONNX Runtime is the package for CUDA and a GPU answers; the log says which is missing, once."""
    has_provider = ONNXRUNTIME_PROVIDERS["cuda"][0] in _onnxruntime().get_available_providers()
    gpus = nvidia_gpus()
    if has_provider and gpus:
        _log.info("computing on an NVIDIA GPU (%d found)", gpus)
        return True
    if has_provider or gpus:
        missing = "the NVIDIA driver finds no GPU" if has_provider else "onnxruntime-gpu is not installed"
        _log.warning("computing on the CPU: %s", missing)
    return False


def nvidia_gpus(driver: str = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1") -> int:
    """Return the number of GPUs that NVIDIA's driver finds; 0 without a driver.

    The package for CUDA lists its provider on every machine, and silently computes on the CPU without a GPU.
    """
    try:
        cuda = ctypes.CDLL(driver)
        count = ctypes.c_int(0)
        works = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):
        return 0
    return count.value if works else 0


class OnnxRuntimeGraph:
    """A graph in an ONNX Runtime session on the providers that belong to ``device``."""

    def __init__(self, path: Path, *, device: str, threads: int) -> None:
        onnxruntime = _onnxruntime()
        providers = _onnxruntime_providers(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Shapes change from call to call; a memory plan per shape would only grow.
        options.enable_mem_pattern = False
        # Idle threads must not spin: other graphs and the decoders need the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=[(name, dict(_PROVIDER_OPTIONS.get(name, {}))) for name in providers],
        )
        self.inputs = tuple(_onnxruntime_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(_onnxruntime_spec(node) for node in self._session.get_outputs())
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        results: list[NDArray[Any]] = self._session.run(self._output_names, dict(inputs))
        return results


def _onnxruntime_providers(device: str) -> list[str]:
    """Providers of ``device`` that are here, best first; the CPU's takes what the others cannot compute."""
    wanted = ONNXRUNTIME_PROVIDERS.get(device)
    here = _onnxruntime().get_available_providers()
    if wanted is None or wanted[0] not in here:
        raise ConfigurationError(
            f"ONNX Runtime has no device {device!r} here; it has {', '.join(here)}. "
            f"Device names are {', '.join(ONNXRUNTIME_PROVIDERS)}"
        )
    return [name for name in dict.fromkeys((*wanted, "CPUExecutionProvider")) if name in here]


# ONNX Runtime names element types in C++ style.
_ONNXRUNTIME_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(bool)": "bool"}


def _onnxruntime_spec(node: onnxruntime.NodeArg) -> TensorSpec:
    dtype = _ONNXRUNTIME_DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, dtype, shape)
