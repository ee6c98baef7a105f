"""Servers that lie, stall, stuff and break off: the fetch ends soon, with the right error and little read."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.errors import FetchError, FetchFailed, FetchTimeout, ImageTooLarge, UrlRefused
from sightline.fetching import Fetcher, Resolver
from sightline.fetching.client import FAILED, TIMED_OUT

LIMIT_BYTES = 1000
OK = b"HTTP/1.1 200 OK\r\n"
Made = Callable[..., Fetcher]


async def _fetch(fetcher: Fetcher, port: int, limit_bytes: int = LIMIT_BYTES) -> bytes:
    return await fetcher.fetch(f"http://127.0.0.1:{port}/", limit_bytes)


@pytest.mark.parametrize("size", [0, 1, LIMIT_BYTES - 1, LIMIT_BYTES])
@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
async def test_bodies_up_to_the_limit(framing: str, size: int, serve: Any, fetcher: Made) -> None:
    body = bytes(n % 251 for n in range(size))

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(_framed(framing, body))
        if framing == "until close":
            writer.close()

    server = await serve(answer)
    assert await _fetch(fetcher(server), server.port) == body


@pytest.mark.parametrize("size", [LIMIT_BYTES + 1, 200_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
async def test_bodies_over_the_limit(framing: str, size: int, serve: Any, fetcher: Made) -> None:
    server = await serve(_framed(framing, bytes(size)))
    with pytest.raises(ImageTooLarge, match="larger than 1000 bytes"):
        await _fetch(fetcher(server), server.port)


def _framed(framing: str, body: bytes) -> bytes:
    if framing == "length":
        return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "until close":
        return b"HTTP/1.0 200 OK\r\n\r\n" + body
    pieces = [body[start : start + 300] for start in range(0, len(body), 300)]
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
async def test_an_endless_body_is_cut_off_at_the_limit(framing: str, serve: Any, fetcher: Made) -> None:
    """Told its length or not, the server gets rid of the limit and what the sockets buffer, no more."""
    sent_bytes = 0

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        start = {"length": b"Content-Length: 900\r\n", "chunked": b"Transfer-Encoding: chunked\r\n"}
        writer.write(OK + start.get(framing, b"") + b"\r\n")
        piece = b"400\r\n" + bytes(1024) + b"\r\n"
        while True:
            writer.write(piece)
            await writer.drain()
            sent_bytes += len(piece)
            await asyncio.sleep(0)

    server = await serve(answer)
    if framing == "length":  # a length too short: the rest is nobody's
        assert len(await _fetch(fetcher(server), server.port)) == 900
    else:
        with pytest.raises(ImageTooLarge):
            await _fetch(fetcher(server), server.port)
    await server.all_closed()
    assert sent_bytes < 20_000_000


async def test_an_announced_length_is_judged_before_the_body(serve: Any, fetcher: Made) -> None:
    server = await serve(OK + b"Content-Length: 1001\r\n\r\n")  # and never a byte
    started_s = time.monotonic()
    with pytest.raises(ImageTooLarge):
        await _fetch(fetcher(server, idle_timeout_s=2.0), server.port)
    assert time.monotonic() - started_s < 1.0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"Content-Length: 100\r\n\r\nshort", id="length too long"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nshort", id="chunk cut off"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", id="no last chunk"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nshort", id="chunk of no size"),
        pytest.param(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n", id="coded"),
        pytest.param(OK + b"Content-Length: -5\r\n\r\nshort", id="length negative"),
        pytest.param(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nshort", id="two lengths"),
        pytest.param(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", id="length astronomical"),
        pytest.param(OK + b"X: " + b"a" * 300_000, id="endless header"),
        pytest.param(OK, id="half a head"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xd8\xff\xe0 not http", id="not http"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="ssh"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc", id="another protocol"),
    ],
)
async def test_answers_that_are_not_right(answer: bytes, serve: Any, fetcher: Made) -> None:
    async def send(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await serve(send)
    with pytest.raises(FetchFailed) as failure:
        await _fetch(fetcher(server), server.port)
    assert str(failure.value) == FAILED


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "GZIP", "identity, gzip", "gzip, gzip", "x"])
async def test_encoded_bodies_are_refused(coding: str, serve: Any, ok: Any, fetcher: Made) -> None:
    server = await serve(ok(gzip.compress(bytes(500)), f"Content-Encoding: {coding}"))
    with pytest.raises(FetchFailed) as failure:
        await _fetch(fetcher(server), server.port)
    assert str(failure.value) == FAILED


async def test_a_second_encoding_line_counts(serve: Any, ok: Any, fetcher: Made) -> None:
    server = await serve(ok(b"x", "content-encoding: identity", "CONTENT-ENCODING: gzip"))
    with pytest.raises(FetchFailed):
        await _fetch(fetcher(server), server.port)


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_identity_is_none(coding: str, serve: Any, ok: Any, fetcher: Made) -> None:
    server = await serve(ok(b"x", f"Content-Encoding: {coding}"))
    assert await _fetch(fetcher(server), server.port) == b"x"


@pytest.mark.parametrize(
    "status", ["206 Partial Content", "300 Choices", "304 Not Modified", "400 Bad", "401 Who", "403 No",
               "404 Not Found", "407 Proxy", "429 Slow", "500 Oops", "503 Later", "599 Odd"]
)  # fmt: skip
async def test_statuses_that_bring_no_image(status: str, serve: Any, ok: Any, fetcher: Made) -> None:
    body = b"" if status.startswith("304") else b"secret page"
    server = await serve(ok(body, "Location: /elsewhere", status=status))
    with pytest.raises(FetchFailed) as failure:
        await _fetch(fetcher(server), server.port)
    assert str(failure.value) == FAILED
    assert server.connections == 1


async def test_one_message_for_every_failure(
    serve: Any, ok: Any, fetcher: Made, resolve: Callable[..., Resolver]
) -> None:
    """Closed port, unknown name, error status, bad answer: nothing tells them apart, nothing names a host."""

    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        closed_port = unused.getsockname()[1]
        server = await serve(ok(status="404 Not Found"))
        cases = [
            (closed_port, resolve(["127.0.0.1"])),
            (server.port, unknown),
            (server.port, resolve([])),
            (server.port, resolve(["127.0.0.1"])),
        ]
        messages = set()
        for port, resolver in cases:
            with pytest.raises(FetchFailed) as failure:
                await fetcher(ports=(port,), resolver=resolver).fetch(f"http://photos.example:{port}/", 10)
            messages.add((failure.value.code, str(failure.value)))
    assert messages == {("fetch_failed", FAILED)}


@pytest.mark.parametrize("stalled", ["head", "half a head", "body"])
async def test_silence(stalled: str, serve: Any, fetcher: Made) -> None:
    answers = {"head": b"", "half a head": OK, "body": OK + b"Content-Length: 9\r\n\r\nhalf"}
    server = await serve(answers[stalled])
    started_s = time.monotonic()
    with pytest.raises(FetchTimeout) as failure:
        await _fetch(fetcher(server, idle_timeout_s=0.1), server.port)
    assert str(failure.value) == TIMED_OUT
    assert time.monotonic() - started_s < 1.0


@pytest.mark.parametrize(
    "start", [b"", OK + b"X: ", OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_drip_is_never_silent_and_still_ends(start: bytes, serve: Any, fetcher: Made) -> None:
    drop = b"1\r\nx\r\n" if b"chunked" in start else b"x" if start else b"HTTP/1.1 100 Continue\r\n\r\n"

    async def drip(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.03)

    server = await serve(drip)
    started_s = time.monotonic()
    with pytest.raises(FetchTimeout):
        await _fetch(fetcher(server, timeout_s=0.3, idle_timeout_s=0.2), server.port)
    assert 0.25 < time.monotonic() - started_s < 1.0


async def test_redirects_share_the_clock(serve: Any, fetcher: Made) -> None:
    async def slow(head: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    server = await serve(slow)
    with pytest.raises(FetchTimeout):
        await _fetch(fetcher(server, timeout_s=0.25), server.port)
    assert server.connections == 2


async def test_slow_names(serve: Any, ok: Any, fetcher: Made) -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    server = await serve(ok())
    with pytest.raises(FetchTimeout):
        await _fetch(fetcher(server, resolver=never, dns_timeout_s=0.05), server.port)


@pytest.mark.parametrize("crumb_bytes", [1, 100])
async def test_a_body_of_crumbs_is_not_put_together(crumb_bytes: int, serve: Any, fetcher: Made) -> None:
    """Pieces cost time however small they are: the event loop is everyone's."""
    crumb = b"%x\r\n%s\r\n" % (crumb_bytes, b"x" * crumb_bytes)
    server = await serve(OK + b"Transfer-Encoding: chunked\r\n\r\n" + crumb * 10_000 + b"0\r\n\r\n")
    with pytest.raises(FetchFailed):
        await _fetch(fetcher(server), server.port, 10_000_000)


