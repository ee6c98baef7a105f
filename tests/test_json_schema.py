"""Schemas of strangers: which are taken, how answers are judged, and what a hostile one can do (nothing)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sightline.errors import InvalidParameters
from sightline.json_schema import MAX_OBJECTS, MAX_REFERENCES, check, example, misfit

RECIPE = {"type": "object", "properties": {"recipe_name": {"type": "string"}}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        RECIPE,
        {"type": "array", "items": {"enum": ["deer", None, 3]}},
        {"$defs": {"a": {"type": "integer"}}, "properties": {"x": {"$ref": "#/$defs/a"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}, "type": "string"},
        {"$schema": "https://example.org/a-dialect-of-our-own", "type": "string"},
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"properties": {"pattern": {"type": "string"}, "patternProperties": {"type": "object"}}},
        {"enum": [{"$ref": "http://example.org/not-followed"}, {"pattern": "("}]},
        {"const": {"patternProperties": 1}},
        {"default": {"$ref": 3}},
    ],
)
def test_a_schema_is_taken(schema: dict[str, Any]) -> None:
    check(schema)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, r"no JSON Schema: \$\.type: 'objekt' is not valid"),
        ({"type": 3}, "no JSON Schema"),
        ({"properties": []}, r"no JSON Schema: \$\.properties"),
        ({"minLength": -1}, "no JSON Schema"),
        ({"required": "name"}, "no JSON Schema"),
        ({"properties": {"a": {"type": "strng"}}}, r"\$\.properties\.a\.type"),
        ({"$ref": "http://127.0.0.1:1/schema.json"}, "may only point inside itself"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "may only point inside itself"),
        ({"anyOf": [{"$dynamicRef": "other.json#x"}]}, "may only point inside itself"),
        ({"patternProperties": {"^a": {}}}, "patternProperties"),
        ({"$defs": {"a": {"patternProperties": {"^a": {}}}}}, "patternProperties"),
        ({"pattern": "("}, "pattern"),
        ({"pattern": "(?=a)b"}, "no look-around"),
        ({"properties": {"a": {"pattern": r"(a)\1"}}}, "no look-around, no back-references"),
    ],
)
def test_what_is_none_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameters, match=message):
        check(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{}] * MAX_OBJECTS},
        {"properties": {f"p{number}": {"type": "string"} for number in range(MAX_OBJECTS)}},
        {"enum": [{}] * 20_000},
    ],
)
def test_a_schema_has_an_end(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters, match="more than 500 objects"):
        check(schema)


def test_a_long_list_of_names_is_no_large_schema() -> None:
    names = [f"species {number}" for number in range(3000)]
    check({"enum": names})
    assert misfit({"enum": names}, "species 2999") is None


def test_equal_items_are_found_without_comparing_each_with_each() -> None:
    """8000 values of two kinds cannot be sorted; 32 million comparisons would take a minute."""
    values = [number if number % 2 else str(number) for number in range(8000)]
    assert misfit({"uniqueItems": True}, values) is None
    assert misfit({"uniqueItems": True}, [*values, 1]) is not None


def test_refusals_are_short() -> None:
    with pytest.raises(InvalidParameters) as refusal:
        check({"type": "x" * 10_000})
    assert len(str(refusal.value)) < 500


def test_a_schema_too_deep_to_look_at_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(InvalidParameters, match="nested too deeply"):
        check(schema)


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        (RECIPE, {"recipe_name": "soup"}, None),
        (RECIPE, {}, None),
        (RECIPE, {"recipe_name": 3}, "$.recipe_name: 3 is not of type 'string'"),
        (RECIPE, [], "$: [] is not of type 'object'"),
        ({"type": "array", "items": {"type": "integer"}}, [1, "a"], "$[1]: 'a' is not of type 'integer'"),
        ({"pattern": "^[a-z]+$"}, "abc", None),
        ({"pattern": "^[a-z]+$"}, "abC", '$: "abC" does not match "^[a-z]+$"'),
        ({"pattern": "b"}, "abc", None),
        ({"pattern": "b"}, 3, None),
        ({"propertyNames": {"pattern": "^x-"}}, {"y": 1}, '$: "y" does not match "^x-"'),
        ({"uniqueItems": True}, [1, True, "1", None, [1], {"a": 1}], None),
        ({"uniqueItems": True}, [1, 1.0], "$: items are equal in [1, 1.0]"),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], "equal"),
        ({"uniqueItems": False}, [1, 1], None),
        ({"uniqueItems": True}, "aa", None),
        ({"$ref": "#/$defs/gone"}, 1, "the schema has a $ref to something that it does not define"),
    ],
)
def test_an_answer_is_judged(schema: dict[str, Any], value: Any, problem: str | None) -> None:
    found = misfit(schema, value)
    assert found == problem or (problem == "equal" and found is not None and "are equal" in found)


def test_recursive_schemas_are_followed() -> None:
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    check(tree)
    assert misfit(tree, {"next": {"next": {}}}) is None
    assert misfit(tree, {"next": {"next": 3}}) == "$.next.next: 3 is not of type 'object'"


def test_a_schema_that_refers_to_itself_for_ever_is_given_up() -> None:
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    check(loop)
    assert misfit(loop, {}) == "the schema refers to itself too often to be judged by"


def test_references_that_double_are_given_up() -> None:
    """2^60 steps if somebody followed them."""
    definitions: dict[str, Any] = {"a60": {"type": "integer"}}
    for number in range(60):
        to = {"$ref": f"#/$defs/a{number + 1}"}
        definitions[f"a{number}"] = {"allOf": [to, to]}
    bomb = {"$ref": "#/$defs/a0", "$defs": definitions}
    check(bomb)
    assert misfit(bomb, 1) == "the schema refers to itself too often to be judged by"


def test_every_judgement_has_all_references_to_itself() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "integer"}}}
    numbers = list(range(MAX_REFERENCES * 2 // 3))
    assert misfit(schema, numbers) is None
    assert misfit(schema, numbers) is None


DIALECTS = [
    "http://json-schema.org/draft-03/schema#",
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]
in_every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@in_every_dialect
def test_a_pattern_cannot_run_away(dialect: str) -> None:
    """Backtracking engines need 2^60 steps for this one."""
    evil = {"$schema": dialect, "items": {"$ref": "#"}, "pattern": "^(a+)+$"}
    check(evil)
    assert misfit(evil, "a" * 60 + "!") is not None
    assert misfit(evil, ["a" * 60 + "!"]) is not None


@in_every_dialect
@pytest.mark.parametrize("keyword", ["required", "enum", "type"])
def test_lists_that_cost_the_square_of_their_length_are_refused(dialect: str, keyword: str) -> None:
    values = [number if number % 2 else str(number) for number in range(8000)]
    with pytest.raises(InvalidParameters, match="list items that are no text"):
        check({"$schema": dialect, keyword: values})


@in_every_dialect
def test_a_part_cannot_bring_rules_of_its_own(dialect: str) -> None:
    with pytest.raises(InvalidParameters, match=r"\$schema in a part"):
        check({"$ref": "#/$defs/a", "$defs": {"a": {"$schema": dialect, "pattern": "^(a+)+$"}}})


@given(
    JSON,
    st.sampled_from(
        [RECIPE, {}, {"type": ["array", "null"]}, {"minProperties": 1, "maxItems": 2}, {"uniqueItems": True}]
    ),
)
def test_judgements_are_those_of_the_standard(value: Any, schema: dict[str, Any]) -> None:
    assert (misfit(schema, value) is None) == Draft202012Validator(schema).is_valid(value)


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=5))
def test_any_object_is_taken_or_refused(schema: dict[str, Any]) -> None:
    try:
        check(schema)
    except InvalidParameters:
        return
    misfit(schema, {"a": 1})


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a", "z"]},
        {
            "type": "array",
            "items": {"$ref": "#/$defs/animal"},
            "minItems": 2,
            "$defs": {"animal": {"enum": ["fox"]}},
        },
        {"type": "array", "maxItems": 0},
        {"anyOf": [{"type": "string", "minLength": 20, "maxLength": 30}, {"type": "null"}]},
        {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"type": "boolean"}}}]},
        {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
        {"type": "number", "multipleOf": 0.5, "minimum": 3},
    ],
)
def test_a_made_up_value_fits_its_schema(schema: dict[str, Any]) -> None:
    check(schema)
    assert misfit(schema, example(schema)) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[0-9]{4}$"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"$ref": "#"},
        {"$ref": "#/$defs/nowhere"},
        {"type": "object", "properties": {"again": {"$ref": "#"}}},
        {"type": "array", "items": {"const": 1}, "minItems": 3, "uniqueItems": True},
    ],
)
def test_where_no_value_is_found_that_is_said(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters):
        example(schema)
