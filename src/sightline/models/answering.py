"""Shared parts of models that answer questions: smaller images, checked JSON, named failures.

They run elsewhere, so a question is a request to somebody's service, through that service's own SDK.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Protocol

from sightline.capabilities.question import Question, Reply, tell
from sightline.errors import (
    AnswerInvalid,
    KeyRefused,
    Overloaded,
    ProviderFailed,
    ProviderTimeout,
    QuotaExceeded,
    SightlineError,
)
from sightline.extras import how_to_add
from sightline.imaging import View, encode_jpeg, fit_within
from sightline.models.answer_text import read_json, without_thoughts

_log = logging.getLogger(__name__)

# Quotas are counted by the minute; half of one is what is left of it on average.
DEFAULT_RETRY_AFTER_S = 30
LONGEST_RETRY_AFTER_S = 3600
MAX_QUOTED_CHARS = 300
KEY_PREFIX_CHARS = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """One message: words and image files. With ``schema`` the answer is to be JSON that fits it.

    ``max_tokens`` bounds the answer; None leaves it to the service.
    """

    text: str
    images: tuple[bytes, ...]
    schema: Mapping[str, Any] | None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A service's answer to one prompt."""

    text: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    truncated: bool = False
    tokens_per_s: float | None = None


ImageFiles = Callable[[tuple[View, ...]], tuple[bytes, ...]]


class Provider(Protocol):
    """A service, asked through its SDK."""

    async def say(self, prompt: Prompt, timeout_s: float) -> Said:
        """Raises ProviderFailed, KeyRefused, QuotaExceeded, Overloaded, ProviderTimeout, AnswerRefused."""
        ...

    async def close(self) -> None: ...


def uninstalled(module: str) -> str | None:
    """How to get the SDK whose ``module`` this is; None where it is. Only packages above it are imported."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package above it is missing too
        spec = None
    return None if spec else how_to_add("ask")


class Answerer:
    """A ``models.RemoteModel`` over a provider: a Question in, a Reply out."""

    def __init__(
        self,
        provider: Provider,
        *,
        name: str,
        timeout_s: float,
        max_side: int,
        image_files: ImageFiles | None = None,
    ) -> None:
        """``timeout_s`` is for a whole answer, a second attempt included; ``max_side`` is in pixels.

        ``image_files`` writes the views of a question, instead of JPEG files of ``max_side`` pixels.
        """
        self._provider = provider
        self._name = name
        self._timeout_s = timeout_s
        self._image_files = image_files or partial(jpeg_files, max_side=max_side)

    async def answer(self, subject: Question, timeout_s: float, max_tokens: int | None = None) -> Reply:
        """Ask; where JSON was wanted and none came that fits, once more.

        Raises:
            AnswerInvalid: twice no JSON that fits the schema.
            ProviderTimeout, ProviderFailed, KeyRefused, QuotaExceeded, Overloaded, AnswerRefused: see
                ``Provider``.
            ImageError: an image does not decode.
        """
        allowed_s = min(timeout_s, self._timeout_s)
        ends = asyncio.get_running_loop().time() + allowed_s
        try:
            async with asyncio.timeout_at(ends):
                images = await asyncio.to_thread(self._image_files, subject.views)
                schema = None if subject.schema_json is None else json.loads(subject.schema_json)
                return await self._ask(Prompt(subject.text, images, schema, max_tokens), ends)
        except TimeoutError:
            raise ProviderTimeout(f"{self._name} did not answer within {allowed_s:.3g} s") from None

    async def _ask(self, prompt: Prompt, ends: float) -> Reply:
        said = await self._say(prompt, ends)
        if prompt.schema is None:
            return _reply(said)
        structured, problem = await asyncio.to_thread(read_json, said.text, prompt.schema)
        if problem is None:
            return _reply(said, structured)
        _log.info("%s: an answer does not fit its schema; asking once more", self._name)
        tell(None)
        again = await self._say(_corrected(prompt, problem), ends)
        structured, problem = await asyncio.to_thread(read_json, again.text, prompt.schema)
        if problem is None:
            return _reply(again, structured, before=said)
        cut_off = "; it was cut off at the model's limit of tokens" if again.truncated else ""
        raise AnswerInvalid(f"{self._name} answered twice without fitting the schema: {problem}{cut_off}")

    async def _say(self, prompt: Prompt, ends: float) -> Said:
        said = await self._provider.say(prompt, ends - asyncio.get_running_loop().time())
        text = _whole(without_thoughts(said.text))
        if not text:
            why = "its tokens ran out while it was thinking" if said.truncated else "nothing but thoughts"
            raise ProviderFailed(f"{self._name} gave an empty answer ({why})")
        return replace(said, text=text, model=_whole(said.model))

    async def close(self) -> None:
        await self._provider.close()


def jpeg_files(views: tuple[View, ...], *, max_side: int) -> tuple[bytes, ...]:
    """Return the views as JPEG files of ``max_side`` pixels at most, without metadata."""
    return tuple(encode_jpeg(reduced(view, max_side)) for view in views)


def reduced(view: View, max_side: int) -> Any:
    """Return the pixels of a view with the longer side at ``max_side`` at most."""
    short_side = min(view.width, view.height) * max_side // max(view.width, view.height, 1)
    return fit_within(view.reduced(short_side), max_side)


def _corrected(prompt: Prompt, problem: str) -> Prompt:
    text = (
        f"{prompt.text}\n\nAn earlier answer to this could not be used: {problem}\n"
        f"Answer with nothing but JSON that fits this JSON Schema:\n{_written(prompt.schema)}"
    )
    return replace(prompt, text=text)


def with_schema(prompt: Prompt) -> str:
    """The prompt's words, followed by its schema for services that do not show it to their model."""
    if prompt.schema is None:
        return prompt.text
    return f"{prompt.text}\n\nAnswer with JSON that fits this JSON Schema:\n{_written(prompt.schema)}"