async def test_a_body_in_usual_pieces_is(serve: Any, fetcher: Made) -> None:
    stutter, chunk = b"1\r\nx\r\n" * 1000, b"200\r\n" + b"y" * 512 + b"\r\n"
    server = await serve(OK + b"Transfer-Encoding: chunked\r\n\r\n" + stutter + chunk * 6000 + b"0\r\n\r\n")
    body = await _fetch(fetcher(server), server.port, 10_000_000)
    assert body == b"x" * 1000 + b"y" * 512 * 6000


_HOSTILE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_FRAGMENTS = st.sampled_from(
    [OK, b"HTTP/1.1 302 Found\r\n", b"HTTP/1.1 ", b"Location: ", b"http://127.0.0.1/", b"/", b"\r\n",
     b"\r\n\r\n", b"Content-Length: ", b"5", b"Transfer-Encoding: chunked\r\n", b"0\r\n", b"\x00",
     b"Content-Encoding: gzip\r\n", b"\xff\xfe", b":", b" ", b"x" * 2000, b"Connection: keep-alive\r\n"]
)  # fmt: skip


async def _outcome(fetcher: Fetcher, url: str) -> bytes | FetchError | ImageTooLarge:
    """What the contract promises; any other exception fails the test."""
    try:
        return await fetcher.fetch(url, LIMIT_BYTES)
    except (FetchError, ImageTooLarge) as error:
        return error


