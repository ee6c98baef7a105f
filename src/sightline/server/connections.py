"""Work for a client that may go away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

ValueT = TypeVar("ValueT")


class ClientDisconnected(Exception):
    """The client closed the connection; there is nobody to answer."""


async def while_connected(request: Request, work: Coroutine[Any, Any, ValueT]) -> ValueT:
    """Run ``work``, cancelling it when the client goes away. Call it once the body has been read.

    Raises:
        ClientDisconnected: the client went away first.
    """
    task = asyncio.ensure_future(work)
    listener = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, listener), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnected
        return task.result()
    finally:
        for future in (task, listener):
            future.cancel()
        await asyncio.gather(task, listener, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