def _written(schema: Mapping[str, Any] | None) -> str:
    return json.dumps(schema, ensure_ascii=False)


def _reply(said: Said, structured: Any = None, before: Said | None = None) -> Reply:
    return Reply(
        text=said.text,
        model=said.model,
        structured=structured,
        input_tokens=_total(said.input_tokens, before.input_tokens if before else 0),
        output_tokens=_total(said.output_tokens, before.output_tokens if before else 0),
        truncated=said.truncated,
        tokens_per_s=said.tokens_per_s,
    )


def _whole(text: str) -> str:
    """Without halves of characters, which JSON can escape and nobody can write: a question mark for each."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _total(tokens: int | None, earlier: int | None) -> int | None:
    return None if tokens is None else tokens + (earlier or 0)


# -- what can go wrong -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Service:
    """A service as errors speak of it. The settings are names of variables; ``key`` is never shown."""

    name: str
    model: str
    model_setting: str
    key_setting: str
    key: str = field(repr=False, default="")

    def refusal(self, status: int, message: str, retry_after: int | None = None) -> SightlineError:
        """The error for an HTTP status. ``message``, the service's own, is quoted."""
        _log.warning("%s answered with HTTP %d", self.name, status)
        reason = self._quoted(message)
        if status in (401, 403):
            return self.key_refused(status, message)
        if status == 404:
            return ProviderFailed(
                f"{self.name} has no model {self.model!r} for this (HTTP 404{reason}): "
                f"check {self.model_setting}"
            )
        if status == 402:
            return self.out_of_credit(status, message)
        if status == 429:
            return QuotaExceeded(
                f"{self.name} takes no more questions for now: its quota is used up{reason}",
                DEFAULT_RETRY_AFTER_S if retry_after is None else retry_after,
            )
        if status in (408, 504):
            return ProviderTimeout(f"{self.name} ran out of time (HTTP {status}{reason})")
        if status < 500:
            return ProviderFailed(
                f"{self.name} does not take this question (HTTP {status}){reason or ': no reason given'}"
            )
        # 529 is what Anthropic's API and servers like it use for an overload.
        if status in (503, 529) and retry_after is not None:
            return Overloaded(f"{self.name} is busy (HTTP {status}){reason}", retry_after)
        return ProviderFailed(f"{self.name} failed (HTTP {status}); try again later{reason}")

    def key_refused(self, status: int, message: str = "") -> KeyRefused:
        return KeyRefused(
            f"{self.name} does not accept the key (HTTP {status}{self._quoted(message)}): "
            f"check {self.key_setting}"
        )

    def out_of_credit(self, status: int, message: str) -> ProviderFailed:
        """The error for an account that has to be paid for first: waiting does not help."""
        return ProviderFailed(
            f"{self.name}: the account has no credit left (HTTP {status}){self._quoted(message)}"
        )

    def unreadable(self) -> ProviderFailed:
        return ProviderFailed(f"{self.name} answered with something that is no answer of its API")

    def unreachable(self) -> ProviderFailed:
        return ProviderFailed(f"{self.name} could not be reached")

    def timed_out(self, timeout_s: float) -> ProviderTimeout:
        return ProviderTimeout(f"{self.name} did not answer within {timeout_s:.3g} s")

    def _quoted(self, message: str) -> str:
        """ ": " and the service's own reason on one line; nothing if it gave none."""
        if self.key:
            # Services repeat a key shortened: "sk-ab***wxyz".
            message = re.sub(re.escape(self.key[:KEY_PREFIX_CHARS]) + r"\S*", "…", message)
        message = " ".join("".join(each if each.isprintable() else " " for each in message).split())[
            :MAX_QUOTED_CHARS
        ]
        return f": {message}" if message else ""


def retry_after_s(written: str | None) -> int | None:
    """A ``Retry-After`` header in whole seconds, 1 to 3600: a number or a date (RFC 9110, 10.2.3)."""
    if written is None:
        return None
    try:
        seconds = float(written)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(written) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # TypeError: a date without a time zone
            return None
    if not math.isfinite(seconds):
        return None
    return min(max(1, math.ceil(seconds)), LONGEST_RETRY_AFTER_S)
