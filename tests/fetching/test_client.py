"""A fetch that goes well, the addresses it never touches, redirects, turns and cancellation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import psutil
import pytest
import trustme

from sightline import __version__
from sightline.errors import FetchFailed, FetchTimeout, UrlRefused
from sightline.fetching import Fetcher, FetchPolicy, Resolver
from sightline.fetching.backend import BLOCKED
from sightline.settings import Settings

LIMIT_BYTES = 1000
CLOSED = (
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.0.1", "192.168.1.254", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16",
    "192.88.99.1", "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.254", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "0.0.0.0",
    "[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[2002:a9fe:a9fe::]", "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2a00:1450::5efe:127.0.0.1]",
    "[2a00:1450::200:5efe:a9fe:a9fe]", "[2001:db8::1]", "[100::1]", "[3fff::1]",
)  # fmt: skip
# Other ways to write them. Which of these mean an address is up to the system; none may be reached.
SPELLINGS = (
    "127.1", "127.0.1", "0", "0177.0.0.1", "0177.0.0.01", "0x7f.1", "0x7f.0.0.1", "0x7f000001", "2130706433",
    "017700000001", "127.0.0.1.", "１２７.０.０.１", "127。0。0。1", "①②⑦.0.0.1", "2852039166", "0xa9fea9fe",
    "[0:0:0:0:0:0:0:1]", "[::ffff:0x7f.1]", "[fe80::1%25lo]", "[fe80::1%lo]", "[fe80::1%251]", "[::1%25lo]",
    "localhost", "LOCALHOST", "localhost.",
)  # fmt: skip


@pytest.fixture(scope="module")
def strict() -> Iterator[Fetcher]:
    """With the policy of a fresh installation."""
    fetcher = Fetcher(FetchPolicy.from_settings(Settings(_env_file=None)))
    yield fetcher
    asyncio.run(fetcher.aclose())


@pytest.mark.parametrize("host", CLOSED)
async def test_closed_addresses_get_no_connect_call(host: str, strict: Fetcher, connects: list[Any]) -> None:
    with pytest.raises(UrlRefused) as refusal:
        await strict.fetch(f"http://{host}/cat.jpg", LIMIT_BYTES)
    assert str(refusal.value) == BLOCKED
    assert connects == []


@pytest.mark.parametrize("host", SPELLINGS)
async def test_nor_do_other_spellings(host: str, strict: Fetcher, connects: list[Any]) -> None:
    with pytest.raises((UrlRefused, FetchFailed)):
        await strict.fetch(f"http://{host}/cat.jpg", LIMIT_BYTES)
    assert connects == []


@pytest.mark.parametrize("spelling", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "１２７.０.０.１"])
async def test_an_open_address_is_open_in_every_spelling(
    spelling: str, serve: Any, ok: Any, fetcher: Callable[..., Fetcher], connects: list[Any]
) -> None:
    """So the refusals above are for the address, not for the look of its name."""
    server = await serve(ok())
    assert await fetcher(server).fetch(f"http://{spelling}:{server.port}/", LIMIT_BYTES) == b"pixels"
    assert connects == ["127.0.0.1"]


async def test_a_closed_address_sees_nothing_even_when_it_listens(
    serve: Any, ok: Any, fetcher: Callable[..., Fetcher], resolve: Callable[..., Resolver]
) -> None:
    server = await serve(ok())
    for answers in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"]):
        guarded = fetcher(server, resolver=resolve(answers), allow_networks=())
        with pytest.raises(UrlRefused) as refusal:
            await guarded.fetch(f"http://photos.example:{server.port}/", LIMIT_BYTES)
        assert str(refusal.value) == BLOCKED
    assert server.connections == 0


async def test_body_and_request(
    serve: Any,
    ok: Any,
    fetcher: Callable[..., Fetcher],
    resolve: Callable[..., Resolver],
    connects: list[Any],
) -> None:
    server = await serve(ok(b"\x89PNG", "Set-Cookie: a=b"))
    photos = fetcher(server, resolver=resolve(["127.0.0.1"]))
    for _ in range(2):
        url = f"http://photos.example:{server.port}/ä.png?x=1#frag"
        assert await photos.fetch(url, LIMIT_BYTES) == b"\x89PNG"
    assert connects == ["127.0.0.1", "127.0.0.1"]
    assert server.heads[1].split("\r\n") == [
        "GET /%C3%A4.png?x=1 HTTP/1.1",
        f"Host: photos.example:{server.port}",
        f"User-Agent: sightline/{__version__}",
        "Accept: image/*, */*;q=0.1",
        "Accept-Encoding: identity",
        "Connection: close",
        "",
        "",
    ]


async def test_the_system_resolver_and_an_ipv4_literal(
    serve: Any, ok: Any, fetcher: Callable[..., Fetcher]
) -> None:
    server = await serve(ok())
    assert await fetcher(server).fetch(f"http://127.0.0.1:{server.port}/", LIMIT_BYTES) == b"pixels"


async def test_environment_proxies_are_not_asked(
    serve: Any, ok: Any, fetcher: Callable[..., Fetcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = await serve(ok(b"proxy")), await serve(ok())
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert await fetcher(server).fetch(f"http://127.0.0.1:{server.port}/", LIMIT_BYTES) == b"pixels"
    assert proxy.connections == 0


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, authority: trustme.CA) -> Iterator[None]:
    """The authority of the test certificate, for photos.example only, is one this machine trusts."""
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        yield


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["photos.example", "photos.example."])
async def test_tls_is_for_the_name_not_the_address(
    host: str, serve: Any, ok: Any, fetcher: Callable[..., Fetcher], resolve: Callable[..., Resolver]
) -> None:
    server = await serve(ok(), tls=True)
    resolver = resolve(["127.0.0.1"])
    url = f"https://{host}:{server.port}/"
    assert await fetcher(server, resolver=resolver).fetch(url, LIMIT_BYTES) == b"pixels"
    assert server.server_names == ["photos.example"]
    assert f"\r\nHost: photos.example:{server.port}\r\n" in server.heads[0]
    assert resolver.asked == [(host, server.port)]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
async def test_a_certificate_for_another_name(
    host: str, serve: Any, ok: Any, fetcher: Callable[..., Fetcher], resolve: Callable[..., Resolver]
) -> None:
    server = await serve(ok(), tls=True)
    with pytest.raises(FetchFailed):
        await fetcher(server, resolver=resolve(["127.0.0.1"])).fetch(
            f"https://{host}:{server.port}/", LIMIT_BYTES
        )
    assert server.heads == []


async def test_an_untrusted_certificate(
    serve: Any, ok: Any, fetcher: Callable[..., Fetcher], resolve: Callable[..., Resolver]
) -> None:
    server = await serve(ok(), tls=True)
    with pytest.raises(FetchFailed):
        await fetcher(server, resolver=resolve(["127.0.0.1"])).fetch(
            f"https://photos.example:{server.port}/", LIMIT_BYTES
        )
    assert server.heads == []


def _moved(location: str | None, status: int = 302) -> bytes:
    line = "" if location is None else f"Location: {location}\r\n"
    return f"HTTP/1.1 {status} Moved\r\n{line}Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.fixture
def chain(ok: Any) -> Any:
    """``/3`` leads to ``/2``, to ``/1``, to ``/0``, which is a picture."""

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        left = int(head.split(" ")[1][1:])
        writer.write(_moved(f"/{left - 1}", 301 + left % 3) if left else ok())

    return answer


async def test_three_redirects_are_followed(serve: Any, chain: Any, fetcher: Callable[..., Fetcher]) -> None:
    server = await serve(chain)
    assert await fetcher(server).fetch(f"http://127.0.0.1:{server.port}/3", LIMIT_BYTES) == b"pixels"
    assert server.paths == ["/3", "/2", "/1", "/0"]
    assert not any("cookie" in head.lower() or "referer" in head.lower() for head in server.heads)


async def test_a_fourth_is_not(serve: Any, chain: Any, fetcher: Callable[..., Fetcher]) -> None:
    server = await serve(chain)
    with pytest.raises(FetchFailed):
        await fetcher(server).fetch(f"http://127.0.0.1:{server.port}/4", LIMIT_BYTES)
    assert server.paths == ["/4", "/3", "/2", "/1"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_in_a_circle(status: int, serve: Any, fetcher: Callable[..., Fetcher]) -> None:
    server = await serve(_moved("/", status))
    with pytest.raises(FetchFailed):
        await fetcher(server).fetch(f"http://127.0.0.1:{server.port}/", LIMIT_BYTES)
    assert server.connections == 4


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("file:///etc/passwd", UrlRefused),
        ("ftp://127.0.0.1/", UrlRefused),
        ("//127.0.0.1:1/", UrlRefused),
        ("http://user:secret@127.0.0.1/", UrlRefused),
        ("http://[::1/", UrlRefused),
        (None, FetchFailed),
        ("http://127.0.0.1:{port}/\xff", FetchFailed),
    ],
)
async def test_redirects_that_lead_nowhere(
    location: str | None, error: type[Exception], serve: Any, fetcher: Callable[..., Fetcher]
) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(_moved(location and location.replace("{port}", str(server.port))))

    server = await serve(answer)
    with pytest.raises(error) as failure:
        await fetcher(server).fetch(f"http://127.0.0.1:{server.port}/", LIMIT_BYTES)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("host", ["127.0.0.2", "0177.0.0.2", "10.0.0.1", "169.254.169.254", "[::1]", "[::]"])
async def test_redirect_to_a_closed_address(
    host: str, serve: Any, fetcher: Callable[..., Fetcher], connects: list[Any]
) -> None:
    """The operator opened one address; it may not lead to its neighbours."""

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(_moved(f"http://{host}:{server.port}/"))

    server = await serve(answer)
    guarded = fetcher(server, allow_networks=(ip_network("127.0.0.1/32"),))
    with pytest.raises(UrlRefused) as refusal:
        await guarded.fetch(f"http://127.0.0.1:{server.port}/", LIMIT_BYTES)
    assert str(refusal.value) == BLOCKED
    assert connects == ["127.0.0.1"]


async def test_rebinding_between_two_hops(
    serve: Any, fetcher: Callable[..., Fetcher], resolve: Callable[..., Resolver], connects: list[Any]
) -> None:
    """Every hop looks up anew and is judged anew, the same name too."""
    server = await serve(_moved("/again"))
    resolver = resolve(["127.0.0.1"], ["169.254.169.254"])
    with pytest.raises(UrlRefused):
        await fetcher(server, resolver=resolver).fetch(f"http://photos.example:{server.port}/", LIMIT_BYTES)
    assert connects == ["127.0.0.1"]


@pytest.mark.usefixtures("trusted")
async def test_from_https_to_http_and_back(
    serve: Any, ok: Any, fetcher: Callable[..., Fetcher], resolve: Callable[..., Resolver]
) -> None:
    plain = await serve(ok())
    down = await serve(_moved(f"http://photos.example:{plain.port}/"), tls=True)
    secure = await serve(ok(b"secure"), tls=True)
    up = await serve(_moved(f"https://photos.example:{secure.port}/"))
    photos = fetcher(plain, down, secure, up, resolver=resolve(["127.0.0.1"]))
    with pytest.raises(UrlRefused, match="from https to http"):
        await photos.fetch(f"https://photos.example:{down.port}/", LIMIT_BYTES)
    assert plain.connections == 0
    assert await photos.fetch(f"http://photos.example:{up.port}/", LIMIT_BYTES) == b"secure"


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_turns(serve: Any, ok: Any, policy: Callable[..., FetchPolicy]) -> None:
    gate = asyncio.Event()

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(ok())

    server = await serve(answer)
    async with Fetcher(policy(ports=(server.port,)), max_concurrent=2) as fetcher:
        url = f"http://127.0.0.1:{server.port}/"
        fetches = [asyncio.create_task(fetcher.fetch(url, LIMIT_BYTES)) for _ in range(5)]
        await _until(lambda: len(server.heads) == 2)
        await asyncio.sleep(0.05)
        assert server.connections == 2
        fetches.pop().cancel()  # one that waits
        fetches.pop(0).cancel()  # one that fetches: its turn passes on
        await _until(lambda: len(server.heads) == 3)
        gate.set()
        assert await asyncio.gather(*fetches) == [b"pixels"] * 3
    assert server.connections == 4


async def test_waiting_for_a_turn_is_not_on_the_clock(serve: Any, ok: Any, policy: Any) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.write(ok())

    server = await serve(answer)
    async with Fetcher(policy(ports=(server.port,), timeout_s=0.4), max_concurrent=1) as fetcher:
        url = f"http://127.0.0.1:{server.port}/"
        assert await asyncio.gather(*(fetcher.fetch(url, LIMIT_BYTES) for _ in range(4))) == [b"pixels"] * 4


async def test_cancelled_while_it_waits_for_an_answer(serve: Any, fetcher: Callable[..., Fetcher]) -> None:
    server = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    fetch = asyncio.create_task(fetcher(server).fetch(f"http://127.0.0.1:{server.port}/", LIMIT_BYTES))
    await _until(lambda: bool(server.heads))
    await asyncio.sleep(0.02)
    assert server.closed_by_client == 0
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await server.all_closed()


@pytest.mark.parametrize("end", ["cancelled", "out of time"])
async def test_silent_tls_handshake_is_closed(end: str, fetcher: Callable[..., Fetcher]) -> None:
    """The server accepts and says nothing. However the fetch ends, its socket does not outlive it."""
    accepted, closed = asyncio.Event(), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        while await reader.read(65536):
            pass
        writer.close()
        closed.set()

    listener = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    secure = fetcher(ports=(port,), connect_timeout_s=0.2 if end == "out of time" else 1.0)
    fetch = asyncio.create_task(secure.fetch(f"https://127.0.0.1:{port}/", LIMIT_BYTES))
    async with asyncio.timeout(1):
        await accepted.wait()
    if end == "cancelled":
        await asyncio.sleep(0.02)
        fetch.cancel()
    with pytest.raises((asyncio.CancelledError, FetchTimeout)):
        await fetch
    async with asyncio.timeout(1):
        await closed.wait()
    listener.close()
    await listener.wait_closed()


@pytest.mark.skipif(os.name != "posix", reason="file descriptors are counted the POSIX way")
async def test_nothing_is_left_behind(serve: Any, ok: Any, fetcher: Callable[..., Fetcher]) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        match head.split(" ")[1]:
            case "/half":
                writer.write(ok()[:-1])
                writer.close()
            case "/moved":
                writer.write(_moved("/"))
            case "/":
                writer.write(ok())

    server = await serve(answer)
    photos = fetcher(server, idle_timeout_s=0.1)
    paths = ("/", "/half", "/moved", "/silent")

    async def mixed() -> None:
        fetches = [
            asyncio.create_task(photos.fetch(f"http://127.0.0.1:{server.port}{paths[n % 4]}", LIMIT_BYTES))
            for n in range(40)
        ]
        await asyncio.sleep(0.02)
        for fetch in fetches[::5]:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        await server.all_closed()
        await asyncio.sleep(0.02)

    await mixed()  # whatever is opened once and kept
    before = psutil.Process().num_fds(), len(asyncio.all_tasks())
    for _ in range(3):
        await mixed()
    assert (psutil.Process().num_fds(), len(asyncio.all_tasks())) == before
