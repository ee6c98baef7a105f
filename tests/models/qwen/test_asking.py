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


def refused(client: httpx2.Client, image: bytes, **params: Any) -> str:
    """The code of the error that a question about one image ends with."""
    body = {"prompt": "What is this?", **params}
    task = [{"id": "q", "operation": "ask", "params": body}]
    answer = client.post("/v1/analyze", files={"image": image}, data={"tasks": json.dumps(task)}).json()
    return str(answer.get("code") or answer["images"][0]["results"]["q"]["error"]["code"])


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
    schema = {"type": "integer", "minimum": 5, "maximum": 1}
    assert refused(vlm, cup, json_schema=schema) == "answer_invalid"


def test_a_prompt_beyond_the_limit_is_an_error(vlm: httpx2.Client, cup: bytes) -> None:
    assert refused(vlm, cup, prompt="What is this thing? " * 500) == "invalid_parameters"


def test_a_named_model_is_asked(vlm: httpx2.Client, cup: bytes) -> None:
    assert refused(vlm, cup, model="openai-compatible") == "model_unavailable"
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


# -- several photos ----------------------------------------------------------------------------------------


def test_one_question_about_two_photos(vlm: httpx2.Client, cup: bytes, portrait: bytes) -> None:
    params = {"prompt": "What differs?", "together": True}
    task = [{"id": "q", "operation": "ask", "params": params}]
    tokens = []
    for images in ((cup,), (cup, portrait)):
        files = [("image", image) for image in images]
        response = vlm.post("/v1/analyze", files=files, data={"tasks": json.dumps(task)})
        (entry,) = response.json()["images"]
        tokens.append(entry["results"]["q"]["data"]["input_tokens"])
    assert tokens[1] > tokens[0] + 100
    assert len(entry["sources"]) == 2


def test_twenty_photos_are_too_many(vlm: httpx2.Client, cup: bytes) -> None:
    task = [{"operation": "ask", "params": {"prompt": "What differs?", "together": True}}]
    files = [("image", cup)] * 20
    response = vlm.post("/v1/analyze", files=files, data={"tasks": json.dumps(task)})
    results = response.json().get("images", [{"results": {}}])[0]["results"]
    assert "invalid" in (response.json().get("code") or results["ask"]["error"]["code"])


def test_sixteen_photos_are_not(vlm: httpx2.Client, cup: bytes) -> None:
    task = [{"operation": "ask", "params": {"prompt": "What differs?", "together": True}}]
    response = vlm.post("/v1/analyze", files=[("image", cup)] * 16, data={"tasks": json.dumps(task)})
    assert response.json()["images"][0]["results"]["ask"]["status"] == "ok"


def test_tasks_about_each_image_do_not_mix_with_one_about_all(vlm: httpx2.Client, cup: bytes) -> None:
    task = [{"operation": "ask", "params": {"prompt": "?", "together": True}}, "detect_faces"]
    response = vlm.post("/v1/analyze", files=[("image", cup)] * 2, data={"tasks": json.dumps(task)})
    assert response.json()["code"] == "invalid_request"


# -- streaming ---------------------------------------------------------------------------------------------


def events(response: httpx2.Response) -> list[tuple[str, Any]]:
    found = []
    for block in response.text.strip().split("\n\n"):
        if not block.startswith(":"):
            name, data = block.split("\n", 1)
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def streamed(client: httpx2.Client, image: bytes, **params: Any) -> list[tuple[str, Any]]:
    response = client.post(
        "/v1/operations/ask",
        params={"prompt": "What is this?", **params},
        files={"image": image},
        headers={"Accept": "text/event-stream"},
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    return events(response)


def test_an_answer_is_streamed(vlm: httpx2.Client, cup: bytes) -> None:
    *pieces, (last, body) = streamed(vlm, cup)
    assert {name for name, _ in pieces} == {"piece"}
    assert last == "result"
    text = body["images"][0]["results"]["ask"]["data"]["text"]
    assert "".join(data["text"] for _, data in pieces).strip() == text


def test_an_error_of_the_only_task_is_the_result(vlm: httpx2.Client, cup: bytes) -> None:
    *_, (last, body) = streamed(vlm, cup, prompt="What is this thing? " * 500)
    assert last == "result"
    assert body["images"][0]["results"]["ask"]["error"]["code"] == "invalid_parameters"


def test_an_error_of_the_model_is_an_event(vlm: httpx2.Client, cup: bytes) -> None:
    *_, (last, body) = streamed(
        vlm, cup, json_schema=json.dumps({"type": "integer", "minimum": 5, "maximum": 1})
    )
    assert (last, body["code"]) == ("problem", "answer_invalid")


def test_a_wrong_request_is_refused_before_the_stream(vlm: httpx2.Client) -> None:
    response = vlm.post("/v1/operations/ask", params={"prompt": "?"}, headers={"Accept": "text/event-stream"})
    assert response.json()["code"] == "invalid_request"


def test_a_client_that_leaves_frees_the_model(vlm: httpx2.Client, cup: bytes) -> None:
    numbers = {"type": "array", "minItems": 400, "items": {"type": "integer", "minimum": 0, "maximum": 9}}
    with vlm.stream(
        "POST",
        "/v1/operations/ask",
        params={"prompt": "?", "json_schema": json.dumps(numbers)},
        files={"image": cup},
        headers={"Accept": "text/event-stream"},
    ) as response:
        next(response.iter_bytes())
    assert ask(vlm, cup)["status"] == "ok"
