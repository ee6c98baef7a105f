"""Any model behind the OpenAI chat API: Ollama, vLLM, llama.cpp and others, on this machine or elsewhere."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from sightline.errors import AnswerRefused, ModelUnavailable, ProviderFailed, SightlineError
from sightline.models import Connection, ModelCard, ModelDefinition, Runs, made_up
from sightline.models.answering import (
    Answerer,
    Prompt,
    Said,
    Service,
    retry_after_s,
    uninstalled,
    with_schema,
)
from sightline.settings import Settings
from sightline.types import Capability, Provenance

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.chat import ChatCompletion

NAME = "openai-compatible"
# Servers without keys still get a header: the SDK does not go without.
NO_KEY = "none"

CARD = ModelCard(
    name=NAME,
    capabilities=frozenset({Capability.ANSWER}),
    description="A vision-language model of your choice behind an OpenAI-compatible API (Ollama, vLLM, …).",
    licence="that of the model behind it",
    homepage="https://github.com/openai/openai-openapi",
    preprocessing="jpeg-90",
    parameters=0,
    multiply_adds=0,
    max_batch=8,
    runs=Runs.ELSEWHERE,
)


def lacking(settings: Settings) -> str | None:
    """What has to be set or installed before a server can be asked."""
    missing = []
    if not settings.vlm_base_url:
        missing.append("SIGHTLINE_VLM_BASE_URL (e.g. http://127.0.0.1:11434/v1)")
    if not settings.vlm_model:
        missing.append("SIGHTLINE_VLM_MODEL")
    return f"set {' and '.join(missing)}" if missing else uninstalled("openai")


def connect(settings: Settings) -> Connection:
    """See ``models.ModelDefinition``."""
    if missing := lacking(settings):
        raise ModelUnavailable(f"{NAME} is not configured: {missing}")
    from openai import AsyncOpenAI

    assert settings.vlm_base_url is not None
    assert settings.vlm_model is not None
    key = settings.vlm_api_key.get_secret_value() if settings.vlm_api_key else NO_KEY
    service = Service(
        NAME,
        model=settings.vlm_model,
        model_setting="SIGHTLINE_VLM_MODEL (OPENAI_MODEL)",
        key_setting="SIGHTLINE_VLM_API_KEY (OPENAI_API_KEY)",
        key=key if settings.vlm_api_key else "",
    )
    client = AsyncOpenAI(
        api_key=key, base_url=settings.vlm_base_url, max_retries=0, timeout=settings.ask_timeout_s
    )
    # The SDK takes these from variables meant for OpenAI itself, and would send them to any server.
    client.organization = client.project = None
    model = Answerer(
        ChatServer(client, service),
        name=NAME,
        timeout_s=settings.ask_timeout_s,
        max_side=settings.ask_image_max_side,
    )
    identity = f"{settings.vlm_base_url} {settings.vlm_model} {settings.ask_image_max_side}"
    return Connection(model, identity, Provenance.REMOTE)


class ChatServer:
    """A ``Provider``: one chat completion per prompt, never repeated by the SDK itself."""

    def __init__(self, client: AsyncOpenAI, service: Service) -> None:
        self._client = client
        self._service = service

    async def say(self, prompt: Prompt, timeout_s: float) -> Said:
        import openai

        try:
            completion = await self._client.chat.completions.create(
                model=self._service.model,
                messages=[{"role": "user", "content": _content(prompt)}],
                response_format=openai.omit if prompt.schema is None else _format(prompt),
                timeout=timeout_s,
            )
        except openai.APITimeoutError:
            raise self._service.timed_out(timeout_s) from None
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIConnectionError:
            raise self._service.unreachable() from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError):
            # No JSON, or JSON of another shape: the SDK takes it apart without looking.
            raise self._service.unreadable() from None
        return self._said(completion)

    def _refusal(self, error: APIStatusError) -> SightlineError:
        if error.code == "content_filter":
            return AnswerRefused(f"{NAME} declines this question (content_filter)")
        return self._service.refusal(
            error.status_code, _reason(error), retry_after_s(error.response.headers.get("retry-after"))
        )

    def _said(self, completion: ChatCompletion) -> Said:
        choices = getattr(completion, "choices", None)  # the SDK passes on whatever came
        if not isinstance(choices, list) or not choices or getattr(choices[0], "message", None) is None:
            raise self._service.unreadable()
        choice = choices[0]
        if choice.finish_reason == "content_filter" or choice.message.refusal:
            raise AnswerRefused(f"{NAME} declines to answer ({choice.finish_reason or 'refusal'})")
        text = choice.message.content
        if not isinstance(text, str) or not text.strip():
            raise ProviderFailed(f"{NAME} gave an empty answer ({choice.finish_reason or 'no reason given'})")
        usage = completion.usage
        return Said(
            text,
            completion.model or self._service.model,
            input_tokens=usage.prompt_tokens if usage else None,
            output_tokens=usage.completion_tokens if usage else None,
            truncated=choice.finish_reason == "length",
        )

    async def close(self) -> None:
        await self._client.close()


def _content(prompt: Prompt) -> list[Any]:
    images = [
        {
            "type": "image_url",
            "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(image).decode("ascii")},
        }
        for image in prompt.images
    ]
    return [*images, {"type": "text", "text": with_schema(prompt)}]


def _format(prompt: Prompt) -> Any:
    # Not "strict": that refuses schemas with optional properties, and servers but OpenAI's ignore it.
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": prompt.schema}}


def _reason(error: APIStatusError) -> str:
    """The server's own words, out of OpenAI's error body or whatever else came."""
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body.get("error") or body.get("detail") or "")
    return str(body or "")


MODELS = (ModelDefinition(CARD, connect=connect, lacking=lacking, made_up=made_up.answers),)
