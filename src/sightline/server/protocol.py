"""HTTP/1.1 with bounds on what a client may do before the app sees its request, and after it answered.

uvicorn's protocol reads request heads of any size for as long as a client likes, and writes its own refusals
past the middleware. Here a refusal passes the same middleware as every response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from sightline.errors import InvalidRequest
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import path_of
from sightline.server.open_connections import Ending, OpenConnections

# Apache's LimitRequestFields. Also the figure of gunicorn.
MAX_HEADERS = 100
# Requests that may wait behind one that is under way on the same connection; more are not read.
MAX_PIPELINED = 16
# ": " and the end of the line.
_LINE_OVERHEAD_BYTES = 4
# httptools parses no URL above 64 KiB. Of one that is refused the beginning tells the route's dialect.
_MAX_PATH_BYTES = 1024


@dataclass(frozen=True, slots=True)
class _Fault:
    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, as an ASGI app."""
        response = refusal(scope, self.status, self.code, self.message, self.headers, closes=True)
        await response(scope, receive, send)


_MALFORMED = _Fault(400, InvalidRequest.code, "the request is not valid HTTP/1.1")
_TOO_SLOW = _Fault(408, "request_timeout", "the request line and headers did not arrive in time")
_TOO_MANY = _Fault(
    503,
    "too_many_connections",
    "the server has as many connections as it accepts; try again later",
    {"Retry-After": "1"},
)


