"""One log line, one set of metrics and one id per request; what escapes a handler becomes a 500 here."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.errors import SightlineError
from sightline.server.logs import request_id as current_request_id
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import header_values, log_of

_access = logging.getLogger("sightline.access")
_log = logging.getLogger(__name__)

# The form imgproxy accepts: nothing in it can break a log line, a header or a shell.
REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
UNMATCHED_ROUTE = "unmatched"
# nginx's number for a client that closed the connection before it had its answer.
CLIENT_CLOSED = 499

Observe = Callable[[str, str, int, float], None]


class RequestLog:
    """Names requests and says at their end, once, what became of them.

    The id is the client's ``X-Request-ID`` where it fits ``[A-Za-z0-9_-]{1,64}``, else a new one. It is in
    ``scope["state"]["request_id"]``, on the response, and on every log line written meanwhile. Handlers add
    to the line through ``scope["state"]["log"]``, a dict; query strings, keys, file names and anything read
    in a picture have no place there.

    ``observe(route template, method, status, seconds)`` is called for each request. The route is that of
    ``scope["route"]`` or "unmatched", the method a usual one or "other", the status 499 for a client that
    left before its answer was complete. An exception that escapes the app is logged and, if nothing was sent
    yet, answered with 500; it goes no further. Servers cancel requests when they stop: those
    are answered with 503, and the cancellation goes on.
    """

    def __init__(self, app: ASGIApp, *, observe: Observe | None = None) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = identity
        scope["state"]["log"] = {}
        exchange = _Exchange(identity, receive, send)
        token = current_request_id.set(identity)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            await _answer_cut(scope, exchange)
            raise
        except Exception as error:
            await _answer_failure(scope, exchange, error)
        finally:
            self._finish(scope, exchange)
            current_request_id.reset(token)

    def _finish(self, scope: Scope, exchange: _Exchange) -> None:
        total_s = exchange.total_s
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        route = getattr(scope.get("route"), "path", None) or UNMATCHED_ROUTE
        status = exchange.outcome
        fields: dict[str, Any] = {
            "request_id": exchange.request_id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(total_s * 1000, 2),
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
        }
        fields = {**fields, **{key: value for key, value in log_of(scope).items() if key not in fields}}
        level = logging.WARNING if status >= 500 else logging.INFO
        _access.log(level, "%s %s %d", method, route, status, extra={"fields": fields})
        if self._observe is not None:
            self._observe(route, method, status, total_s)


class _Exchange:
    """Counts what goes through, and notices a client that leaves."""

    def __init__(self, request_id: str, receive: Receive, send: Send) -> None:
        self.request_id = request_id
        self._started_at = time.monotonic()
        self._answered_at: float | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.status = 0
        self.client_left = False
        self._receive = receive
        self._send = send
        self._body_ended = False
        self._complete = False
        self._declared_bytes: int | None = None

    @property
    def outcome(self) -> int:
        """The status to report; a response that never began is the server's 500."""
        return CLIENT_CLOSED if self.client_left else self.status or 500

    @property
    def total_s(self) -> float:
        """Seconds until the answer's last byte was out; holding the connection after it does not count."""
        return (self._answered_at or time.monotonic()) - self._started_at

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
            self._body_ended = not message.get("more_body", False)
        elif message["type"] == "http.disconnect" and not self._complete:
            self.client_left = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            lengths = [
                value for name, value in message.get("headers", ()) if name.lower() == b"content-length"
            ]
            self._declared_bytes = int(lengths[0]) if lengths else None
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"x-request-id"]
            headers.append((b"x-request-id", self.request_id.encode("ascii")))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
            # A client that has all of a declared length may close, also where the end is still held back.
            ends = not message.get("more_body", False) or self.bytes_out == self._declared_bytes
            if ends and not self._complete:
                await self._look_for_client()
                self._complete = True
        await self._send(message)
        if message.get("body") or not self._answered_at:
            self._answered_at = time.monotonic()

    async def _look_for_client(self) -> None:
        """Servers drop what is sent to a client that left without saying so; only receiving tells.

        Not before the body was read to its end: receiving would take a piece of it away from the app.
        """
        if self._body_ended and not self.client_left:
            try:
                async with asyncio.timeout(0):
                    await self.receive()
            except TimeoutError:
                return


async def _answer_failure(scope: Scope, exchange: _Exchange, error: Exception) -> None:
    if exchange.client_left:
        return  # whatever went wrong, it went wrong for nobody
    _log.error("unhandled error", exc_info=error)
    if not exchange.status:
        response = refusal(
            scope, 500, SightlineError.code, "internal error; the server's log has the details"
        )
        await response(scope, exchange.receive, exchange.send)


async def _answer_cut(scope: Scope, exchange: _Exchange) -> None:
    """Answer a request that the server cancels while it stops; a response that had begun stays incomplete."""
    if exchange.client_left or exchange.status:
        return
    response = refusal(
        scope,
        503,
        "shutting_down",
        "the server is shutting down; send the request again",
        {"Retry-After": "1", "Connection": "close"},
    )
    await response(scope, exchange.receive, exchange.send)


def _request_id(scope: Scope) -> str:
    given = header_values(scope, b"x-request-id")
    if len(given) == 1 and REQUEST_ID.fullmatch(given[0]):
        return given[0].decode("ascii")
    return uuid.uuid4().hex
