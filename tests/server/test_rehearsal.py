"""A server that rehearses: every operation on every route, without weights, marked as made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sightline import operations
from sightline.operations import Operation
from sightline.settings import Settings

OPERATIONS = tuple(operations.catalogue().values())


@pytest.fixture(scope="module")
def client(
    server_at: Callable[[Settings], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    root = tmp_path_factory.mktemp("empty")
    settings = Settings(models_dir=root, rehearse=True, lame_duck_s=0, rate_limit_requests=0)
    with server_at(settings) as url, httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client
    assert list(root.iterdir()) == [], "a rehearsal writes nothing into the models folder"


def _task(operation: Operation[Any, Any]) -> dict[str, Any]:
    return {"id": operation.name, "operation": operation.name, "params": dict(operation.example)}


def test_one_request_gets_a_marked_answer_from_every_operation(
    client: httpx2.Client, portrait: bytes
) -> None:
    tasks = json.dumps([_task(operation) for operation in OPERATIONS])
    answer = client.post("/v1/analyze", files={"image": ("p.jpg", portrait)}, data={"tasks": tasks})
    assert answer.status_code == 200
    (image,) = answer.json()["images"]
    for operation in OPERATIONS:
        result = image["results"][operation.name]
        assert result["status"] in ("ok", "skipped"), (operation.name, result)
        if result["status"] == "ok":
            assert any("random weights" in warning for warning in result["warnings"]), operation.name


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_each_operation_answers_at_its_own_address(
    client: httpx2.Client, portrait: bytes, operation: Operation[Any, Any]
) -> None:
    params = {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in operation.example.items()
    }
    files = {"image": ("p.jpg", portrait)} if operation.needs_picture else None
    answer = client.post(f"/v1/operations/{operation.name}", params=params, files=files)
    assert answer.status_code == 200, answer.text


def test_a_question_with_a_schema_is_answered_in_its_shape(client: httpx2.Client, portrait: bytes) -> None:
    schema = {"type": "object", "properties": {"animals": {"type": "integer"}}, "required": ["animals"]}
    answer = client.post(
        "/v1/operations/ask",
        params={"prompt": "How many?", "json_schema": json.dumps(schema)},
        files={"image": ("p.jpg", portrait)},
    )
    (image,) = answer.json()["images"]
    assert isinstance(image["results"]["ask"]["data"]["structured"]["animals"], int)


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("/uploadfile/", {}, "file"),
        ("/analyze/", {"prompt": "what is it"}, "file"),
        ("/gemini/analyze/", {"prompt": "what is it"}, "files"),
        ("/classify", {}, "file"),
        ("/api/geolocate", {}, "image"),
    ],
)
def test_the_replaced_services_answer_too(
    client: httpx2.Client, portrait: bytes, path: str, fields: dict[str, str], name: str
) -> None:
    headers = {}
    if path.startswith("/api/"):
        headers["X-CSRF-Token"] = client.get("/api/get-csrf-token").json()["csrf_token"]
    answer = client.post(path, data=fields, files={name: ("p.jpg", portrait, "image/jpeg")}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert "X-Sightline-Warning" in answer.headers


def test_the_image_embed_service_s_tasks_all_succeed(client: httpx2.Client, portrait: bytes) -> None:
    names = ("embed_clip_vit_b_32", "embed_dino_v2", "describe_image", "detect_bounding_box")
    tasks = json.dumps([{"operation_id": name, "type": name, "params": {}} for name in names])
    answer = client.post(
        "/analyze_image_upload/",
        data={"tasks_json": tasks},
        files={"image_file": ("p.jpg", portrait, "image/jpeg")},
    )
    assert answer.status_code == 200
    assert {result["status"] for result in answer.json()["results"].values()} == {"success"}


def test_nothing_is_left_behind(
    server_at: Callable[[Settings], AbstractContextManager[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    portrait: bytes,
) -> None:
    import tempfile

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with server_at(Settings(models_dir=tmp_path / "models", rehearse=True, lame_duck_s=0)) as url:
        httpx2.post(f"{url}/v1/operations/embed_clip", files={"image": ("p.jpg", portrait)}, trust_env=False)
    assert [path.name for path in scratch.iterdir()] == []
