"""Models that answer questions, each through its real SDK to a stand-in of its service."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from sightline.capabilities.question import Question, Reply
from sightline.models import ModelDefinition, gemini, openai_compatible
from sightline.settings import Settings

DEFINITIONS = {"gemini": gemini.MODELS[0], "openai-compatible": openai_compatible.MODELS[0]}


class Dialect:
    """One model, connected to the stand-in of its service."""

    key = "sk-secret-0123456789abcdef"

    def __init__(self, definition: ModelDefinition, service: Any) -> None:
        self.definition = definition
        self.service = service

    def settings(self, **changes: Any) -> Settings:
        url = self.service.url
        own = (
            {"gemini_api_key": SecretStr(self.key), "gemini_base_url": url}
            if self.definition.name == "gemini"
            else {"vlm_api_key": SecretStr(self.key), "vlm_base_url": f"{url}/v1", "vlm_model": "llava"}
        )
        return Settings(**{**own, "ask_timeout_s": 20, **changes})

    async def ask(self, question: Question, timeout_s: float = 20, **changes: Any) -> Reply:
        assert self.definition.connect is not None
        connection = self.definition.connect(self.settings(**changes))
        try:
            return await connection.model.answer(question, timeout_s)
        finally:
            await connection.model.close()


@pytest.fixture(params=DEFINITIONS)
def dialect(request: pytest.FixtureRequest, gemini_service: Any, chat_service: Any) -> Dialect:
    service = gemini_service if request.param == "gemini" else chat_service
    return Dialect(DEFINITIONS[request.param], service)


@pytest.fixture
def google(gemini_service: Any) -> Dialect:
    return Dialect(DEFINITIONS["gemini"], gemini_service)


@pytest.fixture
def chat(chat_service: Any) -> Dialect:
    return Dialect(DEFINITIONS["openai-compatible"], chat_service)
