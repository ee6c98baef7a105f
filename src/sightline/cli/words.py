"""Answers as people read them. Goes by the shape of an answer, so operations to come are covered too."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sightline.cli.console import printable
from sightline.operations import Operation

_LINES = 10
# An operation that does not say how its result reads gets so many lines.
_MOST_LINES = 15


def answer_in_words(data: BaseModel | None, operation: Operation[Any, Any] | None = None) -> str:
    """A few lines, as ``operation`` says or else from the fields. None: a detector found nothing."""
    if data is None:
        return "nothing found"
    words = None if operation is None else operation.words(data)
    return printable(words if words is not None else _cut(_fields(data.model_dump(mode="json"))))


def _cut(text: str) -> str:
    """Return the first lines of fields that have many."""
    lines = text.split("\n")
    if len(lines) <= _MOST_LINES:
        return text
    return "\n".join([*lines[:_MOST_LINES], f"… {len(lines) - _MOST_LINES} more lines, see --json"])


def _fields(fields: Mapping[str, Any]) -> str:
    if "vector" in fields:
        return _vector(fields["vector"])
    if _is_box(fields.get("box")):
        rest = {name: value for name, value in fields.items() if name not in ("box", "landmarks")}
        return ", ".join(part for part in (_box(fields["box"]), _fields(rest)) if part)
    if len(fields) == 1:
        return _value(next(iter(fields.values())))
    nested = {name: value for name, value in fields.items() if isinstance(value, Mapping | list) and value}
    flat = [f"{name} {_value(value)}" for name, value in fields.items() if name not in nested]
    lines = [", ".join(flat)] if flat else []
    for name, value in nested.items():
        words = _value(value)
        lines.append(f"{name}:{words}" if words.startswith("\n") else f"{name}: {words}")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return _fields(value)
    if isinstance(value, list):
        return _items(value)
    return str(value)


def _items(items: Sequence[Any]) -> str:
    if not any(isinstance(item, Mapping) for item in items):
        shown = ", ".join(_value(item) for item in items[:_LINES])
        return f"{shown}, … ({len(items)})" if len(items) > _LINES else shown or "none"
    lines = [f"{number}. {_value(item)}" for number, item in enumerate(items[:_LINES], start=1)]
    if len(items) > _LINES:
        lines.append(f"… and {len(items) - _LINES} more")
    return "\n".join(["", *lines])


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(n, int | float) for n in value)


def _box(corners: Sequence[float]) -> str:
    x_min, y_min, x_max, y_max = (_value(corner) for corner in corners)
    return f"box ({x_min}, {y_min})–({x_max}, {y_max})"


def _vector(vector: Sequence[float] | str) -> str:
    if isinstance(vector, str):
        packed = base64.b64decode(vector)
        vector = struct.unpack(f"<{len(packed) // 4}f", packed)
    first = ", ".join(f"{number:.4g}" for number in vector[:3])
    return f"{len(vector)} numbers, first [{first}, …], norm {math.hypot(*vector):.4g}"
