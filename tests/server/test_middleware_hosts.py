"""Names the server answers to, and the way from plain HTTP to HTTPS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.hosts import LOOPBACK_HOSTS, HttpsRedirect, TrustedHosts, host_of

FREE = {"/livez"}


async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def trusting(*hosts: str) -> TestClient:
    return TestClient(TrustedHosts(_ok, hosts=hosts, free_paths=FREE))


async def status_of(app: TrustedHosts, *hosts: bytes, **scope: object) -> int:
    """The status for a request as it stands here, which no client would send so."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app({"path": "/v1/models", "method": "GET", **scope_with(*hosts), **scope}, receive, send)
    return int(sent[0]["status"])


def redirecting(base_url: str = "http://api.example.org") -> TestClient:
    return TestClient(HttpsRedirect(_ok, free_paths=FREE), base_url=base_url, follow_redirects=False)


def scope_with(*hosts: bytes) -> Scope:
    return {"type": "http", "headers": [(b"host", host) for host in hosts]}


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        (("example.org",), "example.org", 200),
        (("example.org",), "EXAMPLE.org:8443", 200),
        (("example.org",), "example.org.", 200),
        (("Example.ORG",), "example.org", 200),
        (("example.org",), "www.example.org", 400),
        (("example.org",), "example.org.evil.example", 400),
        (("example.org",), "notexample.org", 400),
        (("*.example.org",), "www.example.org", 200),
        (("*.example.org",), "a.b.example.org", 200),
        (("*.example.org",), "example.org", 400),
        (("*.example.org",), "evilexample.org", 400),
        (("127.0.0.1", "[::1]"), "127.0.0.1:8000", 200),
        (("127.0.0.1", "[::1]"), "[::1]:8000", 200),
        (("127.0.0.1", "[::1]"), "[::2]:8000", 400),
        (("::1",), "[0:0:0:0:0:0:0:1]:8000", 200),
        (("[0::1]",), "[::1]", 200),
        (("::1",), "::1", 400),
        (("::1",), "[::1", 400),
        (("::1",), "[::1].evil.example", 400),
        (("::1",), "[::1%25lo]", 400),
        (("localhost",), "LocalHost:8000", 200),
        (("localhost",), "localhost.:8000", 200),
        (("localhost",), "localhost:", 200),
        (("localhost",), "localhost..", 400),
        (("localhost",), "localhost:80@evil.example", 400),
        (("localhost",), "localhost@evil.example", 400),
        (("localhost",), "user@localhost", 400),
        (("localhost",), "user:secret@localhost:80", 400),
        (("localhost",), "localhost/", 400),
        (("localhost",), "localhost, evil.example", 400),
        (("localhost",), "evil.example:localhost", 400),
        (("127.0.0.1",), "127.1", 400),
        (("127.0.0.1",), "2130706433", 400),
        (("127.0.0.1",), "127.0.0.1.evil.example", 400),
        (("*.example.org",), ".example.org", 400),
        (("bücher.example",), "xn--bcher-kva.example", 200),
        (("*.Bücher.example",), "www.XN--BCHER-KVA.example:80", 200),
        (("xn--bcher-kva.example",), "bücher.example".encode("latin-1"), 400),
        (("localhost",), "ⓛocalhost".encode(), 400),
        (("a.example", "*"), "anything.example", 200),
        (("example.org",), "exa mple.org", 400),
        (("example.org",), "", 400),
    ],
)
def test_names(hosts: tuple[str, ...], host: str | bytes, status: int) -> None:
    response = trusting(*hosts).get("/v1/models", headers={"Host": host})
    assert response.status_code == status
    if status == 400:
        assert response.json()["code"] == "untrusted_host"
        assert "SIGHTLINE_ALLOWED_HOSTS" in response.json()["detail"]
        assert "example" not in response.json()["detail"], "the caller's words are not echoed"


def test_probes_come_by_address() -> None:
    assert trusting("example.org").get("/livez", headers={"Host": "10.1.2.3"}).status_code == 200


async def test_without_a_name_or_with_two_there_is_none_to_trust() -> None:
    app = TrustedHosts(_ok, hosts=("localhost",), free_paths=FREE)
    assert await status_of(app, b"localhost") == 200
    assert await status_of(app) == 400
    assert await status_of(app, b"localhost", b"localhost") == 400
    assert await status_of(app, b"localhost", b"evil.example") == 400
    assert await status_of(app, b"evil.example", b"localhost") == 400


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (("127.0.0.1", 8000), 400),
        (("127.8.8.8", 8000), 400),
        (("::1", 8000), 400),
        (None, 400),
        (("192.0.2.7", 8000), 200),
        (("2001:db8::7", 8000), 200),
        (("/run/sightline.sock", None), 200),
    ],
)
async def test_what_did_not_come_in_on_loopback_may_be_let_through(server: object, status: int) -> None:
    app = TrustedHosts(_ok, hosts=LOOPBACK_HOSTS, only_on_loopback=True)
    assert await status_of(app, b"name.example", server=server) == status
    assert await status_of(app, b"localhost", server=server) == 200
    strict = TrustedHosts(_ok, hosts=LOOPBACK_HOSTS)
    assert await status_of(strict, b"name.example", server=server) == 400


def test_two_names_are_none() -> None:
    assert host_of(scope_with(b"example.org", b"example.org")) is None
    assert host_of(scope_with()) is None
    assert host_of(scope_with(b"ex\xe4mple.org")) is None


@given(st.binary(max_size=30))
def test_any_host_header_is_a_name_or_none(value: bytes) -> None:
    host = host_of(scope_with(value))
    assert host is None or (host and host.isascii() and not set(host) & set("/?#@\\ \r\n\t%"))


@pytest.mark.parametrize(
    "pattern",
    [
        "https://example.org",
        "example.org:80",
        "",
        "*.",
        "exa mple.org",
        "a/b",
        "*a.b",
        "*.[::1]",
        "ü..b",
        "[::",
    ],
)
def test_what_is_no_name_stops_the_start(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_ALLOWED_HOSTS"):
        trusting(pattern)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_plain_http_is_sent_on_with_its_method(method: str) -> None:
    response = redirecting().request(method, "/v1/analyze?operation=ask&prompt=a%20b")
    assert response.status_code == 307
    assert response.headers["location"] == "https://api.example.org/v1/analyze?operation=ask&prompt=a%20b"


def test_the_port_of_plain_http_is_not_that_of_https() -> None:
    response = redirecting("http://api.example.org:8000").get("/")
    assert response.headers["location"] == "https://api.example.org/"


@pytest.mark.parametrize("path", ["//evil.example/x", "/a%0d%0aSet-Cookie:%20x", "/ü"])
def test_paths_lead_nowhere_else(path: str) -> None:
    response = redirecting().get(f"http://api.example.org{path}")
    assert response.headers["location"].startswith("https://api.example.org/")
    assert "set-cookie" not in response.headers


def test_without_a_name_there_is_nowhere_to_go() -> None:
    response = redirecting().get("/", headers={"Host": "a@b"})
    assert response.status_code == 400


def test_https_and_probes_pass() -> None:
    assert redirecting("https://api.example.org").get("/").status_code == 200
    assert redirecting().get("/livez").status_code == 200


def test_a_long_body_is_not_waited_for() -> None:
    response = redirecting().post("/uploadfile/", content=b"x" * 100_000)
    assert response.status_code == 307
    assert response.headers["connection"] == "close"