@pytest.fixture
async def photos(serve: Any, ok: Any, fetcher: Made, resolve: Callable[..., Resolver]) -> tuple[Any, Fetcher]:
    """A server, and a fetcher to which every name is that server."""
    server = await serve(ok())
    return server, fetcher(server, resolver=resolve(["127.0.0.1"]))


@_HOSTILE
@given(pieces=st.lists(st.one_of(_FRAGMENTS, st.binary(max_size=8)), max_size=12))
async def test_any_answer_gives_bytes_or_an_error_of_ours(
    pieces: list[bytes], photos: tuple[Any, Fetcher]
) -> None:
    async def send(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces))
        writer.close()

    server, fetcher = photos
    server.answer = send
    outcome = await _outcome(fetcher, f"http://photos.example:{server.port}/")
    assert len(outcome) <= LIMIT_BYTES if isinstance(outcome, bytes) else "127.0.0.1" not in str(outcome)
    await server.all_closed()


_HOSTS = st.one_of(
    st.sampled_from(
        ["photos.example", "127.0.0.1", "127.1", "0x7f.1", "[::1]", "localhost", "bücher.example"]
    ),
    st.text(max_size=12),
)


@_HOSTILE
@given(
    scheme=st.sampled_from(["http://", "https://", "HTTP://", "file://", "//", "http:", ""]),
    host=_HOSTS,
    port=st.sampled_from(["", ":", ":80", ":{port}", ":{port}"]),
    rest=st.one_of(st.text(max_size=20), st.text("/?#%@:\\. aü\x00\r\n", max_size=12).map("/".__add__)),
)
async def test_any_url_gives_bytes_or_an_error_of_ours(
    scheme: str, host: str, port: str, rest: str, photos: tuple[Any, Fetcher]
) -> None:
    server, fetcher = photos
    outcome = await _outcome(fetcher, scheme + host + port.replace("{port}", str(server.port)) + rest)
    assert outcome == b"pixels" or isinstance(outcome, UrlRefused | FetchFailed | FetchTimeout)
    assert "127.0.0.1" not in str(outcome)
