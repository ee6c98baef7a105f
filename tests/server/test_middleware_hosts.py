"""Names the server answers to, and the way from plain HTTP to HTTPS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.hosts import HttpsRedirect, TrustedHosts, host_of

FREE = {"/livez"}


async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def trusting(*hosts: str) -> TestClient:
    return TestClient(TrustedHosts(_ok, hosts=hosts, free_paths=FREE))


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
        (("a.example", "*"), "anything.example", 200),
        (("example.org",), "exa mple.org", 400),
        (("example.org",), "", 400),
    ],
)
def test_names(hosts: tuple[str, ...], host: str, status: int) -> None:
    response = trusting(*hosts).get("/v1/models", headers={"Host": host})
    assert response.status_code == status
    if status == 400:
        assert response.json()["code"] == "invalid_request"
        assert "example" not in response.json()["detail"], "the caller's words are not echoed"


def test_probes_come_by_address() -> None:
    assert trusting("example.org").get("/livez", headers={"Host": "10.1.2.3"}).status_code == 200


def test_two_names_are_none() -> None:
    assert host_of(scope_with(b"example.org", b"example.org")) is None
    assert host_of(scope_with()) is None
    assert host_of(scope_with(b"ex\xe4mple.org")) is None


@given(st.binary(max_size=30))
def test_any_host_header_is_a_name_or_none(value: bytes) -> None:
    host = host_of(scope_with(value))
    assert host is None or (host and host.isascii() and not set(host) & set("/?#@\\ \r\n\t%"))


@pytest.mark.parametrize(
    "pattern", ["https://example.org", "example.org:80", "", "*.", "exa mple.org", "a/b", "*a.b"]
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
