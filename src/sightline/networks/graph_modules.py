"""Pickled ``torch.fx`` GraphModules of onnx2torch layers, translated back to ONNX.

Such a file holds the source text of a function, which torch would run. Here the text is parsed and never
compiled: it must be a plain list of calls of submodules, one after another. Everything else is refused.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from sightline.errors import CheckpointInvalid
from sightline.networks.builder import GraphBuilder, Weight
from sightline.weights.checkpoints import Global, Inert, read_pickle
from sightline.weights.tensors import Tensor

_REDUCTION: Final = "torch.fx.graph_module.reduce_graph_module"
_MAX_CODE_CHARACTERS: Final = 1 << 20
_LAYER_PACKAGES: Final = ("torch.nn.modules.", "onnx2torch.node_converters.")
# Layers without settings.
_PLAIN: Final[Mapping[str, str]] = {
    "Sigmoid": "Sigmoid",
    "OnnxMatMul": "MatMul",
    "OnnxReshape": "Reshape",
    "OnnxSqueezeDynamicAxes": "Squeeze",
    "OnnxGlobalAveragePool": "GlobalAveragePool",
    "OnnxGlobalAveragePoolWithKnownInputShape": "GlobalAveragePool",
}
_ARITHMETIC: Final[Mapping[str, str]] = {"add": "Add", "mul": "Mul"}


@dataclass(frozen=True, slots=True)
class Step:
    """One statement: ``result`` is the answer of the layer at ``path``, or the constant there."""

    result: str
    path: tuple[str, ...]
    arguments: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class GraphModule:
    """A traced module: what each layer is, and in which order they are called."""

    state: Mapping[str, Any]
    input: str
    steps: tuple[Step, ...]
    answer: str

    @classmethod
    def read(cls, path: Path) -> GraphModule:
        """Read a file that ``torch.save`` wrote.

        Raises:
            CheckpointInvalid: it holds something else, or its function is not a plain list of calls.
        """
        root = read_pickle(path)
        if not isinstance(root, Inert) or root.name != _REDUCTION or len(root.args) != 2:
            held = root.name if isinstance(root, Inert) else type(root).__name__
            raise CheckpointInvalid(f"{path.name} has another content: {held[:80]}; expected a GraphModule")
        state = root.args[0]
        code = (state.get("_code") or state.get("code")) if isinstance(state, dict) else None
        if not isinstance(code, str) or len(code) > _MAX_CODE_CHARACTERS:
            raise CheckpointInvalid(f"{path.name} has no text of a function")
        try:
            return cls(state, *_parsed(code))
        except _Refused as error:
            raise CheckpointInvalid(f"{path.name} is not a plain GraphModule: {error}") from error

    def found(self, path: Sequence[str]) -> Any:
        """Return the layer or constant at a path."""
        state = self.state
        for place, part in enumerate(path):
            last = place == len(path) - 1
            kinds = ("_modules", "_buffers", "_parameters") if last else ("_modules",)
            held = next((state[kind][part] for kind in kinds if part in (state.get(kind) or {})), None)
            if held is None or not (last or isinstance(held, Inert)):
                raise CheckpointInvalid(f"the GraphModule has no layer {'/'.join(path)[:200]}")
            state = held.state if isinstance(held, Inert) else {}
        return held


@dataclass
class Translation:
    """Appends the layers of a GraphModule to a graph."""

    graph: GraphBuilder
    module: GraphModule
    # Operators that were written, by name.
    operators: Counter[str] = field(default_factory=Counter)
    # Shape of the constant in each product of matrices.
    products: list[tuple[int, ...]] = field(default_factory=list)
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False)

    def run(self, value: str) -> str:
        """Translate, with ``value`` as the module's input, and return its answer.

        Raises:
            CheckpointInvalid: a layer is not known, or has settings that are not.
        """
        values: dict[str, str] = {self.module.input: value}
        for step in self.module.steps:
            held = self.module.found(step.path)
            try:
                if step.arguments is None:
                    values[step.result] = self._constant(held)
                else:
                    values[step.result] = self._layer(held, [values[name] for name in step.arguments])
            except _Refused as error:
                raise CheckpointInvalid(f"layer {'/'.join(step.path)[:200]}: {error}") from error
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise CheckpointInvalid(f"layer {'/'.join(step.path)[:200]} is damaged") from error
        try:
            return values[self.module.answer]
        except KeyError as error:
            raise CheckpointInvalid("the GraphModule answers with something it does not compute") from error

    def _constant(self, held: Any) -> str:
        if not isinstance(held, Tensor):
            raise _Refused("expected a tensor")
        name = self.graph.constant(_operand(held))
        self._shapes[name] = held.shape
        return name

    def _add(self, operator: str, *operands: Any, **attributes: Any) -> str:
        self.operators[operator] += 1
        return self.graph.add(operator, *operands, **attributes)

    def _layer(self, layer: Any, values: list[str]) -> str:
        if not isinstance(layer, Inert) or not layer.name.startswith(_LAYER_PACKAGES):
            raise _Refused(f"unknown kind {getattr(layer, 'name', type(layer).__name__)[:100]}")
        kind = layer.name.rpartition(".")[2]
        if kind == "OnnxMatMul":
            self.products.append(self._shapes.get(values[1], ()))
        if kind in _PLAIN:
            return self._add(_PLAIN[kind], *values)
        if kind == "OnnxBinaryMathOperation":
            one, other = values
            return self._add(_arithmetic(layer), one, other)
        (value,) = values
        match kind:
            case "Sequential":
                for child in layer.children.values():
                    value = self._layer(child, [value])
                return value
            case "Conv2d":
                return self._convolution(layer, value)
            case "OnnxPadStatic":
                return self._padding(layer, value)
            case "OnnxTranspose":
                return self._add("Transpose", value, perm=_integers(layer.state["perm"]))
        raise _Refused(f"unknown kind {layer.name[:100]}")

    def _convolution(self, layer: Inert, value: str) -> str:
        state = layer.state
        weight, bias = (state["_parameters"][name] for name in ("weight", "bias"))
        if state.get("padding_mode") != "zeros" or isinstance(state["padding"], str):
            raise _Refused(f"padding mode {str(state.get('padding_mode'))[:40]}; expected zeros")
        if not (isinstance(weight, Tensor) and isinstance(bias, Tensor)) or len(weight.shape) != 4:
            raise _Refused("expected a kernel of four dimensions and a bias")
        if bias.shape != weight.shape[:1]:
            raise _Refused(f"bias of shape {list(bias.shape)}; expected {list(weight.shape[:1])}")
        strides, pads, dilations = (_integers(state[name], 2) for name in ("stride", "padding", "dilation"))
        (groups,) = _integers([state["groups"]])
        return self._add(
            "Conv",
            value,
            _operand(weight),
            bias.numpy(),
            kernel_shape=list(weight.shape[2:]),
            strides=strides,
            pads=pads * 2,
            dilations=dilations,
            group=groups,
        )

    def _padding(self, layer: Inert, value: str) -> str:
        """torch lists margins from the last axis on, begin and end by turns; ONNX begins, then ends."""
        margins, filling = _integers(layer.state["pads"]), layer.state["constant_value"]
        if layer.state["mode"] != "constant" or not isinstance(filling, int | float):
            raise _Refused(f"padding mode {str(layer.state['mode'])[:40]}; expected constant")
        begins, ends = margins[0::2][::-1], margins[1::2][::-1]
        rest = [0] * (4 - len(begins))
        pads = np.array([*rest, *begins, *rest, *ends], np.int64)
        return self._add("Pad", value, pads, np.float32(filling))


class _Refused(Exception):
    """A fault without its location."""


def _parsed(code: str) -> tuple[str, tuple[Step, ...], str]:
    """Return the name of the input, the statements and the name of the answer."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _Refused("its text is not Python") from error
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise _Refused("its text has more than one function")
    function = tree.body[0]
    body = function.body
    if not body or not isinstance(body[-1], ast.Return):
        raise _Refused("its function does not end with an answer")
    steps = tuple(step for statement in body[:-1] for step in _step(statement))
    return _only_input(function), steps, _name(body[-1].value)


