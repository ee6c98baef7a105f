"""What is the OpenAI API's alone: filters, servers without keys, and what has to be set."""

from __future__ import annotations

from typing import Any

import pytest

from sightline.errors import AnswerRefused, ProviderFailed
from sightline.models.openai_compatible import lacking
from sightline.settings import Settings
from sightline.subjects import Question


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
