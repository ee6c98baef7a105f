"""Describing images through a running server: this one, or any that keeps the image-embed contract."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import json
import math
import mimetypes
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from sightline.errors import InvalidRequest, SightlineError, TargetNotFound
from sightline.imaging import ImageLimits
from sightline.jobs.describing import OPERATION, TASK_ID, Describer, Description, RunEnded
from sightline.jobs.looking import read_image
from sightline.types import Capability, Target

_UPLOAD = "analyze_image_upload/"
_OPERATIONS = "available_operations/"
_MODELS = "v1/models"
# A server bounds its own answers (30 s by default); this is for one that hangs.
_TIMEOUT = httpx2.Timeout(300.0, connect=10.0, pool=None)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long and how often a trouble is borne for one image; ``ends_run``: others would meet it too."""

    seconds: float = math.inf
    tries: float = math.inf
    ends_run: bool = True


# It lives and asks to come back: it is busy, or downloads a model of some gigabytes.
_BUSY = _Patience(seconds=1800)
# It was there and will be again, if it is only being restarted.
_GONE = _Patience(seconds=60)
_NEVER_THERE = _Patience(tries=1)
# This answer was lost, perhaps because of this image.
_LOST = _Patience(tries=3, ends_run=False)
_PATIENCE: Mapping[int, _Patience] = {408: _LOST, 429: _BUSY, 502: _LOST, 503: _BUSY, 504: _LOST}

# Of the answers that say no, those that are about the image and not about who asks, how, or where.
_ABOUT_THE_IMAGE = frozenset({400, 413, 415, 422, 500})


@asynccontextmanager
async def describing_there(
    url: str, params: Mapping[str, Any], limits: ImageLimits, api_key: str | None = None
) -> AsyncIterator[Describer]:
    """A describer that asks the server at ``url``, after making sure that it is one.

    Busy servers are asked again when they said so, or ever more slowly. Files longer than the limits say are
    not sent.

    Raises:
        InvalidRequest: the URL or the key cannot be used.
        RunEnded: nobody answers there, or not as the contract has it, or not to us.
    """
    base, headers = _address(url), _headers(api_key)
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT) as client:
        server = _Server(client, params, limits)
        await server.check()
        yield server


