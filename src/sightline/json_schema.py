"""JSON Schemas that strangers send: whether they are any, and whether an answer fits.

A schema is a program of sorts. Here it opens no socket (``$ref`` stays inside it), matches patterns in linear
time, and ends: what is too large is refused, what refers to itself too often is given up.
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
    from jsonschema.exceptions import ValidationError

# An answer of a few hundred objects follows fewer; references that double at each step pass it at once.
MAX_REFERENCES = 10_000
# Judging a schema itself takes half a millisecond for each object in it; those people write have some dozens.
# Lists of mixed values count as well: jsonschema compares each item with each.
MAX_OBJECTS = 500
# Its own rules refer to each other about ten times per object.
_MAX_OWN_REFERENCES = 100 * MAX_OBJECTS
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
        InvalidParameters: it is no JSON Schema, is too large, points outside itself, or has a pattern that
            needs more than linear time; the message says where.
    """
    try:
        if _num_objects(schema) > MAX_OBJECTS:
            raise InvalidParameters(
                f"the JSON Schema has more than {MAX_OBJECTS} objects, or list items that are no text, in it"
            )
        dialect = _dialect(schema)
        if error := next(_judged(dialect, dialect.META_SCHEMA, schema, _MAX_OWN_REFERENCES), None):
            raise InvalidParameters(f"this is no JSON Schema: {_told(error)}")
        for keyword, value in _keywords(_undeclared(schema)):
            _check_keyword(keyword, value)
    except RecursionError:
        raise InvalidParameters("the JSON Schema is nested too deeply") from None


def misfit(schema: Schema, value: Any) -> str | None:
    """Why ``value`` does not fit a schema that passed :func:`check`; None if it does."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(_judged(_dialect(schema), _undeclared(schema), value, MAX_REFERENCES))
    except Unresolvable:
        return "the schema has a $ref to something that it does not define"
    except (_TooManyReferences, RecursionError):
        return "the schema refers to itself too often to be judged by"
    return _told(error) if error is not None else None


def _dialect(schema: Schema) -> Any:
    from jsonschema import Draft202012Validator, validators

    return validators.validator_for(schema, default=Draft202012Validator)


def _undeclared(schema: Schema) -> Schema:
    """Without its dialect's name: jsonschema would change to its own validator where a reference meets it."""
    return {keyword: value for keyword, value in schema.items() if keyword != "$schema"}


def _judged(dialect: Any, schema: Schema, value: Any, max_references: int) -> Iterator[ValidationError]:
    """Return the faults of ``value``, in order. References to other documents are not followed."""
    from referencing import Registry

    _references_left.set(iter(range(max_references)))
    errors: Iterator[ValidationError] = _guarded(dialect)(schema, registry=Registry()).iter_errors(value)
    return errors


class _TooManyReferences(Exception):
    pass


def _check_keyword(keyword: str, value: Any) -> None:
    if keyword in ("$ref", "$dynamicRef", "$recursiveRef") and not str(value).startswith("#"):
        raise InvalidParameters(
            f"the JSON Schema has a {keyword} to {_quoted(value)}; it may only point inside itself (#/…)"
        )
    if keyword == "$schema":
        raise InvalidParameters(
            "$schema in a part of a JSON Schema is not supported; all of it is one dialect"
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


def _num_objects(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_num_objects, value.values()))
    if isinstance(value, list):
        return sum(
            _num_objects(each) if isinstance(each, dict | str) else 1 + _num_objects(each) for each in value
        )
    return 0


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
    """``dialect`` without what can run away: references are counted, patterns matched by another engine, and
    equal items found by sorting instead of comparing each with each."""
    from jsonschema import validators

    counted = {
        name: _counted(dialect.VALIDATORS[name])
        for name in ("$ref", "$dynamicRef", "$recursiveRef")
        if name in dialect.VALIDATORS
    }
    return validators.extend(dialect, {**counted, "pattern": _pattern, "uniqueItems": _unique_items})


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


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(instance, list):
        written = {json.dumps(_plain(each), sort_keys=True) for each in instance}
        if len(written) < len(instance):
            yield ValidationError(f"items are equal in {_quoted(instance)}")


def _plain(value: Any) -> Any:
    """1.0 and 1 are one number in JSON."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _matcher(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _told(error: ValidationError) -> str:
    message = error.message
    if len(message) > _MAX_QUOTED_CHARS:
        message = message[:_MAX_QUOTED_CHARS] + "…"
    return f"{error.json_path}: {message}"


def _quoted(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "…"


def example(schema: Schema) -> Any:
    """Return a made-up value that fits a schema that passed :func:`check`.

    Raises:
        InvalidParameters: none was found, as for most patterns and for schemas that contradict themselves.
    """
    try:
        value = _made_up(_undeclared(schema), schema, 0)
    except (RecursionError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InvalidParameters("no made-up value fits the JSON Schema") from error
    if reason := misfit(schema, value):
        raise InvalidParameters(f"no made-up value fits the JSON Schema: {reason}")
    return value


_DEEPEST_EXAMPLE = 32


def _made_up(schema: Any, root: Schema, depth: int) -> Any:
    if depth > _DEEPEST_EXAMPLE:
        raise RecursionError
    if not isinstance(schema, dict):
        return None
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("enum", "examples"):
        if schema.get(keyword):
            return schema[keyword][0]
    simpler = _simpler(schema, root)
    return _made_up_by_type(schema, root, depth) if simpler is None else _made_up(simpler, root, depth + 1)


def _simpler(schema: dict[str, Any], root: Schema) -> Any:
    """The schema with its reference followed or its alternatives chosen; None where there is neither."""
    if "$ref" in schema:
        return _target(schema["$ref"], root)
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return {**_without(schema, keyword), **schema[keyword][0]}
    if not schema.get("allOf"):
        return None
    merged: dict[str, Any] = _without(schema, "allOf")
    for part in schema["allOf"]:
        merged |= {**part, "properties": {**merged.get("properties", {}), **part.get("properties", {})}}
    return merged


def _made_up_by_type(schema: dict[str, Any], root: Schema, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            properties = schema.get("properties", {})
            names = [*properties, *(name for name in schema.get("required", ()) if name not in properties)]
            return {name: _made_up(properties.get(name, {}), root, depth + 1) for name in names}
        case "array":
            items = [_made_up(each, root, depth + 1) for each in schema.get("prefixItems", ())]
            wanted = max(schema.get("minItems", 0), 0 if schema.get("maxItems") == 0 else 1)
            rest = range(max(0, min(wanted, _DEEPEST_EXAMPLE) - len(items)))
            return items + [_made_up(schema.get("items", {}), root, depth + 1) for _ in rest]
        case "integer" | "number" as number:
            return _number_within(schema, whole=number == "integer")
        case "boolean":
            return False
        case "null":
            return None
    return "made up".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def _number_within(schema: dict[str, Any], *, whole: bool) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    value: float
    if low is not None and high is not None:
        value = (low + high) / 2
    elif low is not None:
        value = low + 1
    else:
        value = 0 if high is None else high - 1
    if step := schema.get("multipleOf"):
        value = round(value / step) * step
    return round(value) if whole else value


def _target(reference: str, root: Schema) -> Any:
    """Return the target of a reference such as ``#/$defs/Animal``."""
    target: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            target = target[part.replace("~1", "/").replace("~0", "~")]
    return target


def _without(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != keyword}
