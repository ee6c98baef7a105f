"""Bounds of forms and JSON bodies: what is at a bound is read, one more is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from sightline.server.forms import MAX_FORM_FIELDS
from sightline.server.json_bodies import MAX_JSON_DEPTH

URL = "/v1/analyze"


def _form(photo: bytes, **fields: Any) -> dict[str, Any]:
    return {"files": [("image", photo)], "data": {"operation": "embed_clip", **fields}}


def _deep(levels: int) -> dict[str, Any]:
    text = '{"tasks":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    return {"content": text, "headers": {"Content-Type": "application/json"}}


ATTEMPTS: dict[str, tuple[Callable[[bytes], dict[str, Any]], int]] = {
    "images": (lambda photo: {"files": [("image", photo)] * 17}, 400),
    "fields": (lambda photo: _form(photo, **{f"f{n}": "x" for n in range(MAX_FORM_FIELDS)}), 400),
    "bytes of a field": (lambda photo: _form(photo, tasks=" " * 65_537), 400),
    "JSON levels": (lambda photo: _deep(MAX_JSON_DEPTH + 1), 400),
    "JSON numbers": (
        lambda photo: {"content": '{"x": NaN}', "headers": {"Content-Type": "application/json"}},
        400,
    ),
    "tasks": (
        lambda photo: {
            "files": [("image", photo)],
            "data": {"tasks": json.dumps([{"id": str(n), "operation": "embed_clip"} for n in range(65)])},
        },
        400,
    ),
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_one_more_than_a_bound_is_400(client: httpx2.Client, portrait: bytes, name: str) -> None:
    arguments, status = ATTEMPTS[name]
    response = client.post(URL, **arguments(portrait))
    assert (response.status_code, response.json()["code"]) == (status, "invalid_request"), response.text
    assert len(response.content) < 4000


def test_sixteen_images_are_read(client: httpx2.Client, portrait: bytes) -> None:
    response = client.post(f"{URL}?operation=embed_clip", files=[("image", portrait)] * 16)
    assert [each["results"]["embed_clip"]["status"] for each in response.json()["images"]] == ["ok"] * 16


def test_base64_is_measured_before_it_is_decoded(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(image_max_bytes=3000)
    for size, status in ((3000, 415), (3001, 413)):
        text = base64.b64encode(b"x" * size).decode()
        response = client.post(URL, json={"base64": text, "tasks": [{"operation": "embed_clip"}]})
        assert response.status_code == status, size