def _only_input(function: ast.FunctionDef) -> str:
    given = function.args
    names = [argument.arg for argument in given.args]
    decorated = function.decorator_list or function.returns or getattr(function, "type_params", None)
    unusual = (
        *given.posonlyargs, *given.kwonlyargs, *given.defaults, *given.kw_defaults, given.vararg, given.kwarg,
        *(argument.annotation for argument in given.args),
    )  # fmt: skip
    if decorated or any(part is not None for part in unusual) or len(names) != 2 or names[0] != "self":
        raise _Refused("its function has other parameters than self and one input, or a decorator")
    return names[1]


def _step(statement: ast.stmt) -> list[Step]:
    """``result = layer(arguments)``, ``result = constant``, or nothing for ``one = other = None``."""
    if not isinstance(statement, ast.Assign):
        raise _Refused(f"a statement that is not an assignment: {type(statement).__name__}")
    names = [_name(target) for target in statement.targets]
    value = statement.value
    if isinstance(value, ast.Constant) and value.value is None:
        return []
    if len(names) != 1:
        raise _Refused("two results of one call")
    if not isinstance(value, ast.Call) or _is_lookup(value):
        return [Step(names[0], _path(value), None)]
    if value.keywords:
        raise _Refused("a call with keywords")
    return [Step(names[0], _path(value.func), tuple(_name(argument) for argument in value.args))]


