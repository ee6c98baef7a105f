"""``ask`` over HTTP: server, operation, model and SDK are real; only the service at the end is a stand-in."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr, ValidationError

from sightline.operations.ask import MAX_PROMPT_CHARS, MAX_SCHEMA_BYTES, PREPARATION_S, Ask, Asked, AskParams
from sightline.settings import Settings

KEY = "sk-secret-0123456789abcdef"
SCHEMA = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}


def ask(client: httpx2.Client, image: bytes, **params: Any) -> httpx2.Response:
    task = [{"id": "q", "operation": "ask", "params": {"prompt": "What is this?", **params}}]
    return client.post("/v1/analyze", files={"image": image}, data={"tasks": json.dumps(task)})


def result(response: httpx2.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["images"][0]["results"]["q"]
    return found


def test_a_question_is_answered(asking: httpx2.Client, gemini_service: Any, cup: bytes) -> None:
    gemini_service.says("A cup of coffee.")
    answer = result(ask(asking, cup))
    assert answer["status"] == "ok"
    assert answer["data"] == {
        "text": "A cup of coffee.",
        "structured": None,
        "model": "gemini-of-the-test",
        "input_tokens": 11,
        "output_tokens": 5,
        "tokens_per_s": None,
    }
    assert answer["model"]["name"] == "gemini"
    assert answer["model"]["provenance"] == "remote"
    assert answer["region"] == {"target": "whole_image", "box": None}


@pytest.mark.parametrize("written", [SCHEMA, json.dumps(SCHEMA)])
def test_a_schema_may_be_an_object_or_its_text(
    asking: httpx2.Client, gemini_service: Any, cup: bytes, written: Any
) -> None:
    gemini_service.says('{"count": 1}')
    assert result(ask(asking, cup, json_schema=written))["data"]["structured"] == {"count": 1}
    assert gemini_service.received[0].body["generationConfig"]["responseJsonSchema"] == SCHEMA


def test_it_has_a_route_of_its_own(asking: httpx2.Client, gemini_service: Any, cup: bytes) -> None:
    gemini_service.says('{"count": 1}')
    response = asking.post(
        "/v1/operations/ask",
        params={"prompt": "How many?", "json_schema": json.dumps(SCHEMA)},
        content=cup,
        headers={"Content-Type": "image/jpeg"},
    )
    assert response.json()["images"][0]["results"]["ask"]["data"]["structured"] == {"count": 1}


def test_only_the_face_is_sent(asking: httpx2.Client, gemini_service: Any, portrait: bytes) -> None:
    gemini_service.says("She smiles.")
    answer = result(ask(asking, portrait, target="prominent_face", face_context="whole_image"))
    x_min, y_min, x_max, y_max = answer["region"]["box"]
    (image,) = gemini_service.received[0].images
    assert image.size == (x_max - x_min, y_max - y_min)
    assert image.width < 200


def test_a_picture_without_a_face_is_skipped(asking: httpx2.Client, gemini_service: Any, cup: bytes) -> None:
    answer = result(ask(asking, cup, target="prominent_face", face_context="whole_image"))
    assert answer["status"] == "skipped"
    assert gemini_service.received == []


def test_the_configured_model_is_asked_by_default(
    serve: Callable[..., httpx2.Client], chat_service: Any, cup: bytes
) -> None:
    client = serve(vlm_base_url=f"{chat_service.url}/v1", vlm_model="llava")
    chat_service.says("A cup.", "Again.")
    answer = result(ask(client, cup))
    assert answer["model"]["name"] == "openai-compatible"
    assert answer["data"]["model"] == "llava-of-the-test"
    assert ask(client, cup, model="gemini").status_code == 503, "the one that was named, or none"
    assert result(ask(client, cup, model="openai-compatible"))["data"]["text"] == "Again."


def test_the_caller_chooses_between_two(
    serve: Callable[..., httpx2.Client], chat_service: Any, gemini_service: Any, cup: bytes
) -> None:
    client = serve(
        vlm_base_url=f"{chat_service.url}/v1",
        vlm_model="llava",
        gemini_api_key=SecretStr(KEY),
        gemini_base_url=gemini_service.url,
    )
    chat_service.says("from the server")
    gemini_service.says("from Google")
    assert result(ask(client, cup, model="openai-compatible"))["data"]["text"] == "from the server"
    assert result(ask(client, cup, model="gemini"))["data"]["text"] == "from Google"


def test_nothing_configured_says_how_to_get_the_model_here(client: httpx2.Client, cup: bytes) -> None:
    response = ask(client, cup)
    assert response.status_code == 503
    assert response.json()["code"] == "model_unavailable"
    assert "sightline models pull" in response.json()["detail"]


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [(401, 502, "provider_key_refused"), (403, 502, "provider_key_refused"), (429, 429, "quota_exceeded"),
     (400, 502, "provider_failed"), (500, 502, "provider_failed"), (504, 504, "provider_timeout")],
)  # fmt: skip
def test_failures_there_have_statuses_here(
    asking: httpx2.Client, gemini_service: Any, cup: bytes, status: int, expected: int, code: str
) -> None:
    gemini_service.answers({"error": {"code": status, "message": KEY}}, status, Retry_After="9")
    response = ask(asking, cup)
    assert response.status_code == expected
    assert response.json()["code"] == code
    assert KEY not in response.text
    assert response.headers.get("retry-after") == ("9" if status == 429 else None)
    assert asking.get(response.json()["type"]).json()["status"] == expected


def test_a_refusal_is_422(asking: httpx2.Client, gemini_service: Any, cup: bytes) -> None:
    gemini_service.answers({"promptFeedback": {"blockReason": "SAFETY"}})
    response = ask(asking, cup)
    assert (response.status_code, response.json()["code"]) == (422, "answer_refused")


def test_no_json_twice_is_502(asking: httpx2.Client, gemini_service: Any, cup: bytes) -> None:
    gemini_service.says("one", "two")
    response = ask(asking, cup, json_schema=SCHEMA)
    assert (response.status_code, response.json()["code"]) == (502, "answer_invalid")


def test_silence_is_504(serve: Callable[..., httpx2.Client], gemini_service: Any, cup: bytes) -> None:
    client = serve(gemini_api_key=SecretStr(KEY), gemini_base_url=gemini_service.url, ask_timeout_s=0.2)
    gemini_service.hangs()
    response = ask(client, cup)
    assert (response.status_code, response.json()["code"]) == (504, "provider_timeout")


def test_a_failing_question_fails_alone(asking: httpx2.Client, gemini_service: Any, cup: bytes) -> None:
    gemini_service.answers({}, 500)
    tasks = [{"operation": "ask", "params": {"prompt": "?"}}, {"operation": "embed_clip_vit_b_32"}]
    response = asking.post("/v1/analyze", files={"image": cup}, data={"tasks": json.dumps(tasks)})
    results = response.json()["images"][0]["results"]
    assert results["ask"]["error"]["code"] == "provider_failed"
    assert results["embed_clip_vit_b_32"]["status"] == "ok"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prompt": ""}, "prompt: is empty"),
        ({"prompt": " \n"}, "prompt: is empty"),
        ({"prompt": "x" * (MAX_PROMPT_CHARS + 1)}, "prompt: String should have at most"),
        ({"prompt": 3}, "prompt"),
        ({"json_schema": True}, "json_schema: is no JSON Schema: that is an object"),
        ({"json_schema": [SCHEMA]}, "json_schema"),
        ({"json_schema": "no JSON"}, "json_schema: is not JSON"),
        ({"json_schema": "true"}, "json_schema: is no JSON Schema: that is an object"),
        ({"json_schema": {"type": "objekt"}}, "json_schema: this is no JSON Schema"),
        ({"json_schema": {"$ref": "http://example.org"}}, "may only point inside itself"),
        ({"model": "gpt"}, "no model 'gpt' gives answer; these do: gemini, openai-compatible"),
    ],
)
def test_what_is_wrong_is_named(
    asking: httpx2.Client, gemini_service: Any, cup: bytes, params: dict[str, Any], message: str
) -> None:
    response = ask(asking, cup, **params)
    if response.status_code == 200:
        assert message in result(response)["error"]["message"]
    else:
        assert response.status_code == 422
        assert message in response.json()["detail"]
    assert gemini_service.received == []


def test_the_key_is_in_no_log(
    asking: httpx2.Client, gemini_service: Any, cup: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gemini_service.answers({"error": {"code": 500, "message": KEY}}, 500)
    gemini_service.says("a cup")
    ask(asking, cup)
    ask(asking, cup)
    assert len(gemini_service.received) == 2
    assert KEY not in caplog.text
    logged = "".join(json.dumps(vars(record), default=repr) for record in caplog.records)
    assert KEY not in logged


def test_models_say_what_is_missing(asking: httpx2.Client) -> None:
    models = {model["name"]: model for model in asking.get("/v1/models").json()["models"]}
    assert models["gemini"]["state"] in ("available", "ready")
    assert models["gemini"]["problem"] is None
    assert models["openai-compatible"]["state"] == "missing"
    assert models["openai-compatible"]["problem"].startswith("set SIGHTLINE_VLM_BASE_URL")


def test_both_pictures_of_a_request_are_asked_about(
    asking: httpx2.Client, gemini_service: Any, cup: bytes, portrait: bytes
) -> None:
    gemini_service.says_of(lambda received: f"{received.images[0].width} wide")
    files = [("image", cup), ("image", portrait)]
    response = asking.post(
        "/v1/analyze", files=files, data={"tasks": '[{"operation":"ask","params":{"prompt":"?"}}]'}
    )
    texts = [image["results"]["ask"]["data"]["text"] for image in response.json()["images"]]
    assert texts == ["600 wide", "512 wide"]


def test_a_request_waits_as_long_as_the_answer_may_take() -> None:
    operation = Ask()
    assert operation.patience_s(Settings(request_timeout_s=30, ask_timeout_s=60)) == 60 + PREPARATION_S
    assert operation.patience_s(Settings(request_timeout_s=300, ask_timeout_s=60)) == 300


def test_an_answer_may_take_longer_than_other_requests(
    serve: Callable[..., httpx2.Client], gemini_service: Any, cup: bytes
) -> None:
    """The stand-in is silent for good; which limit speaks shows how long the request was given."""
    client = serve(
        gemini_api_key=SecretStr(KEY),
        gemini_base_url=gemini_service.url,
        request_timeout_s=0.3,
        ask_timeout_s=0.6,
    )
    gemini_service.hangs()
    response = ask(client, cup)
    assert response.json()["code"] == "provider_timeout"
    assert "within 0.6 s" in response.json()["detail"]


def test_the_plain_answer_is_data_where_there_is_any() -> None:
    assert Ask().plain(Asked(text="words", model="m")) == "words"
    assert Ask().plain(Asked(text="{}", structured={}, model="m")) == {}


def test_a_schema_has_an_end() -> None:
    with pytest.raises(ValidationError, match="longer than 65536 bytes"):
        AskParams.model_validate({"prompt": "?", "json_schema": {"enum": ["x" * MAX_SCHEMA_BYTES]}})
