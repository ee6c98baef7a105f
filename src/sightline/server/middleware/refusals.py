"""Saying no to a request whose body nobody is going to read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.server.middleware.scopes import header_values, log_of
from sightline.server.problems import error_response

# uvicorn reads this far ahead by itself; a rest that short is swallowed and the connection stays usable.
READ_AHEAD_BYTES = 64 * 1024
# A socket closed over unread bytes is reset, and a client that is still writing may lose the answer: Node's
# fetch() lost 2 of 3. Half a second is a round trip to anywhere.
LINGER_S = 0.5


def refusal(
    scope: Scope,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    *,
    closes: bool = False,
) -> ASGIApp:
    """Return an error response as the path's contract writes it, and note it in the request's log line.

    It closes the connection when told so, or when a long body is announced: a server that keeps the
    connection would swallow whatever the client still sends, for as long as it likes.
    """
    log_of(scope)["refused"] = code
    response = error_response(scope, status, code, message, dict(headers or {}))
    closes = closes or announces_long_body(scope)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await response(scope, receive, closing(send) if closes else send)

    return answer


def announces_long_body(scope: Scope) -> bool:
    """Whether the headers promise more body than a server takes in without being asked to, or do not say."""
    if header_values(scope, b"transfer-encoding"):
        return True
    lengths = header_values(scope, b"content-length")
    return any(
        not (len(length) < 10 and length.isdigit()) or int(length) > READ_AHEAD_BYTES for length in lengths
    )


def closing(send: Send) -> Send:
    """``send`` for a response to a client that may be in the middle of its body.

    The response says ``Connection: close``, and its end is held back for a moment after its last byte, with
    nothing read meanwhile, so that the client sees the answer before it sees the connection go.
    """

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
            message = {**message, "headers": [*kept, (b"connection", b"close")]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await send({**message, "more_body": True})
            await asyncio.sleep(LINGER_S)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return send_closing
