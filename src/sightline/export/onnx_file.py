"""Torch modules as ONNX files, and the proof that a file computes what its original does."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.errors import ExportFailed

# The newest operator set that torch writes without converting; OpenVINO and ONNX Runtime both read it.
_OPSET = 18

# Largest accepted difference, as a part of the largest number in the original's answer. Both sides compute in
# f32 in a different order; 24 blocks of it come to about 1e-5.
_TOLERANCE = 1e-4

_log = logging.getLogger(__name__)


def write(
    module: nn.Module,
    example: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, str]],
    output_names: str | Sequence[str],
    path: Path,
    metadata: Mapping[str, str],
    multiples: Mapping[str, int] | None = None,
) -> None:
    """One file, weights inside. ``free`` names the dimensions of each input that are open.

    ``multiples`` says of which number a dimension is always a multiple.
    """
    names = {name for axes in free.values() for name in axes.values()}
    dimensions = {name: _dimension(name, (multiples or {}).get(name, 1)) for name in sorted(names)}
    shapes = {
        name: {axis: dimensions[label] for axis, label in free.get(name, {}).items()} for name in example
    }
    _log.info("writing %s", path.name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own workings
        program = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            dynamo=True,
            dynamic_shapes=tuple(shapes.values()),
            input_names=list(example),
            output_names=[output_names] if isinstance(output_names, str) else list(output_names),
            opset_version=_OPSET,
            verbose=False,
        )
    if program is None:
        raise ExportFailed(f"torch wrote nothing for {path.name}")
    proto = program.model_proto
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.save(proto, path)


def write_traced(
    module: nn.Module,
    example: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, str]],
    output_name: str,
    path: Path,
    metadata: Mapping[str, str],
) -> None:
    """As :func:`write`, by running the module once and writing down what was computed.

    For modules whose code decides by the values of tensors, which the newer way refuses. Decisions are as for
    the example.
    """
    _log.info("writing %s", path.name)
    # The answer has the same free dimensions.
    axes = {**{name: dict(each) for name, each in free.items()}}
    axes[output_name] = {axis: label for each in free.values() for axis, label in each.items()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of every decision, and that it is the older way
        torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            str(path),
            dynamo=False,
            input_names=list(example),
            output_names=[output_name],
            dynamic_axes=axes,
            opset_version=_OPSET,
        )
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.save(proto, path)


def _dimension(name: str, step: int) -> Any:
    return torch.export.Dim(name) if step == 1 else step * torch.export.Dim(name)


def compare(path: Path, inputs: Mapping[str, Tensor], expected: Tensor | Sequence[Tensor]) -> None:
    """Run the file and hold its answer, or all of its answers, against the original's.

    Raises:
        ExportFailed: they differ by more than f32 arithmetic explains.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    for answer, original in zip(found, [expected] if isinstance(expected, Tensor) else expected, strict=True):
        _compare_one(path.name, answer, original.detach().numpy())


def _compare_one(name: str, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    if found.shape != wanted.shape:
        raise ExportFailed(f"{name} answers {found.shape} where the original answers {wanted.shape}")
    difference = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    if not difference <= _TOLERANCE:
        raise ExportFailed(f"{name} differs from the original by {difference:.1e} of its largest number")
    _log.info("%s agrees with the original to %.1e", name, difference)