def _address(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidRequest(f"{url!r} is no address of a server; http://127.0.0.1:8000 is")
    return parsed


# Visible ASCII: what a key in a header can be made of.
_HEADER_VALUE = re.compile(r"[!-~]+")


def _headers(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not _HEADER_VALUE.fullmatch(api_key):
        raise InvalidRequest("the API key must be printable ASCII without spaces")
    return {"X-API-Key": api_key}


class _Server:
    def __init__(self, client: httpx2.AsyncClient, params: Mapping[str, Any], limits: ImageLimits) -> None:
        self._client = client
        self._url = str(client.base_url.copy_with(userinfo=b"")).rstrip("/")  # it is going to be printed
        self._limits = limits
        self._target = params.get("target", Target.WHOLE_IMAGE)
        self._model = params.get("model")
        task = {"operation_id": TASK_ID, "type": OPERATION, "params": dict(params)}
        self._form = {"tasks_json": json.dumps([task])}
        self._not_before = 0.0
        self._has_answered = False

    async def check(self) -> None:
        """Raises RunEnded unless the server says that it can do what is going to be asked."""
        response = await self._ask("GET", _OPERATIONS)
        self._admit(response)
        try:
            operation = response.json()["operations"].get(OPERATION)
            targets = operation["allowed_targets"] if operation else ()
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._stranger() from None
        if operation is None:
            raise RunEnded(f"the server at {self._url} has no operation {OPERATION}")
        if self._target not in targets:
            raise RunEnded(
                f"the server at {self._url} describes no {self._target}, only {', '.join(targets)}"
            )
        able = [
            model["name"] for model in await self._models() if Capability.CAPTION in model["capabilities"]
        ]
        if self._model is not None and able and self._model not in able:
            raise RunEnded(f"the server at {self._url} has no model {self._model!r}, only {', '.join(able)}")

    async def describe(self, image: Path) -> Description:
        """See ``Describer``."""
        data = await asyncio.to_thread(read_image, str(image), self._limits.max_bytes)
        self._limits.check_bytes(len(data))
        # Names may hold bytes that are no text; media types are a courtesy to servers that look at them.
        name = image.name.encode("utf-8", "replace").decode()
        kind = mimetypes.guess_type(name)[0] or "image/jpeg"
        response = await self._ask("POST", _UPLOAD, data=self._form, files={"image_file": (name, data, kind)})
        if response.status_code in _ABOUT_THE_IMAGE:
            raise SightlineError(_said(response))
        self._admit(response)
        return await self._read(response)

    async def _read(self, response: httpx2.Response) -> Description:
        try:
            result = response.json()["results"][TASK_ID]
            status, text, message = result["status"], result.get("data"), str(result.get("error_message"))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._stranger() from None
        if status == "success" and isinstance(text, str):
            warning = response.headers.get("x-sightline-warning")
            return Description(text, (warning,) if warning else ())
        if status == "skipped":
            if self._target == Target.PROMINENT_FACE:
                raise TargetNotFound(message)
            raise RunEnded(f"the server at {self._url} says: {message}")  # only faces can be missing
        await self._end_if_shared(message)
        raise SightlineError(message)

    async def _end_if_shared(self, message: str) -> None:
        """Raise RunEnded if a task failed because of a model that does not load.

        The contract has no codes, but Sightline lists its models with what their last load said.
        """
        for model in await self._models():
            if model["problem"] and model["problem"] in message:
                raise RunEnded(f"the server at {self._url} says: {model['problem']}")

    async def _models(self) -> list[dict[str, Any]]:
        """The server's models; none for one that is not Sightline."""
        try:
            models = (await self._client.get(_MODELS)).json()["models"]
            return [{key: model[key] for key in ("name", "capabilities", "problem")} for model in models]
        except (httpx2.HTTPError, ValueError, LookupError, TypeError):
            return []

    # -- getting an answer ---------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """An answer worth reading, however often that means asking.

        Raises:
            RunEnded: the server is gone, or busy beyond patience.
            SightlineError: it does not answer for this image.
        """
        started = time.monotonic()
        for attempt in itertools.count(1):
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            asked_to_wait_s = 0.0
            try:
                response = await self._client.request(method, path, **content)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
                patience = _GONE if self._has_answered else _NEVER_THERE
                said = f"no server answers at {self._url}{_because(error)}"
            except httpx2.RequestError as error:
                patience, said = _LOST, f"the server did not finish its answer{_because(error)}"
            else:
                self._has_answered = True
                if response.status_code not in _PATIENCE:
                    return response
                patience, said = _PATIENCE[response.status_code], f"the server says: {_said(response)}"
                asked_to_wait_s = _retry_after_s(response)
            pause_s = max(asked_to_wait_s, min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
            again_at = time.monotonic() + pause_s
            if attempt >= patience.tries or again_at - started > patience.seconds:
                raise RunEnded(said) if patience.ends_run else SightlineError(said)
            # All wait for what concerns all.
            self._not_before = max(self._not_before, again_at) if patience.ends_run else self._not_before
            await asyncio.sleep(0 if patience.ends_run else pause_s)
        raise AssertionError("unreachable")

    def _admit(self, response: httpx2.Response) -> None:
        """Raise RunEnded for an answer that any other image would get too."""
        if response.status_code in (401, 403):
            raise RunEnded(f"the server at {self._url} wants an API key: --api-key or SIGHTLINE_API_KEY")
        if response.status_code != 200:
            raise self._stranger(f" (HTTP {response.status_code})")

    def _stranger(self, detail: str = "") -> RunEnded:
        return RunEnded(
            f"what answers at {self._url} is not a server of this kind{detail}; is the URL right?"
        )


def _said(response: httpx2.Response) -> str:
    """A refusal's own words, or its status."""
    try:
        detail = response.json()["detail"]
    except (ValueError, LookupError, TypeError):
        detail = None
    return detail if isinstance(detail, str) and detail else f"HTTP {response.status_code}"


def _because(error: Exception) -> str:
    words = str(error) or type(error).__name__
    return f" ({words})"


def _retry_after_s(response: httpx2.Response) -> float:
    """``Retry-After`` in seconds: a number or a date (RFC 9110, 10.2.3); 0 if there is none."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdigit() and value.isascii():
        return float(value[:9])
    try:
        at = email.utils.parsedate_to_datetime(value)
        return max(0.0, at.timestamp() - time.time())
    except ValueError:
        return 0.0
