"""Questions to the model on this machine, through HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import psutil
import pytest

NAME = "qwen3.5-2b"
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["bird", "cup"]},
        "count": {"type": "integer", "maximum": 9, "minimum": 0},
    },
    "required": ["kind", "count"],
}


def ask(client: httpx2.Client, *images: bytes, **params: Any) -> dict[str, Any]:
    task = [{"id": "q", "operation": "ask", "params": {"prompt": "What is this?", **params}}]
    files = [("image", image) for image in images]
    response = client.post("/v1/analyze", files=files, data={"tasks": json.dumps(task)})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["images"][0]["results"]["q"]
    return found


def test_a_server_without_a_key_answers(vlm: httpx2.Client, cup: bytes) -> None:
    answer = ask(vlm, cup)
    assert answer["status"] == "ok"
    assert answer["model"]["name"] == answer["data"]["model"] == NAME
    assert answer["model"]["provenance"] == "random"
    assert answer["data"]["text"]
    assert answer["data"]["input_tokens"] > 0
    assert answer["data"]["output_tokens"] > 0
    assert answer["data"]["tokens_per_s"] > 0


def test_json_fits_the_schema(vlm: httpx2.Client, cup: bytes) -> None:
    answer = ask(vlm, cup, json_schema=SCHEMA)
    assert answer["data"]["structured"]["kind"] in ("bird", "cup")
    assert 0 <= answer["data"]["structured"]["count"] <= 9


def test_a_schema_that_nothing_fits_is_an_error(vlm: httpx2.Client, cup: bytes) -> None:
    answer = ask(vlm, cup, json_schema={"type": "integer", "minimum": 5, "maximum": 1})
    assert answer["error"]["code"] == "answer_invalid"


def test_a_prompt_beyond_the_limit_is_an_error(vlm: httpx2.Client, cup: bytes) -> None:
    answer = ask(vlm, cup, prompt="What is this thing? " * 500)
    assert answer["error"]["code"] == "invalid_parameters"


def test_a_named_model_is_asked(vlm: httpx2.Client, cup: bytes) -> None:
    answer = ask(vlm, cup, model="openai-compatible")
    assert answer["error"]["code"] == "model_unavailable"
    assert ask(vlm, cup, model=NAME)["model"]["name"] == NAME


def test_a_configured_server_comes_first(serve: Any, vlm_store: Any, chat_service: Any, cup: bytes) -> None:
    client = serve(models_dir=vlm_store, vlm_base_url=f"{chat_service.url}/v1", vlm_model="llava")
    chat_service.says("A cup.")
    assert ask(client, cup)["model"]["name"] == "openai-compatible"


def test_it_describes_an_image_when_asked(vlm: httpx2.Client, cup: bytes) -> None:
    response = vlm.post("/v1/operations/describe_image", params={"model": NAME}, files={"image": cup})
    (answer,) = response.json()["images"][0]["results"].values()
    assert answer["status"] == "ok", answer
    assert answer["data"]["text"]
    assert answer["model"]["name"] == NAME


def test_gemini_analyze_groups_its_answers(vlm: httpx2.Client, cup: bytes, portrait: bytes) -> None:
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "category_label": {"enum": ["x"]}}}
    schema["required"] = ["kind", "count", "category_label"]
    response = vlm.post(
        "/gemini/analyze/",
        files=[("files", ("a.jpg", cup, "image/jpeg")), ("files", ("b.jpg", portrait, "image/jpeg"))],
        data={"prompt": "What is it?", "schema_json": json.dumps(schema)},
    )
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["gemini_model"] == NAME
    assert body["error_count"] == 0
    assert [(group["group"], group["count"]) for group in body["groups"]] == [("x", 2)]


def test_its_process_ends_with_the_server(vlm_settings: Any, server_at: Any, cup: bytes) -> None:
    mine = psutil.Process()
    before = {child.pid for child in mine.children(recursive=True)}
    with server_at(vlm_settings) as url, httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        assert ask(client, cup)["status"] == "ok"
    left = {child.pid for child in mine.children(recursive=True)} - before
    assert not [pid for pid in left if "program.py" in " ".join(psutil.Process(pid).cmdline())]


@pytest.mark.parametrize("size", [(1, 1), (3000, 4)])
def test_images_of_any_shape(vlm: httpx2.Client, size: tuple[int, int]) -> None:
    import io

    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", size, "red").save(data, "PNG")
    assert ask(vlm, data.getvalue())["status"] == "ok"
