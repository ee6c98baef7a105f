"""What is the OpenAI API's alone: filters, servers without keys, and what has to be set."""

from __future__ import annotations

from typing import Any

import pytest

from sightline.capabilities.question import Question
from sightline.errors import AnswerRefused, ProviderFailed, QuotaExceeded
from sightline.models.openai_compatible import lacking
from sightline.settings import Settings


async def test_a_cut_off_answer_is_marked(chat: Any) -> None:
    choice = {"message": {"content": "A long stor"}, "finish_reason": "length"}
    chat.service.answers({"model": "m", "choices": [choice]})
    reply = await chat.ask(Question("?"))
    assert (reply.text, reply.truncated) == ("A long stor", True)
    assert reply.input_tokens is None


@pytest.mark.parametrize("content", [None, "", "  \n", 3])
async def test_an_empty_answer_is_a_failure(chat: Any, content: Any) -> None:
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    chat.service.answers({"model": "m", "choices": [choice]})
    with pytest.raises(ProviderFailed, match="empty answer"):
        await chat.ask(Question("?"))


@pytest.mark.parametrize(
    ("finish_reason", "message"),
    [("content_filter", {"content": None}), ("stop", {"content": None, "refusal": "I cannot."})],
)
async def test_a_filtered_answer_is_a_refusal(chat: Any, finish_reason: str, message: Any) -> None:
    chat.service.answers({"model": "m", "choices": [{"message": message, "finish_reason": finish_reason}]})
    with pytest.raises(AnswerRefused, match="declines to answer"):
        await chat.ask(Question("?"))


async def test_a_filtered_question_is_a_refusal(chat: Any) -> None:
    chat.service.answers({"error": {"code": "content_filter", "message": "filtered"}}, 400)
    with pytest.raises(AnswerRefused, match="declines this question"):
        await chat.ask(Question("?"))


GOOD = '{"species": "deer"}'
SCHEMA = '{"type": "object", "required": ["species"]}'


def words(content: Any, finish_reason: str = "stop", **message: Any) -> Any:
    return {
        "model": "m",
        "choices": [{"message": {"content": content, **message}, "finish_reason": finish_reason}],
    }


@pytest.mark.parametrize(
    "body",
    [
        words("", reasoning_content=GOOD),
        words(None, reasoning=f"It is a deer.\n{GOOD}"),
        words([{"type": "text", "text": GOOD[:5]}, {"type": "text", "text": GOOD[5:]}]),
        words(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": GOOD},
            ]
        ),
        words(GOOD, reasoning_content="Some thoughts: {}"),
    ],
)
async def test_an_answer_may_be_in_parts_or_taken_for_reasoning(chat: Any, body: Any) -> None:
    chat.service.answers(body)
    assert (await chat.ask(Question("?", schema_json=SCHEMA))).structured == {"species": "deer"}


