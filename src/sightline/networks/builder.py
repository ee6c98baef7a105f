"""An ONNX graph under construction. Its weights are written to the file one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sightline.weights.tensors import Shape, Tensor

# OpenVINO and ONNX Runtime read both; LayerNormalization needs opset 17, and Split with num_outputs 18.
OPSET = 18
_IR_VERSION = 10
# Numbers of protobuf fields in onnx.proto: ModelProto.graph, GraphProto.initializer, and TensorProto's own.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_LENGTH_DELIMITED = 2
# Constants up to this many elements are stored once however often they are used.
_SHARED_ELEMENTS = 16


@dataclass(frozen=True, slots=True)
class Weight:
    """A float32 weight that is computed when it is written, so that no two need to be in memory at once."""

    shape: Shape
    make: Callable[[], NDArray[Any]]

    @classmethod
    def of(cls, tensor: Tensor) -> Weight:
        """A tensor of a checkpoint as it is."""
        return cls(tensor.shape, tensor.numpy)


Operand = str | Weight | NDArray[Any] | np.generic


class GraphBuilder:
    """Builds one graph: ``input``, then ``add`` for each node, ``output``, and ``save``.

    Values are the names of node outputs. An operand of ``add`` is a value, an array (a constant), a
    ``Weight``, or "" for an optional input that is left out. Equal input gives equal bytes on every machine.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._weights: dict[str, Weight | NDArray[Any]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> str:
        """Declare a graph input; a string in ``shape`` is a free dimension."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: Sequence[int | str], dtype: DTypeLike = np.float32) -> None:
        """Declare a graph output that a node of that name computes."""
        self._outputs.append(_value_info(name, dtype, shape))

    def constant(self, value: Weight | NDArray[Any] | np.generic) -> str:
        """Add a weight and return its name. Small equal arrays share one."""
        if isinstance(value, Weight):
            return self._store(value)
        array = np.asarray(value, order="C")
        if array.size > _SHARED_ELEMENTS:
            return self._store(array)
        key = f"c_{array.dtype.name}_{'x'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        self._weights.setdefault(key, array)
        return key

    def add(self, operator: str, *operands: Operand, output: str | None = None, **attributes: Any) -> str:
        """Append a node with one output and return the name of its value."""
        (value,) = self._append(operator, operands, [output or f"{operator}_{len(self._nodes)}"], attributes)
        return value

    def split(self, value: str, parts: int, axis: int) -> tuple[str, ...]:
        """Cut a value into equal parts along an axis."""
        names = [f"Split_{len(self._nodes)}_{part}" for part in range(parts)]
        return self._append("Split", (value,), names, {"axis": axis, "num_outputs": parts})

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the model file.

        Memory peaks at the largest weight, and the 2 GiB limit of protobuf messages in memory does not apply:
        the weights are appended to the serialised graph as further ``initializer`` fields.
        """
        from onnx import helper

        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="sightline",
        )
        helper.set_model_props(model, dict(metadata))
        body = model.graph.SerializeToString(deterministic=True)
        model.ClearField("graph")
        heads = [(_tensor_head(name, weight), weight) for name, weight in self._weights.items()]
        size = len(body) + sum(len(head) + _num_bytes(weight) for head, weight in heads)
        with path.open("wb") as file:
            file.write(model.SerializeToString(deterministic=True) + _tag(_MODEL_GRAPH) + _varint(size))
            file.write(body)
            for head, weight in heads:
                file.write(head)
                _write_numbers(file, weight)

    def _store(self, weight: Weight | NDArray[Any]) -> str:
        # A prefix of their own: a weight and a node's output must not share a name.
        name = f"w_{len(self._weights)}"
        self._weights[name] = weight
        return name

    def _append(
        self,
        operator: str,
        operands: Sequence[Operand],
        outputs: Sequence[str],
        attributes: Mapping[str, Any],
    ) -> tuple[str, ...]:
        from onnx import helper

        names = [operand if isinstance(operand, str) else self.constant(operand) for operand in operands]
        self._nodes.append(helper.make_node(operator, names, outputs, **attributes))
        return tuple(outputs)


def int64(*values: int) -> NDArray[np.int64]:
    """Return a one-dimensional int64 array, as shapes and axes are given."""
    return np.array(values, np.int64)


def _value_info(name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def _dtype(weight: Weight | NDArray[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if isinstance(weight, Weight) else weight.dtype


def _num_bytes(weight: Weight | NDArray[Any]) -> int:
    return math.prod(weight.shape) * _dtype(weight).itemsize


def _tensor_head(name: str, weight: Weight | NDArray[Any]) -> bytes:
    """Everything of an ``initializer`` field before its numbers."""
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(_dtype(weight))
    head = b"".join(_varint(_TENSOR_DIMS << 3) + _varint(length) for length in weight.shape)
    head += _varint(_TENSOR_TYPE << 3) + _varint(kind)
    head += _tag(_TENSOR_NAME) + _varint(len(name)) + name.encode()
    head += _tag(_TENSOR_RAW) + _varint(_num_bytes(weight))
    return _tag(_GRAPH_INITIALIZER) + _varint(len(head) + _num_bytes(weight)) + head


def _write_numbers(file: BinaryIO, weight: Weight | NDArray[Any]) -> None:
    array = weight if isinstance(weight, np.ndarray) else np.asarray(weight.make(), np.float32, order="C")
    if array.shape != tuple(weight.shape):
        raise ValueError(f"a weight has shape {array.shape}, {tuple(weight.shape)} was declared")
    # ONNX stores raw data in little-endian order, as do all processors that we run on.
    file.write(array.reshape(-1).view(np.uint8).data)


def _tag(field: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
