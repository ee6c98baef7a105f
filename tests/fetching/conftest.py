"""Real servers on loopback, and a witness of every connect call of this process."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

import pytest
import trustme

from sightline.fetching import Fetcher, FetchPolicy, Resolver

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]

_witnesses: list[list[Any]] = []


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        for witness in _witnesses:
            witness.append(arguments[1][0])


sys.addaudithook(_on_audit)


@pytest.fixture
def connects() -> Iterator[list[Any]]:
    """Hosts this process asks the kernel to connect to, told by the interpreter itself."""
    witness: list[Any] = []
    _witnesses.append(witness)
    yield witness
    _witnesses.remove(witness)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Signs the certificate of ``photos.example``; nobody trusts it unless told to."""
    return trustme.CA()


@dataclass
class Server:
    """A raw server: ``answer`` is sent (or called) once the request's head is in."""

    answer: bytes | Answer
    port: int = 0
    heads: list[str] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    connections: int = 0
    closed_by_client: int = 0

    @property
    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(head, writer)
            # An answer that ends with the connection has closed the writer itself; else the client closes.
            while await reader.read(65536):
                pass
        self.closed_by_client += 1
        writer.close()
        with suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await writer.wait_closed()

    async def all_closed(self) -> None:
        """Every connection that was opened has been closed again."""
        async with asyncio.timeout(2):
            while self.closed_by_client < self.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
async def serve(authority: trustme.CA) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """``await serve(answer, tls=False)``. At the end no client may have left a connection open."""
    running: list[tuple[Server, asyncio.Server]] = []

    async def start(answer: bytes | Answer, *, tls: bool = False) -> Server:
        server = Server(answer)
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("photos.example").configure_cert(context)
            context.sni_callback = lambda _socket, name, _context: server.server_names.append(name)
        listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=context)
        server.port = listener.sockets[0].getsockname()[1]
        running.append((server, listener))
        return server

    yield start
    for server, listener in running:
        await server.all_closed()
        listener.close()
        await listener.wait_closed()


@pytest.fixture
def policy() -> Callable[..., FetchPolicy]:
    """A policy with short clocks that opens 127.0.0.0/8; keywords override."""
    base = FetchPolicy(
        timeout_s=2.0,
        connect_timeout_s=1.0,
        dns_timeout_s=0.5,
        idle_timeout_s=1.0,
        max_redirects=3,
        ports=(80, 443),
        allow_networks=(ip_network("127.0.0.0/8"),),
    )
    return lambda **changes: replace(base, **changes)


@pytest.fixture
def resolve() -> Callable[..., Resolver]:
    """A resolver that gives these answers, one list per call (the last one for ever), and notes questions."""

    def build(*answers: list[str]) -> Resolver:
        async def resolver(host: str, port: int) -> list[str]:
            asked.append((host, port))
            return answers[min(len(asked), len(answers)) - 1]

        asked: list[tuple[str, int]] = []
        resolver.asked = asked  # type: ignore[attr-defined]
        return resolver

    return build


@pytest.fixture
async def fetcher(policy: Callable[..., FetchPolicy]) -> AsyncIterator[Callable[..., Fetcher]]:
    """``fetcher(server, ...)``: one that may reach these servers; keywords: resolver, and the policy's."""
    made: list[Fetcher] = []

    def build(*servers: Server, resolver: Resolver | None = None, **changes: Any) -> Fetcher:
        changes.setdefault("ports", tuple(server.port for server in servers))
        made.append(Fetcher(policy(**changes), resolver=resolver))
        return made[-1]

    yield build
    for each in made:
        await each.aclose()


@pytest.fixture
def ok() -> Callable[..., bytes]:
    """A plain response: status line, given header lines, body with its length."""

    def build(body: bytes = b"pixels", *headers: str, status: str = "200 OK") -> bytes:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    return build
