"""Bounds on request bodies: how large, how slow, in what encoding, and how much of all together."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.errors import InvalidRequest, Overloaded, PayloadTooLarge, UnsupportedContent
from sightline.server.middleware.refusals import announces_long_body, closing, refusal
from sightline.server.middleware.scopes import header_values, path_of

# imgproxy's read timeout; the longest pause of docs/limits.md.
FIRST_BYTE_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0
# 128 kbit/s. Apache demands 4 kbit/s (RequestReadTimeout), at which 64 MiB would be under way for 37 hours.
MIN_BYTES_PER_S = 16 * 1024
# Bodies are under way for about as long as a request: seconds.
BUSY_RETRY_AFTER_S = 5

# More digits than any limit has; also keeps int() away from numbers made to be slow.
_LONGEST_LENGTH = 18


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """Bounds for one body. Times count waiting for the client only.

    A client has ``body_timeout_s`` to spend. Each byte earns it 1 / ``min_bytes_per_s`` back, up to that:
    a pause ends the request after ``body_timeout_s``, and so does a rate below the minimum, sooner or later.
    """

    max_bytes: int
    first_byte_timeout_s: float
    body_timeout_s: float
    min_bytes_per_s: float


class BodyBudget:
    """Bytes of request bodies that one process holds at the same time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    def has_room_for(self, num_bytes: int) -> bool:
        """Whether so many bytes more fit now. A body that comes alone always does."""
        return not self._held_bytes or self._held_bytes + num_bytes <= self._max_bytes

    def take(self, num_bytes: int) -> None:
        self._held_bytes += num_bytes

    def give_back(self, num_bytes: int) -> None:
        self._held_bytes -= num_bytes


class BodyLimit:
    """Refuses bodies that are compressed (415), too large (413) or too slow (408), and closes the connection.
    A body that does not fit in ``budget`` beside those of other requests is a 429.

    What the headers give away is refused before a byte is read; the rest by counting, at most one received
    chunk past the limit. The refusal goes out at once; the app then sees a client that disconnected, and what
    it still sends is dropped. A response that had begun by then is left unfinished, which closes the
    connection: the client cannot take it for a whole one.

    ``max_bytes_by_prefix`` gives paths limits of their own, for a path and all below it; the longest prefix
    wins. A response that begins while a long body is not read to its end closes the connection as well.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        max_bytes_by_prefix: Mapping[str, int] | None = None,
        first_byte_timeout_s: float = FIRST_BYTE_TIMEOUT_S,
        body_timeout_s: float = BODY_TIMEOUT_S,
        min_bytes_per_s: float = MIN_BYTES_PER_S,
        budget: BodyBudget | None = None,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        by_prefix = {prefix.rstrip("/"): limit for prefix, limit in (max_bytes_by_prefix or {}).items()}
        self._by_prefix = sorted(by_prefix.items(), key=lambda item: len(item[0]), reverse=True)
        self._first_byte_timeout_s = first_byte_timeout_s
        self._body_timeout_s = body_timeout_s
        self._min_bytes_per_s = min_bytes_per_s
        self._budget = budget or BodyBudget(sys.maxsize)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._limit(path_of(scope))
        if response := _refused_by_headers(scope, max_bytes, self._budget):
            await response(scope, receive, send)
            return
        bounds = BodyBounds(
            max_bytes, self._first_byte_timeout_s, self._body_timeout_s, self._min_bytes_per_s
        )
        exchange = _Exchange(scope, receive, send, bounds, self._budget)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            # After a refusal an app fails because its client seems gone; the client has its answer.
            if not exchange.refused:
                raise
        finally:
            self._budget.give_back(exchange.num_bytes)

    def _limit(self, path: str) -> int:
        for prefix, limit in self._by_prefix:
            if path == prefix or path.startswith(prefix + "/"):
                return limit
        return self._max_bytes


class _Exchange:
    """One request and its response, with the bounds kept."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, bounds: BodyBounds, budget: BodyBudget
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._bounds = bounds
        self._budget = budget
        self._left_s = bounds.body_timeout_s
        self.num_bytes = 0
        self._body_ended = False
        self._response_started = False
        self.refused = False

    async def receive(self) -> Message:
        if self.refused:
            return {"type": "http.disconnect"}
        if self._body_ended:
            return await self._receive()
        message = await self._receive_in_time()
        if message is None:
            await self._refuse(_too_slow(self._scope, self.num_bytes, self._bounds))
            return {"type": "http.disconnect"}
        num_bytes = len(message.get("body", b""))
        fits = self._budget.has_room_for(num_bytes)
        self._count(num_bytes)
        # A client that left sends no more either, and nobody need wait for it to hear the answer.
        self._body_ended = not message.get("more_body", False)
        if self.num_bytes > self._bounds.max_bytes:
            await self._refuse(_too_large(self._scope, self._bounds.max_bytes))
            return {"type": "http.disconnect"}
        if not fits:
            await self._refuse(_too_many(self._scope))
            return {"type": "http.disconnect"}
        return message

    def _count(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        self._budget.take(num_bytes)
        earned_s = num_bytes / self._bounds.min_bytes_per_s
        self._left_s = min(self._bounds.body_timeout_s, self._left_s + earned_s)

    async def _receive_in_time(self) -> Message | None:
        """The next message, or None when the client took too long over it."""
        left_s = self._left_s
        if self.num_bytes == 0:
            left_s -= max(0.0, self._bounds.body_timeout_s - self._bounds.first_byte_timeout_s)
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left_s)) as limit:
                return await self._receive()
        except TimeoutError:
            if not limit.expired():
                raise
            return None
        finally:
            self._left_s -= time.monotonic() - started

    async def _refuse(self, response: ASGIApp) -> None:
        self.refused = True
        if not self._response_started:
            self._response_started = True
            await response(self._scope, self._receive, self._send)

    async def send(self, message: Message) -> None:
        if self.refused:
            return
        if message["type"] == "http.response.start":
            self._response_started = True
            if announces_long_body(self._scope) and not self._body_ended:
                self._send = closing(self._send)
        await self._send(message)


