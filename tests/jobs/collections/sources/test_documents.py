"""The fetching itself; what a service's documents mean is in test_service.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sightline import __version__
from sightline.errors import ExamplesUnreachable
from sightline.fetching import FetchPolicy
from sightline.jobs.collections.sources.documents import Documents, Patience
from sightline.settings import Settings


async def test_a_document_below_a_path(service, policy, patience) -> None:
    service.pages["/some/where/list.json"] = b"[1]"
    async with Documents(f"{service.url}/some/where/", policy, patience=patience) as documents:
        assert documents.base == f"{service.url}/some/where"
        assert await documents.fetch("list.json", 100) == b"[1]"


async def test_a_redirect_leads_on(service, policy, patience) -> None:
    service.pages["/list.json"] = [(301, b"")]
    service.pages["/moved"] = b"[2]"
    service.headers = {"Location": "/moved"}
    async with Documents(service.url, policy, patience=patience) as documents:
        assert await documents.fetch("list.json", 100) == b"[2]"
    assert service.asked == ["/list.json", "/moved"]


async def test_a_document_of_exactly_the_cap_is_read(service, policy, patience) -> None:
    service.pages["/x"] = b"a" * 1000
    async with Documents(service.url, policy, patience=patience) as documents:
        assert len(await documents.fetch("x", 1000)) == 1000
        with pytest.raises(ExamplesUnreachable, match="longer than"):
            await documents.fetch("x", 999)


async def test_a_named_time_is_waited_for_but_not_for_ever(service, policy, patience) -> None:
    service.pages["/x"] = [(429, b""), (200, b"[]")]
    service.headers = {"Retry-After": "86400"}
    async with Documents(service.url, policy, patience=patience) as documents, asyncio.timeout(600):
        assert await documents.fetch("x", 10) == b"[]"


async def test_silence_ends(policy) -> None:
    handlers: list[asyncio.Task[None] | None] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    patience = Patience(timeout_s=30.0, idle_timeout_s=0.05, attempts=2, pause_s=0.001)
    async with server, Documents(f"http://127.0.0.1:{port}", policy, patience=patience) as documents:
        with pytest.raises(ExamplesUnreachable, match=r"did not answer \(ReadTimeout\), 2 times"):
            await documents.fetch("x", 10)
        hasty = replace(patience, idle_timeout_s=30.0, timeout_s=0.05)
        async with Documents(f"http://127.0.0.1:{port}", policy, patience=hasty) as other:
            with pytest.raises(ExamplesUnreachable, match=r"did not arrive within 0\.05 s"):
                await other.fetch("x", 10)
    await asyncio.gather(*(each for each in handlers if each))


async def test_a_broken_answer_is_a_passing_trouble(policy, patience) -> None:
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1", b"nonsense\r\n\r\n"]
    answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[3]")
    heads: list[bytes] = []
    handlers: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers[len(heads) - 1])
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Documents(f"http://127.0.0.1:{port}", policy, patience=patience) as documents:
        assert await documents.fetch("x", 10) == b"[3]"
    await asyncio.gather(*(each for each in handlers if each))
    head = heads[0].decode().lower()
    assert f"user-agent: sightline/{__version__}" in head
    assert "accept-encoding: identity" in head


async def test_only_the_typed_port_is_opened_beside_the_settings(service, patience) -> None:
    closed = FetchPolicy.from_settings(Settings(fetch_allow_networks=("127.0.0.0/8",)))
    service.pages["/x"] = [(302, b"")]
    service.headers = {"Location": f"http://127.0.0.1:{service.port + 1}/y"}
    async with Documents(service.url, closed, patience=patience) as documents:
        with pytest.raises(ExamplesUnreachable, match="port is not allowed"):
            await documents.fetch("x", 10)
