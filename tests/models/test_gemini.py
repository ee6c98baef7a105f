"""What is Gemini's alone: how it declines, fails, counts and thinks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sightline.capabilities.question import Question
from sightline.errors import AnswerRefused, KeyRefused, ProviderFailed, QuotaExceeded

SCHEMA = json.dumps({"type": "object", "required": ["count"]})


async def test_a_blocked_prompt_is_a_refusal(google: Any) -> None:
    google.service.answers({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
    with pytest.raises(AnswerRefused, match=r"declines this question .PROHIBITED_CONTENT."):
        await google.ask(Question("?"))


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "BLOCKLIST", "SPII", "SOMETHING_NEW"])
@pytest.mark.filterwarnings("ignore:SOMETHING_NEW")
async def test_a_blocked_answer_is_a_refusal(google: Any, reason: str) -> None:
    google.service.answers({"candidates": [{"finishReason": reason, "index": 0}]})
    with pytest.raises(AnswerRefused, match=reason):
        await google.ask(Question("?", schema_json=SCHEMA))
    assert len(google.service.received) == 1


async def test_an_answer_that_broke_off_is_a_failure(google: Any) -> None:
    google.service.answers({"candidates": [{"finishReason": "OTHER", "index": 0}]})
    with pytest.raises(ProviderFailed, match="broke off"):
        await google.ask(Question("?"))


async def test_a_wrong_key_comes_as_a_bad_request(google: Any) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [detail]}
    google.service.answers({"error": error}, 400)
    with pytest.raises(KeyRefused, match="SIGHTLINE_GEMINI_API_KEY"):
        await google.ask(Question("?"))


async def test_a_quota_may_say_its_time_in_the_body(google: Any) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.2s"}
    google.service.answers({"error": {"code": 429, "message": "quota", "details": [detail]}}, 429)
    with pytest.raises(QuotaExceeded) as quota:
        await google.ask(Question("?"))
    assert quota.value.retry_after_s == 38


async def test_thoughts_are_paid_for(google: Any) -> None:
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 5, "thoughtsTokenCount": 100}
    candidate = {"content": {"parts": [{"text": "A cup."}]}, "finishReason": "STOP"}
    google.service.answers({"candidates": [candidate], "usageMetadata": usage})
    reply = await google.ask(Question("?"))
    assert (reply.input_tokens, reply.output_tokens) == (11, 105)


@pytest.mark.parametrize(("timeout_s", "told"), [(0.5, "10"), (15, "15")])
async def test_google_is_told_no_time_that_it_refuses(google: Any, timeout_s: float, told: str) -> None:
    google.service.says("quick")
    await google.ask(Question("?"), timeout_s=timeout_s)
    assert google.service.received[0].headers["x-server-timeout"] == told


async def test_thoughts_are_no_part_of_the_answer(google: Any) -> None:
    parts = [{"text": "Let me see.", "thought": True}, {"text": "A "}, {"text": "cup."}]
    google.service.answers(
        {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    )
    reply = await google.ask(Question("?"))
    assert reply.text == "A cup."
    assert reply.model == "gemini-3.8-flash", "the setting, where the answer does not say"
    assert reply.input_tokens is None


async def test_a_cut_off_answer_is_marked(google: Any) -> None:
    candidate = {"content": {"parts": [{"text": "A long stor"}]}, "finishReason": "MAX_TOKENS"}
    google.service.answers({"candidates": [candidate]})
    reply = await google.ask(Question("?"))
    assert (reply.text, reply.truncated) == ("A long stor", True)


async def test_tokens_that_end_before_the_first_word_are_a_failure(google: Any) -> None:
    google.service.answers({"candidates": [{"finishReason": "MAX_TOKENS"}]})
    with pytest.raises(ProviderFailed, match="tokens ran out before the first word"):
        await google.ask(Question("?"))
