"""JSON Schemas that strangers send: whether they are any, and whether an answer fits.

A schema is a program of sorts. Here it opens no socket (``$ref`` stays inside it), matches patterns in linear
time, and ends: what refers to itself too often is given up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from pydantic_core import ValidationError as PatternMismatch

from sightline.errors import InvalidParameters

# jsonschema takes a fifth of a second to import and few requests bring a schema: it is imported at first use.
if TYPE_CHECKING:
    from jsonschema.exceptions import SchemaError, ValidationError

# An answer of a few hundred objects follows fewer; references that double at each step pass it at once.
MAX_REFERENCES = 10_000
_MAX_QUOTED_CHARS = 200
# Keywords whose value holds schemas by names of the author's, and those whose value is data.
_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"enum", "const", "default", "examples", "example"})

Schema = Mapping[str, Any]
_Keyword = Callable[[Any, Any, Any, Any], "Iterator[ValidationError] | None"]

_references_left: ContextVar[Iterator[int]] = ContextVar("sightline_references_left")


def check(schema: Schema) -> None:
    """Accept a schema that answers can be judged by.

    Raises:
        InvalidParameters: it is no JSON Schema, points outside itself, or has a pattern that needs more than
            linear time; the message says where.
    """
    from jsonschema.exceptions import SchemaError

    try:
        _dialect(schema).check_schema(schema)
        for keyword, value in _keywords(schema):
            _check_keyword(keyword, value)
    except SchemaError as error:
        raise InvalidParameters(f"this is no JSON Schema: {_told(error)}") from None
    except RecursionError:
        raise InvalidParameters("the JSON Schema is nested too deeply") from None


def misfit(schema: Schema, value: Any) -> str | None:
    """Why ``value`` does not fit a schema that passed :func:`check`; None if it does."""
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    _references_left.set(iter(range(MAX_REFERENCES)))
    try:
        validator = _guarded(_dialect(schema))(schema, registry=Registry())
        error = best_match(validator.iter_errors(value))
    except Unresolvable:
        return "the schema has a $ref to something that it does not define"
    except (_TooManyReferences, RecursionError):
        return "the schema refers to itself too often to be judged by"
    return _told(error) if error is not None else None


def _dialect(schema: Schema) -> Any:
    from jsonschema import Draft202012Validator, validators

    return validators.validator_for(schema, default=Draft202012Validator)


class _TooManyReferences(Exception):
    pass


def _check_keyword(keyword: str, value: Any) -> None:
    if keyword in ("$ref", "$dynamicRef", "$recursiveRef") and not str(value).startswith("#"):
        raise InvalidParameters(
            f"the JSON Schema has a {keyword} to {_quoted(value)}; it may only point inside itself (#/…)"
        )
    if keyword == "patternProperties":
        raise InvalidParameters("patternProperties in a JSON Schema is not supported; name the properties")
    if keyword == "pattern":
        try:
            _matcher(value)
        except PatternError:
            raise InvalidParameters(
                f"the JSON Schema has the pattern {_quoted(value)}, which is not supported: no "
                "look-around, no back-references"
            ) from None


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every keyword in a schema and the schemas inside it, with its value."""
    if isinstance(schema, list):
        for each in schema:
            yield from _keywords(each)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            if keyword in _DATA:
                continue
            yield keyword, value
            inner = list(value.values()) if keyword in _NAMED and isinstance(value, dict) else value
            yield from _keywords(inner)


@cache
def _guarded(dialect: Any) -> Any:
    """``dialect`` with references counted and patterns matched by an engine that cannot run away."""
    from jsonschema import validators

    counted = {
        name: _counted(dialect.VALIDATORS[name])
        for name in ("$ref", "$dynamicRef", "$recursiveRef")
        if name in dialect.VALIDATORS
    }
    return validators.extend(dialect, {**counted, "pattern": _pattern})


def _counted(keyword: _Keyword) -> _Keyword:
    def check_counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if next(_references_left.get(), None) is None:
            raise _TooManyReferences
        yield from keyword(validator, value, instance, schema) or ()

    return check_counted


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str):
        try:
            _matcher(pattern).validate_python(instance)
        except PatternMismatch:
            yield ValidationError(f"{_quoted(instance)} does not match {_quoted(pattern)}")


def _matcher(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _told(error: ValidationError | SchemaError) -> str:
    message = error.message
    if len(message) > _MAX_QUOTED_CHARS:
        message = message[:_MAX_QUOTED_CHARS] + "…"
    return f"{error.json_path}: {message}"


def _quoted(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "…"
