"""Threads for calls that may hang: a download from a silent server, a decoder at a hostile file.

They are daemons: whoever closes waits so long for them and no longer, and the process can end meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# A server that stops has a few seconds besides those it gives to its requests.
CLOSE_TIMEOUT_S = 2.0


class DaemonThreads:
    """Runs calls of one event loop, ``most`` at a time, each on a thread of its own."""

    def __init__(self, most: int, name: str) -> None:
        self._turns = asyncio.Semaphore(most)
        self._name = name
        self._running: set[asyncio.Future[Any]] = set()

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function`` on a thread. A cancelled caller leaves the thread running."""
        async with self._turns:
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[Any] = loop.create_future()
            ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # always retrieved
            ended.add_done_callback(self._running.discard)
            self._running.add(ended)
            threading.Thread(
                target=_call, args=(loop, ended, function, arguments), name=self._name, daemon=True
            ).start()
            return await asyncio.shield(ended)

    async def join(self, timeout_s: float) -> bool:
        """Wait for the threads that run; False if some still do after that time."""
        if not self._running:
            return True
        _, running = await asyncio.wait(self._running, timeout=timeout_s)
        return not running


def _call(
    loop: asyncio.AbstractEventLoop,
    ended: asyncio.Future[Any],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    value, error = None, None
    try:
        value = function(*arguments)
    except BaseException as raised:  # the caller's to judge
        error = raised
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_settle, ended, value, error)
    # A traceback in a log record may keep this frame, and it would keep whoever the error was raised to.
    del value, error, ended


def _settle(ended: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if error is None:
        ended.set_result(value)
    else:
        ended.set_exception(error)
