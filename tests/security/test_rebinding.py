"""Pages that come to a server on this machine by a name of their own, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import httpx2
import pytest
from pydantic import SecretStr

from sightline.server.contracts import PROBES

Serve = Callable[..., httpx2.Client]
EVIL = {"Host": "evil.example"}


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[httpx2.Client]:
    """A server as it is started without a setting: on 127.0.0.1, without a key."""
    with httpx2.Client(base_url=base_url, timeout=20, trust_env=False) as client:
        yield client


def answer_to(client: httpx2.Client, *lines: str, version: str = "1.1") -> bytes:
    """The answer to a request with these header lines, none added."""
    head = "\r\n".join([f"GET /v1/operations HTTP/{version}", *lines, "Connection: close"])
    address = (client.base_url.host, client.base_url.port or 80)
    received = b""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode("latin-1"))
        while piece := connection.recv(65536):
            received += piece
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/api/get-csrf-token"]
)
def test_a_page_of_another_name_is_told_nothing(client: httpx2.Client, path: str) -> None:
    assert client.get(path, headers=EVIL).status_code == 400


@pytest.mark.parametrize(
    "path", ["/v1/analyze", "/analyze_image/", "/classify", "/uploadfile/", "/v1/nowhere"]
)
def test_nor_may_it_ask(client: httpx2.Client, path: str) -> None:
    response = client.post(path, headers=EVIL, files={"image": b"x" * 100_000})
    assert response.status_code == 400
    assert "SIGHTLINE_ALLOWED_HOSTS" in response.json()["detail"]
    assert "access-control-allow-origin" not in response.headers


def test_the_refusal_is_a_problem_that_names_the_setting(client: httpx2.Client) -> None:
    refused = client.get("/v1/operations", headers=EVIL)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-frame-options"] == "DENY"
    problem = refused.json()
    assert (problem["status"], problem["code"]) == (400, "untrusted_host")
    assert "SIGHTLINE_ALLOWED_HOSTS" in problem["detail"]
    assert "evil" not in refused.text
    page = client.get(problem["type"]).json()
    assert page["meaning"] == "the name in Host is none that this server answers to"


def test_preflights_of_such_a_page_are_refused(client: httpx2.Client) -> None:
    preflight = {**EVIL, "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/uploadfile/", headers=preflight).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[0:0::1]"])
def test_names_of_this_machine_are_answered_to_at_any_port(client: httpx2.Client, host: str) -> None:
    for port in ("", ":8000", ":9"):
        assert client.get("/v1/operations", headers={"Host": host + port}).status_code == 200


@pytest.mark.parametrize("path", sorted(PROBES))
def test_probes_are_answered_under_any_name(client: httpx2.Client, path: str) -> None:
    assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code != 400


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        ((), "1.1"),
        ((), "1.0"),
        (("Host:",), "1.1"),
        (("Host: localhost", "Host: localhost"), "1.1"),
        (("Host: localhost", "Host: evil.example"), "1.1"),
        (("Host: evil.example", "Host: localhost"), "1.1"),
        (("Host: user@localhost",), "1.1"),
        (("Host: localhost:80@evil.example",), "1.1"),
        (("Host: evil.example#@localhost",), "1.1"),
        (("Host: localhost.evil.example",), "1.1"),
        (("Host: 127.0.0.1.evil.example",), "1.1"),
        (("Host: 0.0.0.0",), "1.1"),
        (("Host: [::ffff:7f00:1]",), "1.1"),
        (("Host: l\xf6calhost",), "1.1"),
        (("Host: xn--lcalhost-n4a",), "1.1"),
        (("Host: evil.example", "X-Forwarded-Host: localhost"), "1.1"),
        (("Host: evil.example", "Forwarded: host=localhost"), "1.1"),
    ],
)
def test_what_is_not_one_good_name_is_refused(
    client: httpx2.Client, lines: tuple[str, ...], version: str
) -> None:
    assert status_of(answer_to(client, *lines, version=version)) == 400


def test_one_good_name_is_not(client: httpx2.Client) -> None:
    assert status_of(answer_to(client, "host:\tLocalhost.:1 ")) == 200


def test_with_a_key_any_name_will_do_as_pages_have_none(serve: Serve) -> None:
    client = serve(api_keys=(SecretStr("key"),))
    assert client.get("/v1/models", headers=EVIL).status_code == 401
    assert client.get("/v1/models", headers={**EVIL, "X-API-Key": "key"}).status_code == 200


def test_a_server_that_others_reach_answers_to_names_it_cannot_know(serve: Serve) -> None:
    client = serve(host="0.0.0.0", insecure=True)
    assert client.get("/v1/operations", headers=EVIL).status_code == 200


def test_named_hosts_are_the_only_ones(serve: Serve) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        client = serve(host=host, insecure=True, allowed_hosts=("photos.example",))
        assert client.get("/v1/operations", headers={"Host": "photos.example:8000"}).status_code == 200
        assert client.get("/v1/operations", headers=EVIL).status_code == 400
        assert client.get("/v1/operations").status_code == 400


def test_a_star_turns_it_off(serve: Serve) -> None:
    assert serve(allowed_hosts=("*",)).get("/v1/operations", headers=EVIL).status_code == 200


@pytest.mark.parametrize(
    ("bound", "host"), [("127.0.0.5", "127.0.0.5"), ("::1", "[::1]"), ("[::1]", "[::1]")]
)
def test_the_bound_address_is_a_name_too(serve: Serve, bound: str, host: str) -> None:
    client = serve(host=bound)
    assert client.get("/v1/operations", headers={"Host": f"{host}:8000"}).status_code == 200
    assert client.get("/v1/operations", headers={"Host": "127.0.0.6"}).status_code == 400
