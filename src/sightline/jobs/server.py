"""A running server, asked with patience: this one, or another that speaks the same contract."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from sightline.errors import InvalidRequest, ModelBroken, ModelUnavailable, SightlineError
from sightline.jobs.describing import RunEnded

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
# Problems of /v1 that waiting does not mend.
_HOPELESS = frozenset({ModelUnavailable.code, ModelBroken.code})

# Its time ran out, perhaps in a queue that is ours.
_TOO_LATE = 504

# Visible ASCII: what a key in a header can be made of.
_HEADER_VALUE = re.compile(r"[!-~]+")


@asynccontextmanager
async def server_at(url: str, api_key: str | None = None) -> AsyncIterator[Server]:
    """The server at ``url``; nothing is sent yet.

    Raises:
        InvalidRequest: the URL or the key cannot be used.
    """
    base, headers = _address(url), _headers(api_key)
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT) as client:
        yield Server(client)


def _address(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidRequest(f"{url!r} is no address of a server; http://127.0.0.1:8000 is")
    return parsed


def _headers(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not _HEADER_VALUE.fullmatch(api_key):
        raise InvalidRequest("the API key must be printable ASCII without spaces")
    return {"X-API-Key": api_key}


class Server:
    """Asks until there is an answer or patience ends. Busy servers are asked again when they said so, or ever
    more slowly, and all who ask wait together. Those that let questions wait too long get fewer at a time."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.url = str(client.base_url.copy_with(userinfo=b"")).rstrip("/")  # it is going to be printed
        self._not_before = 0.0
        self._has_answered = False
        self._places = _Places()

    async def ask(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """An answer worth reading, however often that means asking.

        Raises:
            RunEnded: the server is gone, or busy beyond patience.
            SightlineError: it does not answer for this image.
        """
        started, late = time.monotonic(), 0
        for attempt in itertools.count(1):
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            asked_to_wait_s = 0.0
            try:
                async with self._places.taken():
                    response = await self.client.request(method, path, **content)
                    if response.status_code == _TOO_LATE:
                        late += not self._places.halved()
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
                patience = _GONE if self._has_answered else _NEVER_THERE
                message = f"no server answers at {self.url}{_because(error)}"
            except httpx2.RequestError as error:
                patience, message = _LOST, f"the server did not finish its answer{_because(error)}"
            else:
                self._has_answered = True
                if response.status_code != _TOO_LATE:
                    self._places.widened()
                if response.status_code not in _PATIENCE or code_of(response) in _HOPELESS:
                    return response
                patience, message = _PATIENCE[response.status_code], f"the server says: {said(response)}"
                asked_to_wait_s = _retry_after_s(response)
            pause_s = max(asked_to_wait_s, min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
            again_at = time.monotonic() + pause_s
            if attempt - late >= patience.tries or again_at - started > patience.seconds:
                raise RunEnded(message) if patience.ends_run else SightlineError(message)
            # All wait for what concerns all.
            self._not_before = max(self._not_before, again_at) if patience.ends_run else self._not_before
            await asyncio.sleep(0 if patience.ends_run else pause_s)
        raise AssertionError("unreachable")

    def admit(self, response: httpx2.Response) -> None:
        """Raise RunEnded for an answer that any other image would get too."""
        if response.status_code in (401, 403):
            raise RunEnded(f"the server at {self.url} wants an API key: --api-key or SIGHTLINE_API_KEY")
        if response.status_code != 200:
            detail = _field(response, "detail")
            raise self.stranger(f" (HTTP {response.status_code}{f': {detail}' if detail else ''})")

    def stranger(self, detail: str = "") -> RunEnded:
        """The error for answers that make no sense."""
        return RunEnded(f"what answers at {self.url} is not a server of this kind{detail}; is the URL right?")


class _Places:
    """How many questions may be under way: any number until one comes too late, then half as many, and slowly
    more while none does. A server's own deadline counts the time in its queue."""

    def __init__(self) -> None:
        self._most = math.inf
        self._taken = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._taken + 1 <= self._most)
            self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            async with self._changed:
                self._changed.notify_all()

    def halved(self) -> bool:
        """One came too late. Whether it was the only one under way, which fewer would not have helped."""
        alone = self._taken == 1
        self._most = max(1.0, self._taken / 2)
        return alone

    def widened(self) -> None:
        """One came in time."""
        self._most += 1 / self._most


def said(response: httpx2.Response) -> str:
    """A refusal's own words, or its status."""
    return _field(response, "detail") or f"HTTP {response.status_code}"


def code_of(response: httpx2.Response) -> str | None:
    """The code of a problem of ``/v1``; None for any other answer."""
    return _field(response, "code")


def _field(response: httpx2.Response, name: str) -> str | None:
    try:
        value = response.json()[name]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) and value else None


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
