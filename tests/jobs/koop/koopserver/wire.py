"""HTTP/1.1 on raw streams, because half of what is played here no well-behaved server can be made to do."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """One GET. ``role`` is the host that is played: search, reader or attachments."""

    role: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def readable(self) -> str:
        """Path and query as a person would write them: what patterns are matched with."""
        return unquote(self.target.replace("+", " "))


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent, and how badly.

    Args:
        length: Content-Length when it is not the truth.
        reset_after: bytes of the body after which the connection is reset.
        first_byte_after_s: silence before the status line.
        piece_bytes: the body goes out in pieces of so many bytes ...
        piece_pause_s: ... with such a pause after each.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None
    reset_after: int | None = None
    first_byte_after_s: float = 0.0
    piece_bytes: int | None = None
    piece_pause_s: float = 0.0

    def head(self) -> bytes:
        declared = len(self.body) if self.length is None else self.length
        phrase = HTTPStatus(self.status).phrase
        lines = [f"HTTP/1.1 {self.status} {phrase}", f"Content-Length: {declared}"]
        lines += (f"{name}: {value}" for name, value in self.headers)
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    @property
    def is_whole(self) -> bool:
        """Whether the connection can be used again after it."""
        return self.length in (None, len(self.body)) and self.reset_after is None


Answer = Callable[[Request], Response]


@dataclass
class Listeners:
    """One loopback port per role, served by a thread of their own."""

    roles: tuple[str, ...]
    answer: Answer
    ports: dict[str, int] = field(default_factory=dict)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def start(self, ports: Mapping[str, int] | None = None) -> None:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._serve, args=(dict(ports or {}), started), daemon=True, name="koop-server"
        )
        self._thread.start()
        assert started.wait(20), "the loopback server did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=20)
        assert not self._thread.is_alive(), "the loopback server did not stop"
        self._loop.close()

    def _serve(self, ports: dict[str, int], started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main(ports, started))

    async def _main(self, ports: dict[str, int], started: threading.Event) -> None:
        self._stopping = asyncio.Event()
        servers = []
        for role in self.roles:
            server = await asyncio.start_server(self._connection(role), "127.0.0.1", ports.get(role, 0))
            self.ports[role] = server.sockets[0].getsockname()[1]
            servers.append(server)
        started.set()
        await self._stopping.wait()
        for server in servers:
            server.close()
        # A connection that was accepted just now has its task a turn or two later, and one that was aborted
        # lets go of its socket a turn later: what is left when the loop closes is a warning in a later test.
        for _ in range(5):
            await asyncio.sleep(0)
            for writer in tuple(self._writers):
                writer.transport.abort()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _connection(
        self, role: str
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.add(writer)
            try:
                with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    while await self._turn(role, reader, writer):
                        pass
            finally:
                self._writers.discard(writer)
                writer.close()
                with suppress(ConnectionError, asyncio.CancelledError):
                    await writer.wait_closed()

        return connected

    async def _turn(self, role: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether there may be another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        assert method == "GET", f"only GET is played, not {method}"
        response = self.answer(Request(role, target, headers))
        await _send(response, writer)
        return response.is_whole and headers.get("connection", "").lower() != "close"


async def _send(response: Response, writer: asyncio.StreamWriter) -> None:
    if response.first_byte_after_s:
        await asyncio.sleep(response.first_byte_after_s)
    body = response.body if response.reset_after is None else response.body[: response.reset_after]
    writer.write(response.head())
    step = response.piece_bytes or max(1, len(body))
    for at in range(0, len(body), step):
        writer.write(body[at : at + step])
        await writer.drain()
        if response.piece_pause_s:
            await asyncio.sleep(response.piece_pause_s)
    await writer.drain()
    if response.reset_after is not None:
        # Lingering for no time makes the kernel send a reset instead of an end.
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()
        raise ConnectionResetError
