"""Every parameter of every operation can be written as text: in a query string, and after ``--task``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from sightline.cli.tasks import read_tasks
from sightline.errors import InvalidParameters
from sightline.operations import Operation, catalogue
from sightline.runtime.analyzer import Task, bind
from sightline.server.bodies import read_analyze
from sightline.settings import Settings

CATALOGUE = catalogue()
# Parameters whose values no schema can guess, and those that go with others.
VALUES: Mapping[tuple[str, str], list[dict[str, Any]]] = {
    ("ask", "json_schema"): [{"prompt": "what?", "json_schema": {"required": ["a,b"]}}],
    ("classify_zero_shot", "labels"): [
        {"labels": ["dog", "cat"]},
        {"labels": ["a dog, running", "cat"]},
        {"labels": {"dog": ["a dog", "a puppy"], "cat": "a cat"}},
    ],
    ("classify_zero_shot", "label_set"): [{"labels": None, "label_set": "map-or-aerial"}],
    ("classify_zero_shot", "templates"): [
        {"labels": ["dog", "cat"], "templates": ["a {}"]},
        {"labels": ["dog", "cat"], "templates": ["a {}", "the {}, here"]},
    ],
    ("classify_zero_shot", "thresholds"): [{"labels": ["dog", "cat"], "thresholds": {"dog": 0.5}}],
    ("identify_species", "country"): [{"country": "KEN"}],
    ("identify_species", "admin1_region"): [{"country": "USA", "admin1_region": "CA"}],
    ("identify_species", "latitude"): [{"latitude": -1.5, "longitude": 36}],
    ("identify_species", "longitude"): [{"latitude": 1, "longitude": 36.5}],
}
# Values to try by JSON type. Those that do not fit a parameter are passed over.
BY_TYPE: Mapping[str, list[Any]] = {
    "integer": [0, 1, 5, 64, 224, 518],
    "number": [0, 0.25, 1],
    "boolean": [True, False],
    "string": ["whole_image", "word", "two words, and a comma", "5", "true", "null and void"],
    "array": [[], [1], ["a"], [1, 2], ["a", "b"]],
    "object": [{"a": 1}],
    "null": [None],
}


def schemas_of(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if reference := schema.get("$ref"):
        schema = {**definitions[reference.rpartition("/")[2]], **schema}
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    for choice in choices:
        yield from schemas_of(choice, definitions)
    if not choices:
        yield schema


def values_of(operation: Operation[Any, Any], name: str) -> Iterator[dict[str, Any]]:
    """Parameters with different values for one of them, all of which the operation takes from JSON."""
    if known := VALUES.get((operation.name, name)):
        yield from known
        return
    schema = operation.Params.model_json_schema()
    for each in schemas_of(schema["properties"][name], schema.get("$defs", {})):
        values = each.get("enum") or ([each["const"]] if "const" in each else BY_TYPE[each["type"]])
        for value in [*values, *([operation.example[name]] if name in operation.example else [])]:
            params = {**operation.example, name: value}
            try:
                bind(CATALOGUE, Task("t", operation.name, params))
            except InvalidParameters:
                continue
            yield params


def same(operation: str, found: Any, expected: Any) -> bool:
    if operation == "classify":  # takes numbers and names as ids; 7 and "7" are the same collection
        found, expected = (
            {**dict(each), "collection_id": str(each.collection_id)} for each in (found, expected)
        )
    return bool(found == expected)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


PARAMETERS = [(op, name) for op in CATALOGUE.values() for name in op.Params.model_fields]
every = pytest.mark.parametrize(
    ("operation", "name"), PARAMETERS, ids=[f"{op.name}-{name}" for op, name in PARAMETERS]
)


async def from_query(operation: str, params: Mapping[str, Any], *, repeats: bool = False) -> Any:
    pairs = [
        (name, as_text(each))
        for name, value in params.items()
        for each in (value if repeats and isinstance(value, list) else [value])
        if value is not None  # a query says so by leaving it out
    ]
    scope = {"type": "http", "method": "POST", "headers": [], "query_string": urlencode(pairs).encode()}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    body = await read_analyze(Request(scope, receive), Settings(), operation)
    assert body.tasks is not None
    return bind(CATALOGUE, body.tasks[0]).params


def from_command_line(operation: str, params: Mapping[str, Any]) -> Any:
    def written(value: Any) -> str:
        quoted = isinstance(value, str) and ("," in value or value[:1] in '"[{')
        return json.dumps(value) if quoted else as_text(value)

    text = ",".join(f"{name}={written(value)}" for name, value in params.items())
    (task,) = read_tasks([f"{operation}:{text}"])
    return bind(CATALOGUE, task).params


@every
async def test_text_means_what_json_means(operation: Operation[Any, Any], name: str) -> None:
    tried = 0
    for params in values_of(operation, name):
        expected = bind(CATALOGUE, Task("t", operation.name, params)).params
        assert same(operation.name, await from_query(operation.name, params), expected), params
        assert same(operation.name, from_command_line(operation.name, params), expected), params
        tried += 1
    assert tried, "add values of this parameter to VALUES"


@every
async def test_a_list_may_be_one_text_for_each(operation: Operation[Any, Any], name: str) -> None:
    for params in values_of(operation, name):
        value = params[name]
        if isinstance(value, list) and value and not any("," in as_text(each) for each in value):
            expected = bind(CATALOGUE, Task("t", operation.name, params)).params
            assert await from_query(operation.name, params, repeats=True) == expected, params


@pytest.mark.parametrize(
    "texts",
    [
        "dog,cat,no animal",
        " dog , cat,no animal, ",
        ["dog", "cat", "no animal"],
        '["dog", "cat", "no animal"]',
    ],
)
@pytest.mark.parametrize("operation", ["classify_zero_shot", "detect_objects"])
async def test_labels_are_read_alike_by_every_operation(operation: str, texts: str | list[str]) -> None:
    found = await from_query(operation, {"labels": texts}, repeats=True)
    assert found.labels == ["dog", "cat", "no animal"]


def test_a_parameter_that_there_is_none_of_is_refused_with_those_there_are(client: Any) -> None:
    answer = client.post("/v1/operations/detect_faces?min_scor=0.5", files={"image": b"x"})
    assert answer.status_code == 422
    assert "min_scor" in answer.json()["detail"]
    assert "min_score" in answer.json()["detail"]
    assert "face_context" in answer.json()["detail"]
