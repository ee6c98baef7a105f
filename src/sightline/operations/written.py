"""Parameters as text: from a query string or a command line, where every value is written out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import pydantic_core
from pydantic import BaseModel, TypeAdapter, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_written(kind: type[ModelT], given: Mapping[str, Any]) -> ModelT:
    """``given`` as ``kind``, each text as what its field takes: 518, true, null, a list, or the text itself.

    Raises:
        ValidationError: a value does not fit however it is read.
    """
    values = dict(given)
    try:
        return kind.model_validate(values)
    except ValidationError:
        # Not at first: almost every text fits as it is.
        return kind.model_validate({name: _fitting(kind, name, value) for name, value in values.items()})


def _fitting(kind: type[BaseModel], name: str, value: Any) -> Any:
    """The first reading of ``value`` that its field takes; ``value`` itself if none does."""
    if name not in kind.model_fields:
        return value
    adapter = _adapter(kind, name)
    for reading in _readings(value):
        try:
            adapter.validate_python(reading)
        except ValidationError:
            continue
        return reading
    return value


def _readings(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, str):
        parsed = _parsed(value)
        yield parsed
        yield [value]
        yield [parsed]
    elif isinstance(value, list):
        yield [_parsed(each) if isinstance(each, str) else each for each in value]


def _parsed(text: str) -> Any:
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


@functools.cache
def _adapter(kind: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = kind.model_fields[name]
    annotation: Any = field.annotation
    for each in field.metadata:
        annotation = Annotated[annotation, each]
    return TypeAdapter(annotation)