async def test_reasoning_that_was_cut_off_is_no_answer(chat: Any) -> None:
    chat.service.answers(words("", "length", reasoning_content="I think and think"))
    with pytest.raises(ProviderFailed, match="empty answer"):
        await chat.ask(Question("?"))


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "of a server behind it": (
        {"choices": None, "error": {"message": "Provider returned error", "code": 429,
                                    "metadata": {"raw": "Too Many Requests"}}},
        QuotaExceeded, "Provider returned error: Too Many Requests",
    ),
    "no images": ({"error": {"message": "No endpoints support image input", "code": 404}},
                  ProviderFailed, "No endpoints support image input"),
    "in a choice": (
        {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "Upstream failed"},
                      "message": {"content": ""}}]},
        ProviderFailed, "Upstream failed",
    ),
    "a text": ({"error": "The model crashed"}, ProviderFailed, "The model crashed"),
    "no credit": ({"error": {"code": 402, "message": "Pay first"}}, ProviderFailed, "no credit left"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_may_come_with_status_200(chat: Any, name: str) -> None:
    body, kind, said = ERRORS[name]
    chat.service.answers(body)
    with pytest.raises(kind, match=said) as error:
        await chat.ask(Question("?"))
    assert type(error.value) is kind


@pytest.mark.parametrize("field", ["code", "type"])
async def test_an_unpaid_account_is_no_rate_limit(chat: Any, field: str) -> None:
    message = "You exceeded your current quota, please check your plan."
    chat.service.answers({"error": {"message": message, field: "insufficient_quota"}}, 429)
    with pytest.raises(ProviderFailed, match=r"no credit left .*check your plan"):
        await chat.ask(Question("?"))


async def test_retry_after_may_be_in_milliseconds(chat: Any) -> None:
    chat.service.answers({"error": {"message": "slow"}}, 429, Retry_After_Ms="2500")
    with pytest.raises(QuotaExceeded) as quota:
        await chat.ask(Question("?"))
    assert quota.value.retry_after_s == 3


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This response_format type is unavailable now"),
        (400, "This model does not support response format `json_schema`. See supported models"),
        (422, "structured outputs are not supported"),
        (500, "failed to parse grammar"),
    ],
)
async def test_a_refused_response_format_is_left_out(chat: Any, status: int, message: str) -> None:
    chat.service.answers({"error": {"message": message}}, status)
    chat.service.says("It is a deer.", GOOD)
    reply = await chat.ask(Question("?", schema_json=SCHEMA))
    assert reply.structured == {"species": "deer"}
    assert ["response_format" in each.body for each in chat.service.received] == [True, False, False]


async def test_another_refusal_is_told_as_it_is(chat: Any) -> None:
    chat.service.answers({"error": {"message": "At most 0 image(s) may be provided in one prompt."}}, 400)
    with pytest.raises(ProviderFailed, match="At most 0 image"):
        await chat.ask(Question("?", schema_json=SCHEMA))
    assert len(chat.service.received) == 1


NOT_THERE: list[tuple[Any, int]] = [
    (b"404 page not found", 404),
    ({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, 200),
]


@pytest.mark.parametrize(("body", "status"), NOT_THERE)
async def test_a_base_url_may_lack_its_version(chat: Any, body: Any, status: int) -> None:
    chat.service.answers(body, status)
    chat.service.says("no JSON", GOOD)
    url = chat.service.url
    reply = await chat.ask(Question("?", schema_json=SCHEMA), vlm_base_url=url)
    assert reply.structured == {"species": "deer"}
    assert [each.path for each in chat.service.received] == [
        "/chat/completions", "/v1/chat/completions", "/v1/chat/completions",
    ]  # fmt: skip


async def test_a_missing_model_is_told_after_both(chat: Any) -> None:
    chat.service.answers(b"404 page not found", 404)
    chat.service.answers({"error": {"message": "model not found, try pulling it first"}}, 404)
    with pytest.raises(ProviderFailed, match=r"has no model 'llava'.*try pulling it first"):
        await chat.ask(Question("?"), vlm_base_url=chat.service.url)


async def test_a_base_url_with_a_version_is_asked_once(chat: Any) -> None:
    chat.service.answers({"error": {"message": "no such model"}}, 404)
    with pytest.raises(ProviderFailed):
        await chat.ask(Question("?"))
    assert len(chat.service.received) == 1


async def test_a_server_without_keys_is_asked_without_one(chat: Any) -> None:
    chat.service.says("hello")
    await chat.ask(Question("?"), vlm_api_key=None)
    assert chat.service.received[0].headers["authorization"] == "Bearer none"


async def test_no_account_at_openai_is_told_to_other_servers(
    chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    chat.service.says("hello")
    await chat.ask(Question("?"))
    assert "secret" not in " ".join(chat.service.received[0].headers.values()).replace(chat.key, "")


def test_both_must_be_set_for_a_server() -> None:
    assert lacking(Settings(vlm_base_url="http://h/v1")) == "set SIGHTLINE_VLM_MODEL"
    only_model = lacking(Settings(vlm_model="m"))
    assert only_model is not None
    assert "SIGHTLINE_VLM_BASE_URL" in only_model
    assert lacking(Settings(vlm_model="m", vlm_base_url="http://h/v1")) is None