class _Refused(Exception):
    """Ends parsing from inside a callback of the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection, within the limits of ``register``.

    A head that is too large is a 431, one that is too slow a 408, a malformed one a 400; each closes the
    connection. A malformed body is an ``InvalidRequest`` that is raised where the app reads it. Trailers are
    read and dropped: they must not change headers that were already checked.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        register: OpenConnections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._register = register
        self._limits = register.limits
        self._above_limit = False
        self._refused = False
        self._fault: _Fault | None = None
        self._malformed: RequestResponseCycle | None = None
        # The head being read. Unclaimed bytes made the parser report nothing: a long line without an end yet.
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._num_headers = 0
        self._unclaimed_bytes = 0
        self._reported = False
        # Times are the event loop's. None: nothing came since the last request ended.
        self._opened_at_s = 0.0
        self._first_byte_at_s: float | None = None
        self._unread_bytes = 0
        self._unread_since_s = 0.0

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    # -- the connection --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._opened_at_s = self._unread_since_s = self.loop.time()
        self._above_limit = not self._register.admit(self)
        if self._above_limit:
            self.app = cast(Any, self._for_probes(cast(ASGIApp, self.app)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._register.remove(self)
        super().connection_lost(exc)

    def close_now(self) -> None:
        self.transport.abort()

    def check(self, now_s: float) -> None:
        """End this connection if its client has been silent, or has not read, for too long."""
        self._check_unread(now_s)
        if self.transport.is_closing() or self._is_working:
            return
        timeout_s = self._limits.head_timeout_s
        if self._first_byte_at_s is None:
            # A connection that was used before has uvicorn's keep-alive timeout.
            if self.cycle is None and now_s - self._opened_at_s > timeout_s:
                self._end_silent()
        elif now_s - self._first_byte_at_s > timeout_s:
            if self._in_head:
                self._refuse(_TOO_SLOW)
            else:
                self._end_silent()

    def _end_silent(self) -> None:
        self._register.ended(Ending.SILENT)
        self.transport.close()

    def _check_unread(self, now_s: float) -> None:
        """A client reads if less than before waits for it. Slow ones do not need to read it all in time."""
        num_bytes = self.transport.get_write_buffer_size()
        if num_bytes == 0 or num_bytes < self._unread_bytes:
            self._unread_since_s = now_s
        elif now_s - self._unread_since_s > self._limits.write_timeout_s:
            self._register.end(self, Ending.UNREAD)
        self._unread_bytes = num_bytes

    def resume_writing(self) -> None:
        self._unread_since_s = self.loop.time()
        super().resume_writing()

    # -- reading ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # read and dropped, or the client would lose the refusal to a reset
        if self._first_byte_at_s is None:
            self._first_byte_at_s = self.loop.time()
        self._unset_keepalive_if_required()
        self._reported = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # the request was taken as plain HTTP/1.1; no other protocol is spoken here
        except httptools.HttpParserError:
            self._refuse(self._fault or _MALFORMED)
            return
        self._unclaimed_bytes = 0 if self._reported else self._unclaimed_bytes + len(data)
        if self._head_bytes + self._unclaimed_bytes > self._limits.head_max_bytes:
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        self._reported = True
        if len(self.pipeline) >= MAX_PIPELINED:
            # The client repeats the rest on another connection (RFC 9112, 9.3.2).
            self._refused = True
            self.cycle.keep_alive = False
            raise _Refused
        self._in_head = True
        self._head_bytes = self._num_headers = 0
        self._first_byte_at_s = self.loop.time()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._num_headers += 1
        self._count(len(name) + len(value) + _LINE_OVERHEAD_BYTES)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._reported = True
        self._register.works(self)
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        if self._above_limit:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._reported = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reported = True
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self.pipeline:
            # The rest of an answered request's body, or half a head, must come in time as well.
            self._first_byte_at_s = self.loop.time() if self._in_head or self._in_body else None
            self._register.waits(self)
        super().on_response_complete()

    @property
    def _is_working(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count(self, num_bytes: int) -> None:
        self._reported = True
        self._head_bytes += num_bytes
        if self._head_bytes > self._limits.head_max_bytes or self._num_headers > MAX_HEADERS:
            self._fault = self._too_large()
            raise _Refused

    def _too_large(self) -> _Fault:
        most = self._limits.head_max_bytes
        message = f"the request line and headers are too large; at most {most} bytes, {MAX_HEADERS} headers"
        return _Fault(431, "headers_too_large", message)

    # -- answering -------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def reading(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_valid() -> Message:
                message = await receive()
                if cycle is self._malformed:
                    raise InvalidRequest("the request body is not valid HTTP/1.1")
                return message

            # The server cancels requests when it stops, and RequestLog answers. This is the end of the task.
            with suppress(asyncio.CancelledError):
                await app(scope, receive_valid, send)

        super()._start_asgi_task(cycle, cast(Any, reading))

    def _refuse(self, fault: _Fault) -> None:
        """Answer what cannot be read any further; the rest of the connection's input is dropped."""
        if self._refused:
            return
        self._refused = True
        if self._in_body:
            if self._is_working:
                self.cycle.keep_alive = False
                self._malformed = self.cycle
                self.cycle.message_event.set()
            else:
                self.transport.close()
            return
        scope = self._scope_of_head()
        self._register.works(self)
        under_way = self._is_working
        self.cycle = RequestResponseCycle(
            scope=cast(Any, scope),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        self.cycle.more_body = False
        app = self._register.wrap(fault)
        if under_way:
            self.pipeline.appendleft((self.cycle, cast(Any, app)))
        else:
            self._start_asgi_task(self.cycle, app)

    def _scope_of_head(self) -> Scope:
        """The scope of a request whose head is not complete: what of it can be told."""
        url = self.url.partition(b"?")[0][:_MAX_PATH_BYTES] if self._in_head else b""
        try:
            path = (httptools.parse_url(url).path or b"/").decode("ascii")
            method = self.parser.get_method().decode("ascii")
        except (httptools.HttpParserError, UnicodeDecodeError):
            path, method = "/", "UNKNOWN"
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "path": self.root_path + path,
            "raw_path": path.encode("ascii"),
            "query_string": b"",
            "headers": list(self.headers) if self._in_head else [],
            "state": self.app_state.copy(),
        }

    def _for_probes(self, app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if path_of(scope) in self._register.probes:
                await app(scope, receive, send)
                return
            await self._register.wrap(_TOO_MANY)(scope, receive, send)

        return answer
