"""JSON that is large in values, not in bytes: refused before it is parsed, on every route that reads some."""

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.errors import InvalidRequest
from sightline.server import json_bodies
from sightline.server.json_bodies import MAX_JSON_VALUES, parse_json

# Every route that reads a JSON body.
ROUTES = [
    "/v1/analyze",
    "/v1/operations/embed_clip",
    "/analyze_image/",
    "/v1/collections/birds/train",
    "/v1/collections/birds/promote",
]
MANY = {
    "lists": b"[" + b"[]," * 3_000_000 + b"[]]",
    "numbers": b"[" + b"1," * 5_000_000 + b"1]",
    "strings": b"[" + b'"",' * 3_000_000 + b'""]',
    "keys": b"{" + b",".join(b'"%x":0' % number for number in range(400_000)) + b"}",
    "brackets": b"[" * 10_000_000,
    "quotes": b'"' * 10_000_000,
    "inside an image": b'{"images":[{"base64":[' + b"{}," * 3_000_000 + b"{}]}]}",
}


def post(client: httpx2.Client, route: str, body: bytes) -> httpx2.Response:
    return client.post(route, content=body, headers={"content-type": "application/json"})


def number_of_values(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(number_of_values(child) for child in children)


@pytest.mark.parametrize("name", MANY)
def test_too_many_values_are_a_short_400(client: httpx2.Client, name: str) -> None:
    response = post(client, "/v1/analyze", MANY[name])
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_request"
    assert len(response.content) < 1000


@pytest.mark.parametrize("route", ROUTES)
def test_on_every_route_that_reads_json(client: httpx2.Client, route: str) -> None:
    response = post(client, route, MANY["lists"])
    assert response.status_code == 400
    assert str(MAX_JSON_VALUES) in response.json()["detail"]


@pytest.mark.parametrize("route", ROUTES)
def test_an_error_does_not_echo_thousands_of_names(client: httpx2.Client, route: str) -> None:
    names = {f"name-{number:05}": 0 for number in range(30_000)}
    response = post(client, route, json.dumps(names).encode())
    assert response.status_code == 400
    assert len(response.content) < 2500


@pytest.mark.parametrize("key", ["params", "id", "operation"])
def test_an_error_about_a_task_is_short_too(client: httpx2.Client, key: str) -> None:
    long: Any = (
        {f"name-{number:05}": "x" * 100 for number in range(10_000)} if key == "params" else "x" * 10**6
    )
    task = {"operation": "embed_clip", key: long}
    response = post(client, "/v1/analyze", json.dumps({"url": "http://x/", "tasks": [task]}).encode())
    assert 400 <= response.status_code < 500
    assert len(response.content) < 10_000


def test_values_inside_strings_are_no_values(client: httpx2.Client) -> None:
    text = ',[{"\\' * MAX_JSON_VALUES
    body = {"tasks": [{"operation": "embed_clip", "id": text}]}
    response = post(client, "/v1/analyze", json.dumps(body).encode())
    assert "values" not in response.json()["detail"]  # it was parsed: what it refuses is the id


TEXT = st.text(alphabet='a"\\,[]{}:é\n', max_size=8)
JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\,[]{}:é\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(alphabet='a"\\,[{', max_size=4), inner, max_size=5)
    ),
    max_leaves=30,
)


@pytest.fixture(params=[1, 2, 3, 7, 65536])
def in_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "_PIECE_BYTES", request.param)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_the_count_is_right_wherever_the_text_is_cut(
    in_pieces: None, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    count = number_of_values(value)
    text = json.dumps(value)
    # An empty list counts as two values.
    monkeypatch.setattr(json_bodies, "MAX_JSON_VALUES", 2 * count)
    assert parse_json(text) == value
    monkeypatch.setattr(json_bodies, "MAX_JSON_VALUES", count - 1)
    with pytest.raises(InvalidRequest):
        parse_json(text)


def test_a_full_training_of_base64_images_is_within_the_limit() -> None:
    entry = {"base64": "data:image/jpeg;base64,AAAA"}
    assert len(parse_json(json.dumps({"in": [entry] * 20_000, "out": [entry] * 10_000}))["in"]) == 20_000


def test_form_fields_are_bounded_as_well(client: httpx2.Client) -> None:
    deep = "[" * 30_000
    for field, route, file in (
        ("tasks", "/v1/analyze", "image"),
        ("tasks_json", "/analyze_image_upload/", "image_file"),
    ):
        response = client.post(route, files={file: b"x"}, data={field: deep})
        assert response.status_code == 400
        assert len(response.content) < 1000