def _name(node: ast.AST | None) -> str:
    if not isinstance(node, ast.Name):
        raise _Refused(f"expected a name: {type(node).__name__}")
    return node.id


def _is_lookup(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"


def _path(node: ast.expr) -> tuple[str, ...]:
    """The names from ``self`` on: ``self.a`` and ``getattr(self, "b/c")``, and those below them."""
    parts: list[str] = []
    while not (isinstance(node, ast.Name) and node.id == "self"):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call) and _is_lookup(node) and len(node.args) == 2 and not node.keywords:
            owner, name = node.args
            if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                raise _Refused("a layer's name that is computed")
            parts.append(name.value)
            node = owner
        else:
            raise _Refused(f"a call of something else than a layer: {type(node).__name__}")
    if not parts:
        raise _Refused("a call of the module itself")
    return tuple(reversed(parts))


def _arithmetic(layer: Inert) -> str:
    """torch's functions are pickled as a name, or as one that is looked up in another thing."""
    function = layer.state["math_op_function"]
    if isinstance(function, Inert) and function.name == "builtins.getattr":
        name = function.args[-1]
    else:
        name = function.name.rpartition(".")[2] if isinstance(function, Global) else None
    if name not in _ARITHMETIC or layer.state.get("broadcast") is not None:
        raise _Refused(f"unknown arithmetic {str(name)[:40]}")
    return _ARITHMETIC[name]


def _integers(values: Any, count: int | None = None) -> list[int]:
    if not isinstance(values, list | tuple) or count not in (None, len(values)):
        raise _Refused("a setting is not a list of integers")
    if not all(type(value) is int and abs(value) < 1 << 20 for value in values):
        raise _Refused("a setting is not a list of integers")
    return list(values)


def _operand(tensor: Tensor) -> Any:
    if tensor.dtype in ("F32", "F16", "F64", "BF16"):
        return Weight.of(tensor) if tensor.size > 1 else tensor.numpy().astype(np.float32)
    return tensor.numpy().astype(np.int64)
