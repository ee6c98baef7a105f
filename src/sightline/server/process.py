"""The server process: how it stops, and how many files it may open."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from sightline.server import systemd
from sightline.settings import Settings

_log = logging.getLogger(__name__)

# Sockets the kernel accepts for us before the loop counts them against the connection limit.
BACKLOG = 256
# Model files, libraries, temporary files and sockets to other services.
OTHER_FILES = 256
# After the grace period: telling cut requests so, then closing models and threads. With the default settings
# the process has ended 28 s after SIGTERM, inside the 30 s that Kubernetes allows.
CUT_REQUESTS_S = 1.0
WIND_DOWN_S = 2.5
SECOND_SIGNAL_S = 1.0


class Server(uvicorn.Server):
    """Uvicorn that serves on for ``lame_duck_s`` after SIGTERM and always ends in time.

    Requests that are not finished after ``shutdown_grace_s`` are cancelled, which ``RequestLog`` answers with
    503. A thread that is stuck (in a decoder, in a driver) cannot be cancelled: the process ends without it.
    A second signal ends it at once. systemd's watchdog is fed while ``is_alive`` returns True.
    ``first_question`` is the path that the first log line advises to try.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        begin_drain: Callable[[], None],
        is_alive: Callable[[], bool] = lambda: True,
        first_question: str = "/v1/analyze",
    ) -> None:
        super().__init__(config)
        self._lame_duck_s = settings.lame_duck_s
        self._grace_s = settings.shutdown_grace_s
        self._has_pages = settings.web_pages
        self._first_question = first_question
        self._begin_drain = begin_drain
        self._is_alive = is_alive
        self._signalled = False
        self._watchdog: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - any address: say one that works
            base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            pages = f"open {base}/ in a browser, or " if self._has_pages else ""
            _log.info("ready: %stry curl -F image=@photo.jpg %s%s", pages, base, self._first_question)
            systemd.notify("READY=1")
            self._watchdog = asyncio.create_task(systemd.keep_alive(self._is_alive))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Uvicorn's own would raise the signal again at the end, and the process exit with 143 instead of 0.
        if self._signalled:
            self.force_exit = True
            _end_process_in(SECOND_SIGNAL_S)
            self._close_door()
            return
        self._signalled = True
        systemd.notify("STOPPING=1")
        self._begin_drain()
        lame_duck_s = self._lame_duck_s if sig == signal.SIGTERM else 0.0
        _end_process_in(lame_duck_s + self._grace_s + WIND_DOWN_S)
        if lame_duck_s:
            _log.info("draining: not ready from now, closing in %.0f s", lame_duck_s)
            asyncio.get_event_loop().call_later(lame_duck_s, self._close_door)
        else:
            self._close_door()

    def _close_door(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door, let requests finish, cut those that do not, and stop the app."""
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        await self._finished(self._grace_s)
        if tasks := set(state.tasks):
            _log.warning("cutting %d requests that are not finished after %g s", len(tasks), self._grace_s)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CUT_REQUESTS_S)
        if not self.force_exit:
            await self.lifespan.shutdown()
        if self._watchdog is not None:
            self._watchdog.cancel()

    async def _finished(self, within_s: float) -> None:
        """Wait until every response is sent, a second signal comes, or time is up."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        while (self.server_state.connections or self.server_state.tasks) and not self.force_exit:
            if loop.time() >= until_s:
                return
            await asyncio.sleep(0.05)


def connections_within(most: int) -> int:
    """Return how many connections the limit on open files allows, ``most`` at best.

    Raise the process's own limit first, as far as the system lets it.
    """
    if sys.platform == "win32":  # sockets are no files there
        return most
    import resource

    needed = most + BACKLOG + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return most
    allowed = soft - min(BACKLOG + OTHER_FILES, soft // 2)
    _log.warning(
        "at most %d connections instead of %d: this process may open %d files; raise the limit (ulimit -n)",
        allowed, most, soft,
    )  # fmt: skip
    return min(allowed, most)


def _end_process_in(delay_s: float) -> None:
    """End this process then, whatever its threads do. Has no effect if it ended by itself before."""
    timer = threading.Timer(delay_s, _end_process)
    timer.daemon = True
    timer.start()


def _end_process() -> None:
    _log.warning("ending now: work that cannot be cancelled is still under way")
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(0)
