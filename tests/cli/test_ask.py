"""A question from the command line; the service at the end is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def configured(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, chat_service: Any) -> None:
    monkeypatch.setenv("SIGHTLINE_VLM_BASE_URL", f"{chat_service.url}/v1")
    monkeypatch.setenv("OPENAI_MODEL", "llava")


def test_a_question_in_one_line(sightline, cup: bytes, chat_service: Any) -> None:
    Path("cup.jpg").write_bytes(cup)
    chat_service.says("A cup of coffee.")
    result = sightline("analyze", "cup.jpg", "--task", "ask:prompt=What is this?")
    assert result.exit_code == 0, result.output
    assert "A cup of coffee." in " ".join(result.stdout.split())
    assert chat_service.received[0].text == "What is this?"


def test_a_schema_goes_in_as_json(sightline, cup: bytes, chat_service: Any) -> None:
    Path("cup.jpg").write_bytes(cup)
    chat_service.says('{"cups": 1}')
    schema = '{"type": "object", "required": ["cups"]}'
    result = sightline(
        "analyze", "cup.jpg", "--json", "--task", f'ask:prompt="How many?",json_schema={schema}'
    )
    assert result.exit_code == 0, result.output
    (entry,) = (json.loads(line) for line in result.stdout.splitlines())
    assert entry["results"]["ask"]["data"]["structured"] == {"cups": 1}


def test_a_failure_there_is_one_line_here(sightline, cup: bytes, chat_service: Any) -> None:
    Path("cup.jpg").write_bytes(cup)
    chat_service.answers({"error": {"message": "no"}}, 401)
    result = sightline("analyze", "cup.jpg", "--task", "ask:prompt=What?")
    assert result.exit_code == 1
    assert "does not accept the key" in " ".join((result.stdout + result.stderr).split())


def test_a_busy_service_is_asked_again_when_it_says(sightline, cup: bytes, chat_service: Any) -> None:
    Path("cup.jpg").write_bytes(cup)
    chat_service.answers({"error": {"message": "slow"}}, 429, Retry_After="1")
    chat_service.says("A cup.")
    result = sightline("analyze", "cup.jpg", "--task", "ask:prompt=What?")
    assert result.exit_code == 0, result.output
    assert "A cup." in result.stdout
    assert len(chat_service.received) == 2


def test_a_service_that_is_busy_for_too_long_is_a_failure(sightline, cup: bytes, chat_service: Any) -> None:
    Path("cup.jpg").write_bytes(cup)
    chat_service.answers({"error": {"message": "come back tomorrow"}}, 429, Retry_After="3600")
    result = sightline("analyze", "cup.jpg", "--task", "ask:prompt=What?", "--timeout", "600")
    assert result.exit_code == 1
    assert "come back tomorrow" in " ".join((result.stdout + result.stderr).split())
    assert len(chat_service.received) == 1
