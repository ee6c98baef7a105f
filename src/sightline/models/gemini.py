"""Google's Gemini, through the official SDK. Images leave this machine: only when a key is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sightline.capabilities.question import ANSWER
from sightline.errors import AnswerRefused, ModelUnavailable, ProviderFailed, SightlineError
from sightline.models import Connection, ModelCard, ModelDefinition, Runs, made_up
from sightline.models.answering import Answerer, Prompt, Said, Service, retry_after_s, uninstalled
from sightline.settings import Settings
from sightline.types import Provenance

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.errors import APIError
    from google.genai.types import (
        Candidate,
        GenerateContentConfig,
        GenerateContentResponse,
        GenerateContentResponseUsageMetadata,
    )

NAME = "gemini"
# The SDK's own default, v1, neither knows the gemini-*-latest names nor promises JSON Schemas for answers.
API_VERSION = "v1beta"
# The SDK tells the service of its time-out, and that refuses whatever is below ten seconds. Who allowed less
# waits no longer for that: the Answerer sees to it.
LEAST_TIMEOUT_S = 10.0
# Finish reasons that are no refusal: it ended, or its tokens did.
_ENDED = frozenset({"STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED"})
_FAILED = frozenset(
    {
        *("OTHER", "MALFORMED_RESPONSE", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"),
        *("TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"),
    }
)

CARD = ModelCard(
    name=NAME,
    capabilities=frozenset({ANSWER}),
    description="Google Gemini: answers questions about images, in words or JSON; images are sent to Google.",
    licence="Google APIs Terms of Service",
    homepage="https://ai.google.dev/gemini-api/docs",
    preprocessing="jpeg-90",
    parameters=0,
    multiply_adds=0,
    max_batch=8,
    runs=Runs.ELSEWHERE,
)


def lacking(settings: Settings) -> str | None:
    """Return what has to be set or installed for Gemini; None if nothing has to be."""
    if not settings.gemini_api_key:
        return "set SIGHTLINE_GEMINI_API_KEY (or GOOGLE_API_KEY)"
    return uninstalled("google.genai")


def connect(settings: Settings) -> Connection:
    """See ``models.ModelDefinition``."""
    if missing := lacking(settings):
        raise ModelUnavailable(f"{NAME} is not configured: {missing}")
    from google.genai import Client, types

    assert settings.gemini_api_key is not None
    key = settings.gemini_api_key.get_secret_value()
    service = Service(
        NAME,
        model=settings.gemini_model,
        model_setting="SIGHTLINE_GEMINI_MODEL (GEMINI_MODEL)",
        key_setting="SIGHTLINE_GEMINI_API_KEY (GOOGLE_API_KEY)",
        key=key,
    )
    client = Client(
        api_key=key,
        vertexai=False,
        http_options=types.HttpOptions(base_url=settings.gemini_base_url, api_version=API_VERSION),
    )
    model = Answerer(
        Gemini(client, service),
        name=NAME,
        timeout_s=settings.ask_timeout_s,
        max_side=settings.ask_image_max_side,
    )
    identity = f"{settings.gemini_base_url} {settings.gemini_model} {settings.ask_image_max_side}"
    return Connection(model, identity, Provenance.REMOTE)


class Gemini:
    """A ``Provider``: one call of ``generateContent`` per prompt, never repeated by the SDK itself."""

    def __init__(self, client: Client, service: Service) -> None:
        self._client = client
        self._service = service

    async def say(self, prompt: Prompt, timeout_s: float) -> Said:
        import httpx2
        from google.genai import errors, types

        contents = [
            *(types.Part.from_bytes(data=image, mime_type="image/jpeg") for image in prompt.images),
            types.Part.from_text(text=prompt.text),
        ]
        try:
            response = await self._client.aio.models.generate_content(
                model=self._service.model,
                contents=types.Content(role="user", parts=contents),
                config=_config(prompt, timeout_s),
            )
        except errors.APIError as error:
            raise self._refusal(error) from None
        except (httpx2.TimeoutException, TimeoutError):
            raise self._service.timed_out(timeout_s) from None
        except (httpx2.HTTPError, OSError):
            raise self._service.unreachable() from None
        except (ValueError, TypeError, AttributeError, LookupError):
            # No JSON, or JSON of another shape: the SDK takes it apart without looking.
            raise self._service.unreadable() from None
        return self._said(response)

    def _refusal(self, error: APIError) -> SightlineError:
        # A wrong key is a 400 here, told from a wrong question by its reason only.
        if any(detail.get("reason") == "API_KEY_INVALID" for detail in _details(error)):
            return self._service.key_refused(error.code, str(error.message or ""))
        headers = getattr(error.response, "headers", None) or {}
        retry_after = retry_after_s(headers.get("retry-after") or _retry_delay(error))
        return self._service.refusal(error.code, str(error.message or ""), retry_after)

    def _said(self, response: GenerateContentResponse) -> Said:
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            raise AnswerRefused(f"{NAME} declines this question ({_word(feedback.block_reason)})")
        if not response.candidates:
            raise self._service.unreadable()
        candidate = response.candidates[0]
        reason = _word(candidate.finish_reason or "STOP")
        if reason in _FAILED:
            raise ProviderFailed(f"{NAME} broke off its answer ({reason}); try again")
        if reason not in _ENDED:
            raise AnswerRefused(f"{NAME} declines to answer ({reason})")
        text = _text(candidate)
        if not text:
            why = "its tokens ran out before the first word" if reason == "MAX_TOKENS" else reason
            raise ProviderFailed(f"{NAME} gave an empty answer ({why})")
        usage = response.usage_metadata
        return Said(
            text,
            response.model_version or self._service.model,
            input_tokens=usage.prompt_token_count if usage else None,
            output_tokens=_output_tokens(usage),
            truncated=reason == "MAX_TOKENS",
        )

    async def close(self) -> None:
        await self._client.aio.aclose()
        self._client.close()


def _config(prompt: Prompt, timeout_s: float) -> GenerateContentConfig:
    from google.genai import types

    return types.GenerateContentConfig(
        response_mime_type=None if prompt.schema is None else "application/json",
        response_json_schema=prompt.schema,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        http_options=types.HttpOptions(timeout=int(max(timeout_s, LEAST_TIMEOUT_S) * 1000)),  # milliseconds
    )


def _text(candidate: Candidate) -> str:
    """The words of an answer, without the thoughts before it."""
    parts = candidate.content.parts if candidate.content else None
    return "".join(part.text for part in parts or () if part.text and not part.thought)


def _output_tokens(usage: GenerateContentResponseUsageMetadata | None) -> int | None:
    """Thoughts are paid for as answers are."""
    if usage is None or usage.candidates_token_count is None:
        return None
    return usage.candidates_token_count + (usage.thoughts_token_count or 0)


def _word(reason: Any) -> str:
    return str(getattr(reason, "value", reason))


def _details(error: APIError) -> list[Mapping[str, Any]]:
    """``error.details`` of Google's error body (google.rpc.Status), whatever came in its place."""
    body = error.details
    inner = body.get("error", body) if isinstance(body, dict) else None
    details = inner.get("details") if isinstance(inner, dict) else None
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _retry_delay(error: APIError) -> str | None:
    """google.rpc.RetryInfo says it as "37s"."""
    delays = [detail["retryDelay"] for detail in _details(error) if "retryDelay" in detail]
    return str(delays[0]).removesuffix("s") if delays else None


MODELS = (ModelDefinition(CARD, connect=connect, lacking=lacking, made_up=made_up.answers),)