def _refused_by_headers(scope: Scope, max_bytes: int, budget: BodyBudget) -> ASGIApp | None:
    encodings = [
        part.strip().lower()
        for value in header_values(scope, b"content-encoding")
        for part in value.split(b",")
    ]
    if any(encoding not in (b"", b"identity") for encoding in encodings):
        return refusal(
            scope,
            415,
            UnsupportedContent.code,
            "compressed bodies are not read; send it without Content-Encoding",
            {"Accept-Encoding": "identity"},  # RFC 9110, 12.5.3: what would have been read
            closes=True,
        )
    for length in header_values(scope, b"content-length"):
        if not length.isdigit():
            return refusal(scope, 400, InvalidRequest.code, "Content-Length is not a number", closes=True)
        if len(length) > _LONGEST_LENGTH or int(length) > max_bytes:
            return _too_large(scope, max_bytes)
        if not budget.has_room_for(int(length)):
            return _too_many(scope)
    return None


def _too_large(scope: Scope, max_bytes: int) -> ASGIApp:
    message = f"the request body is larger than the {max_bytes} bytes accepted here"
    return refusal(scope, 413, PayloadTooLarge.code, message, closes=True)


def _too_many(scope: Scope) -> ASGIApp:
    message = "other requests hold as many bytes as this server takes at the same time; try again later"
    headers = {"Retry-After": str(BUSY_RETRY_AFTER_S)}
    return refusal(scope, 429, Overloaded.code, message, headers, closes=True)


def _too_slow(scope: Scope, num_bytes: int, bounds: BodyBounds) -> ASGIApp:
    if num_bytes == 0:
        message = f"the request body did not begin within {bounds.first_byte_timeout_s:g} s"
    else:
        message = (
            f"the request body arrived too slowly; expected {bounds.min_bytes_per_s:g} bytes per second and "
            f"no pause of {bounds.body_timeout_s:g} s"
        )
    return refusal(scope, 408, "request_timeout", message, closes=True)
