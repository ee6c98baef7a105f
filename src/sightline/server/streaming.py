"""Answers as server-sent events: pieces of text while they are generated, then the whole response."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pydantic_core
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from sightline.capabilities.question import listening
from sightline.errors import SightlineError
from sightline.server import problems
from sightline.server.connections import ClientDisconnected, while_connected

_log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
# Proxies end connections that are silent for 30 to 60 s.
KEEP_ALIVE_S = 10.0


def wants_events(request: Request) -> bool:
    """Whether the request accepts server-sent events rather than JSON."""
    return MEDIA_TYPE in request.headers.get("accept", "").lower()


def event_response(request: Request, work: Coroutine[Any, Any, Any]) -> Response:
    """Answer with the events of ``work``: ``piece``, ``restart``, and ``result`` or ``problem`` at the end.

    ``work`` is cancelled when the client leaves.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(request, work), media_type=MEDIA_TYPE, headers=headers)


async def _events(request: Request, work: Coroutine[Any, Any, Any]) -> AsyncIterator[bytes]:
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    with listening(pieces.put_nowait):
        working = asyncio.ensure_future(while_connected(request, work))
    try:
        while not working.done() or not pieces.empty():
            waiting = asyncio.ensure_future(pieces.get())
            await asyncio.wait((working, waiting), timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                piece = waiting.result()
                yield _event("restart", {}) if piece is None else _event("piece", {"text": piece})
                continue
            waiting.cancel()
            if not working.done():
                yield b": keep-alive\n\n"
        if (end := _end(request, working)) is not None:
            yield end
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _end(request: Request, working: asyncio.Future[Any]) -> bytes | None:
    try:
        return _event("result", working.result())
    except ClientDisconnected:
        return None
    except SightlineError as error:
        return _problem(request, error)
    except Exception:
        _log.exception("a streamed response")
        return _problem(request, SightlineError("internal error; the server's log has the details"))


def _problem(request: Request, error: SightlineError) -> bytes:
    refused = problems.Refusal(
        problems.status_of(error), error.code, str(error), request_id=problems.request_id_of(request)
    )
    return _event("problem", json.loads(bytes(problems.write_problem(refused).body)))


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), pydantic_core.to_json(data))
