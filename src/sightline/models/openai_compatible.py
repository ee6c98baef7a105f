"""Any model behind the OpenAI chat API: Ollama, vLLM, llama.cpp and others, on this machine or elsewhere."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sightline.capabilities.question import ANSWER
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
from sightline.types import Provenance

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.chat import ChatCompletion

NAME = "openai-compatible"
_VERSION = re.compile(r"/v\d+[a-z0-9]*/?$")
# Servers that do not know a format of answers say so with one of these, naming it in one of these words.
_FORMAT_STATUSES = frozenset({400, 404, 422, 500, 501})
_FORMAT_WORDS = re.compile(
    r"response[ _]?format|json[ _]?(schema|object|mode)|structured[ _]output|guided|grammar", re.IGNORECASE
)
# Codes and types of a 429 that no waiting helps.
_UNPAID = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_UNKNOWN_STATUS = 502
_TEXT_PARTS = frozenset({"text", "output_text"})
# Servers without keys still get a header: the SDK does not go without.
NO_KEY = "none"

CARD = ModelCard(
    name=NAME,
    capabilities=frozenset({ANSWER}),
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
    """Return what has to be set or installed for a server; None if nothing has to be."""
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


class _FormatRefused(Exception):
    """The server does not know this ``response_format``."""


class _NotThere(Exception):
    """No such path, or no such model, at this base URL; ``error`` is for the user."""

    def __init__(self, error: SightlineError) -> None:
        super().__init__(str(error))
        self.error = error


class ChatServer:
    """A ``Provider``: one chat completion per prompt, never repeated by the SDK itself.

    It is asked again at once, without counting as another attempt, if the server does not know
    ``response_format``, or if the base URL lacks the ``/v1`` of most servers. What worked is remembered.
    """

    def __init__(self, client: AsyncOpenAI, service: Service) -> None:
        self._client = client
        self._service = service
        self._takes_format = True

    async def say(self, prompt: Prompt, timeout_s: float) -> Said:
        ends = asyncio.get_running_loop().time() + timeout_s
        try:
            return await self._say(self._client, prompt, ends)
        except _NotThere as first:
            versioned = self._versioned()
            if versioned is None:
                raise first.error from None
        try:
            said = await self._say(versioned, prompt, ends)
        except _NotThere as second:
            raise second.error from None
        self._client = versioned
        return said

    def _versioned(self) -> AsyncOpenAI | None:
        """The client of the same server below ``/v1``; None if the base URL names a version."""
        url = self._client.base_url
        if _VERSION.search(url.path):
            return None
        return self._client.with_options(base_url=url.copy_with(path=url.path.rstrip("/") + "/v1/"))

    async def _say(self, client: AsyncOpenAI, prompt: Prompt, ends: float) -> Said:
        if prompt.schema is not None and self._takes_format:
            try:
                return await self._complete(client, prompt, ends, _format(prompt))
            except _FormatRefused:
                self._takes_format = False
        return await self._complete(client, prompt, ends, None)

    async def _complete(self, client: AsyncOpenAI, prompt: Prompt, ends: float, wanted: Any) -> Said:
        import openai

        timeout_s = ends - asyncio.get_running_loop().time()
        try:
            completion = await client.chat.completions.create(
                model=self._service.model,
                messages=[{"role": "user", "content": _content(prompt)}],
                response_format=openai.omit if wanted is None else wanted,
                timeout=timeout_s,
            )
        except openai.APITimeoutError:
            raise self._service.timed_out(timeout_s) from None
        except openai.APIStatusError as error:
            raise self._refusal(error, formatted=wanted is not None) from None
        except openai.APIConnectionError:
            raise self._service.unreachable() from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError):
            # No JSON, or JSON of another shape: the SDK takes it apart without looking.
            raise self._service.unreadable() from None
        return self._said(completion)

    def _refusal(self, error: APIStatusError, *, formatted: bool) -> Exception:
        reason = _reason(error.body)
        if formatted and error.status_code in _FORMAT_STATUSES and _FORMAT_WORDS.search(reason):
            return _FormatRefused()
        if error.code == "content_filter":
            return AnswerRefused(f"{NAME} declines this question (content_filter)")
        refusal = self._error(error.status_code, reason, error.body, _retry_after(error.response.headers))
        return _NotThere(refusal) if error.status_code == 404 else refusal

    def _error(
        self, status: int, reason: str, body: object, retry_after: int | None = None
    ) -> SightlineError:
        if status == 429 and isinstance(body, dict) and _UNPAID & {body.get("code"), body.get("type")}:
            return self._service.out_of_credit(status, reason)
        return self._service.refusal(status, reason, retry_after)

    def _said(self, completion: ChatCompletion) -> Said:
        self._raise_for_error(completion)
        choices = getattr(completion, "choices", None)  # the SDK passes on whatever came
        if not isinstance(choices, list) or not choices:
            raise self._service.unreadable()
        self._raise_for_error(choices[0])
        if getattr(choices[0], "message", None) is None:
            raise self._service.unreadable()
        choice = choices[0]
        if choice.finish_reason == "content_filter" or choice.message.refusal:
            raise AnswerRefused(f"{NAME} declines to answer ({choice.finish_reason or 'refusal'})")
        truncated = choice.finish_reason == "length"
        text = _text(choice.message.content)
        if not text.strip() and not truncated:
            text = _reasoning(choice.message)
        if not text.strip():
            raise ProviderFailed(f"{NAME} gave an empty answer ({choice.finish_reason or 'no reason given'})")
        usage = completion.usage
        return Said(
            text,
            completion.model or self._service.model,
            input_tokens=usage.prompt_tokens if usage else None,
            output_tokens=usage.completion_tokens if usage else None,
            truncated=truncated,
        )

    def _raise_for_error(self, answer: object) -> None:
        """Raise the error that some servers send with HTTP 200."""
        body = getattr(answer, "error", None)
        if not body:
            return
        code = body.get("code") if isinstance(body, dict) else None
        status = code if isinstance(code, int) and 400 <= code <= 599 else _UNKNOWN_STATUS
        reason = _reason(body)
        error = self._error(status, reason, body)
        raise _NotThere(error) if "endpoint" in reason and code is None else error

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


def _text(content: object) -> str:
    """An answer's words; of a list of parts those that are not thoughts."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = (part for part in content if isinstance(part, dict) and part.get("type") in _TEXT_PARTS)
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _reasoning(message: object) -> str:
    """The whole answer, where a server takes all of it for reasoning."""
    found = (getattr(message, name, None) for name in ("reasoning_content", "reasoning"))
    return next((each for each in found if isinstance(each, str) and each.strip()), "")


def _reason(body: object) -> str:
    """The server's own words, out of OpenAI's error body or whatever else came."""
    if not isinstance(body, dict):
        return str(body or "")
    inner = body.get("message") or body.get("error") or body.get("detail") or ""
    reason = _reason(inner) if isinstance(inner, dict) else str(inner)
    metadata = body.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None  # OpenRouter: of the server behind it
    return f"{reason}: {raw}" if isinstance(raw, str) else reason


def _retry_after(headers: Mapping[str, str]) -> int | None:
    milliseconds = headers.get("retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return retry_after_s(str(int(milliseconds[:12]) / 1000))
    return retry_after_s(headers.get("retry-after"))


MODELS = (ModelDefinition(CARD, connect=connect, lacking=lacking, made_up=made_up.answers),)
