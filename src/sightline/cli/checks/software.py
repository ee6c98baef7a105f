"""The software: Python, packages, graph runtimes and the precision they will use."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from sightline import __version__
from sightline.cli.checks import Finding, State
from sightline.errors import ConfigurationError
from sightline.settings import Settings

_AREA = "software"
_PACKAGES = (
    "openvino", "onnxruntime", "numpy", "pillow", "pillow-heif", "tokenizers", "fastapi", "uvicorn",
)  # fmt: skip
_REINSTALL = "install sightline again: python -m pip install --force-reinstall sightline"


def check(settings: Settings | None) -> Iterator[Finding]:
    where = f"{platform.python_implementation()} {platform.python_version()}, {sys.platform}"
    yield Finding(_AREA, "sightline", State.OK, f"{__version__} on {where}")
    yield _packages()
    if settings is None:
        return
    try:
        yield from _runtimes(settings)
    except Exception as error:  # whatever a native library does when it cannot load
        yield Finding(_AREA, "runtimes", State.BROKEN, f"{type(error).__name__}: {error}", _REINSTALL)


def _packages() -> Finding:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(_AREA, "packages", State.BROKEN, f"missing: {', '.join(missing)}", _REINSTALL)
    return Finding(_AREA, "packages", State.OK, ", ".join(found))


def _runtimes(settings: Settings) -> Iterator[Finding]:
    from sightline.runtime.graphs import Graphs, cpu_computes_bf16, devices
    from sightline.settings import GraphRuntime

    listed = "; ".join(f"{runtime}: {', '.join(names)}" for runtime, names in devices().items())
    yield Finding(_AREA, "runtimes", State.OK, listed)
    yield _decoding(settings)
    graphs = Graphs(settings)
    runtime, device = graphs.usual_place
    try:
        graphs.require_device()
    except ConfigurationError as error:
        fix = "SIGHTLINE_DEVICE=cpu, or install the device's driver or its onnxruntime package"
        yield Finding(_AREA, "device", State.BROKEN, str(error), fix)
    else:
        name = "OpenVINO" if runtime is GraphRuntime.OPENVINO else "ONNX Runtime"
        yield Finding(_AREA, "device", State.OK, f"{device} with {name}")
    if runtime is GraphRuntime.OPENVINO and device.startswith("cpu"):
        yield _precision(settings, computes_bf16=cpu_computes_bf16())
    else:
        yield Finding(_AREA, "precision", State.OK, f"{settings.precision.value}, as the device has it")


def _decoding(settings: Settings) -> Finding:
    from sightline.imaging import ImageLimits
    from sightline.imaging.isolation import is_supported

    number = ImageLimits.from_settings(settings).decode_workers
    if number and is_supported():
        return Finding(_AREA, "decoding", State.OK, f"{number} processes of their own, under limits")
    fix = "SIGHTLINE_DECODE_WORKERS=-1" if is_supported() else "run the server on Linux, or in its container"
    return Finding(_AREA, "decoding", State.NOTICE, "in the same process: a damaged image can end it", fix)


def _precision(settings: Settings, *, computes_bf16: bool) -> Finding:
    from sightline.settings import Precision

    chosen = settings.precision
    if chosen is Precision.AUTO:
        text = "bf16" if computes_bf16 else "f32; this processor has no bf16 arithmetic"
        return Finding(_AREA, "precision", State.OK, f"{text} (detectors: {_detectors(settings)})")
    if chosen is Precision.BF16 and not computes_bf16:
        text = "bf16 is asked for, and this processor would only imitate it, slowly"
        return Finding(_AREA, "precision", State.NOTICE, text, "SIGHTLINE_PRECISION=auto")
    return Finding(_AREA, "precision", State.OK, chosen.value)


def _detectors(settings: Settings) -> str:
    from sightline.settings import DetectorPrecision

    chosen = settings.detector_precision
    return "f32, or as measured" if chosen is DetectorPrecision.MEASURED else chosen.value
