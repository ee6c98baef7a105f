"""Connections within their bounds, over real sockets: heads, their time, their number, unread answers."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sightline.server.app import create_app, server_config
from sightline.server.middleware.security_headers import HEADERS
from sightline.server.state import state_of_app
from sightline.settings import Settings

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
WITHIN_S = 20.0


@pytest.fixture
def port_of(serve: Callable[..., httpx2.Client]) -> Callable[..., int]:
    def start(**changes: object) -> int:
        port = serve(**changes).base_url.port
        assert port is not None
        return port

    return start


def connect(port: int, data: bytes = b"", receive_buffer_bytes: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    connection.settimeout(WITHIN_S)
    connection.connect(("127.0.0.1", port))
    connection.sendall(data)
    return connection


def everything(connection: socket.socket) -> bytes:
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def one_answer(connection: socket.socket) -> bytes:
    """The next response, of a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(1)
        assert piece, received
        received += piece
    length = int(headers_of(received).get("content-length", "0"))
    while length:
        piece = connection.recv(length)
        assert piece
        received, length = received + piece, length - len(piece)
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def headers_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def is_closed(connection: socket.socket, within_s: float = WITHIN_S) -> bool:
    connection.settimeout(within_s)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def metric(port: int, line: str) -> float:
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return sum(float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line))


# -- heads -------------------------------------------------------------------------------------------------

LARGE = {
    "one long header": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
    "a header without an end": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 3_000_000,
    "a long URL": b"GET /v1/models?" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a URL without an end": b"GET /v1/models?" + b"x" * 3_000_000,
    "many small headers": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 400_000,
    "101 headers": b"GET /v1/models HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
}


@pytest.mark.parametrize("name", LARGE)
def test_a_head_that_is_too_large_is_431_and_closes(client: httpx2.Client, name: str) -> None:
    port = client.base_url.port
    assert port is not None
    counted = metric(port, 'sightline_http_requests_total{method="GET",route="unmatched",status="431"}')
    with connect(port) as connection:
        with suppress(OSError):  # the server need not read all of it
            connection.sendall(LARGE[name])
        answer = everything(connection)
    assert status_of(answer) == 431
    headers = headers_of(answer)
    assert headers["connection"] == "close"
    assert len(headers["x-request-id"]) == 32
    assert {name.lower() for name in HEADERS} <= headers.keys()
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["code"], problem["request_id"]) == ("headers_too_large", headers["x-request-id"])
    after = metric(port, 'sightline_http_requests_total{method="GET",route="unmatched",status="431"}')
    assert after == counted + 1


def test_a_head_within_the_limit_is_read_however_it_is_cut(client: httpx2.Client) -> None:
    head = GET[:-2] + b"X: " + b"x" * 30_000 + b"\r\n\r\n"
    for size in (1000, 7001, len(head)):
        with connect(client.base_url.port or 0) as connection:
            for start in range(0, len(head), size):
                connection.sendall(head[start : start + size])
            assert status_of(one_answer(connection)) == 200
            connection.sendall(head)  # counted for itself
            assert status_of(one_answer(connection)) == 200


def test_the_limit_is_a_setting(port_of: Callable[..., int]) -> None:
    port = port_of(header_max_bytes=100_000)
    with connect(port, GET[:-2] + b"X: " + b"x" * 90_000 + b"\r\n\r\n") as connection:
        assert status_of(one_answer(connection)) == 200


MALFORMED = {
    "no method": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", False),  # TLS
    "a space in a name": (b"GET /v1/models HTTP/1.1\r\nHost : x\r\n\r\n", True),
    "two lengths": (b"POST /v1/analyze HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", True),
    "length and chunks": (
        b"POST /v1/analyze HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        True,
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_a_400_like_any_other(client: httpx2.Client, name: str) -> None:
    data, path_is_known = MALFORMED[name]
    with connect(client.base_url.port or 0, data) as connection:
        answer = everything(connection)
    assert status_of(answer) == 400
    headers = headers_of(answer)
    assert {name.lower() for name in HEADERS} <= headers.keys()
    assert headers["x-request-id"]
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert problem.get("code") == ("invalid_request" if path_is_known else None)


def test_a_malformed_body_is_a_400_in_the_words_of_its_route(client: httpx2.Client) -> None:
    head = b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: application/json\r\n\r\n"
    for path, field in ((b"/v1/analyze", "code"), (b"/analyze_image/", "detail")):
        with connect(client.base_url.port or 0, b"POST " + path + head + b"2\r\n{}\r\nxyz\r\n") as connection:
            answer = everything(connection)
        assert status_of(answer) == 400
        assert field in json.loads(answer.partition(b"\r\n\r\n")[2])
        assert headers_of(answer)["x-request-id"]


def test_the_answer_before_a_malformed_request_is_whole(client: httpx2.Client) -> None:
    with connect(client.base_url.port or 0, GET + b"nonsense\r\n\r\n") as connection:
        answers = everything(connection)
    assert answers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"}HTTP/1.1 400 Bad Request\r\n" in answers


def test_pipelined_requests_are_answered_in_order_and_no_flood_of_them(client: httpx2.Client) -> None:
    head = b"GET /nothing-%d HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: r%d\r\n\r\n"
    with connect(client.base_url.port or 0, b"".join(head % (n, n) for n in range(10))) as connection:
        for number in range(10):
            assert headers_of(one_answer(connection))["x-request-id"] == f"r{number}"
    with connect(client.base_url.port or 0, b"".join(head % (n, n) for n in range(3000))) as connection:
        answers = everything(connection)
    assert 10 < answers.count(b"HTTP/1.1 404") < 100
    assert answers.count(b"connection: close") == 1


def test_trailers_do_not_become_headers(listening_with: "Listening") -> None:
    async def headers(request: Request) -> Response:
        await request.body()
        return PlainTextResponse(",".join(request.headers.keys()))

    port = listening_with(Route("/", headers, methods=["POST"]))
    body = b"1\r\nx\r\n0\r\nX-API-Key: stolen\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(port, head + body) as connection:
        assert one_answer(connection).endswith(b"host,transfer-encoding")


# -- time --------------------------------------------------------------------------------------------------


def test_a_head_that_trickles_is_408_by_a_deadline_of_the_whole(port_of: Callable[..., int]) -> None:
    port = port_of(header_timeout_s=1.0)
    with connect(port, b"GET /v1/models HTTP/1.1\r\n") as connection:
        connection.settimeout(0.1)
        answer = b""
        deadline = time.monotonic() + WITHIN_S
        while not answer:
            assert time.monotonic() < deadline
            try:
                connection.sendall(b"a")
                answer = connection.recv(65536)
            except TimeoutError:
                pass
        connection.settimeout(WITHIN_S)
        answer += everything(connection)
    assert status_of(answer) == 408
    assert headers_of(answer)["connection"] == "close"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"


@pytest.mark.parametrize("before", [b"", b"\r\n", GET, GET + b"\r\n"])
def test_a_connection_without_a_request_is_closed(port_of: Callable[..., int], before: bytes) -> None:
    port = port_of(header_timeout_s=0.4, keep_alive_s=0.4)
    with connect(port, before) as connection:
        answer = everything(connection)
    assert answer.count(b"HTTP/1.1") == before.count(b"GET")


def test_an_idle_connection_is_kept_as_long_as_the_setting_says(port_of: Callable[..., int]) -> None:
    port = port_of(header_timeout_s=0.2, keep_alive_s=60.0)
    with connect(port, GET) as connection:
        one_answer(connection)
        assert not is_closed(connection, within_s=1.0)
        connection.settimeout(WITHIN_S)
        connection.sendall(GET)
        assert status_of(one_answer(connection)) == 200


def test_the_rest_of_an_answered_body_has_to_come_in_time(port_of: Callable[..., int]) -> None:
    port = port_of(header_timeout_s=0.5, keep_alive_s=60.0)
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with connect(port, head) as connection:
        assert status_of(one_answer(connection)) == 404
        assert is_closed(connection)
    with connect(port, head) as connection:
        assert status_of(one_answer(connection)) == 404
        connection.sendall(b"x" * 1000 + GET)
        assert status_of(one_answer(connection)) == 200


def test_a_client_that_does_not_read_is_cut(listening_with: "Listening") -> None:
    async def large(request: Request) -> Response:
        return Response(b"x" * 20_000_000)

    port = listening_with(Route("/", large), write_timeout_s=0.6)
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(port, request, receive_buffer_bytes=4096) as silent:
        with connect(port, request) as slow:
            received = 0
            while piece := slow.recv(2_000_000):  # slower than the time-out in all, and never silent
                received += len(piece)
                if received > 20_000_000:
                    break
                time.sleep(0.1)
        assert received > 20_000_000
        ended = 0
        deadline = time.monotonic() + WITHIN_S
        while not ended:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            ended = listening_with.ended.count("unread")
        assert len(everything(silent)) < 20_000_000


def test_the_time_of_an_upload_is_not_the_requests(port_of: Callable[..., int], portrait: bytes) -> None:
    port = port_of(request_timeout_s=2.0)
    head = b"POST /v1/operations/embed_clip HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(portrait)
    with connect(port, head) as connection:
        for start in range(0, len(portrait), len(portrait) // 5):
            time.sleep(0.5)
            connection.sendall(portrait[start : start + len(portrait) // 5])
        assert status_of(one_answer(connection)) == 200


# -- number ------------------------------------------------------------------------------------------------


def test_probes_are_answered_beside_more_silent_connections_than_there_may_be(
    port_of: Callable[..., int],
) -> None:
    port = port_of(max_connections=60, max_connections_per_address=0)
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(port, b"GET /v1" if n % 2 else b"")) for n in range(200)]
        for _ in range(3):
            with connect(port, GET) as probe:
                assert status_of(one_answer(probe)) == 200
        assert is_closed(silent[0])
        assert not is_closed(silent[-1], within_s=0.05)
        assert metric(port, "sightline_http_connections ") <= 61
        assert metric(port, 'sightline_http_connections_ended_total{reason="displaced"}') >= 140


def test_an_address_has_a_limit_of_its_own(port_of: Callable[..., int]) -> None:
    port = port_of(max_connections=1000, max_connections_per_address=20)
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(port)) for _ in range(60)]
        assert is_closed(silent[0])
        with connect(port, GET) as probe:
            assert status_of(one_answer(probe)) == 200
        assert metric(port, "sightline_http_connections ") <= 20


def test_a_trusted_proxy_has_only_the_limit_of_all(port_of: Callable[..., int]) -> None:
    port = port_of(max_connections_per_address=5, trusted_proxies=("127.0.0.0/8",))
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(port)) for _ in range(30)]
        assert metric(port, "sightline_http_connections ") == 31
        assert not is_closed(silent[0], within_s=0.05)


def test_requests_under_way_are_not_cut_for_new_ones_which_get_503(port_of: Callable[..., int]) -> None:
    port = port_of(max_connections=5, max_connections_per_address=0)
    upload = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    upload += b"Content-Type: image/png\r\n\r\n"
    with ExitStack() as stack:
        under_way = [stack.enter_context(connect(port, upload)) for _ in range(5)]
        wait_until_taken_up(port)
        for _ in range(40):  # also more than are reserved for probes
            stack.enter_context(connect(port))
        with connect(port, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n") as refused:
            answer = everything(refused)
        assert status_of(answer) == 503
        assert headers_of(answer)["retry-after"] == "1"
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "too_many_connections"
        with connect(port, GET) as probe:
            answer = everything(probe)
        assert status_of(answer) == 200
        for connection in under_way:
            connection.sendall(b"x")
            assert status_of(one_answer(connection)) == 415


def wait_until_taken_up(port: int) -> None:
    """Until a request that is no probe finds no place."""
    deadline = time.monotonic() + WITHIN_S
    while httpx2.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_limit_is_logged_once_for_a_flood(
    port_of: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    port = port_of(max_connections=10)
    with caplog.at_level("WARNING", "sightline.server.open_connections"), ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connect(port))
        with connect(port, GET) as probe:
            one_answer(probe)
    assert sum("limit" in record.getMessage() for record in caplog.records) == 1


# -- an app of its own behind the protocol -----------------------------------------------------------------


class Listening:
    """Serves routes through the protocol. ``ended`` names why the server closed connections."""

    def __init__(self, serve: Callable[[uvicorn.Config], str], models_dir: Path) -> None:
        self._serve = serve
        self._models_dir = models_dir
        self.ended: list[str] = []

    def __call__(self, *routes: Route, **changes: Any) -> int:
        settings = Settings(models_dir=self._models_dir, offline=True, **changes)
        app = create_app(settings)
        state_of_app(app).metrics.connection_ended = self.ended.append
        config = server_config(app, settings)
        config.app, config.port, config.lifespan = Starlette(routes=list(routes)), 0, "off"
        return int(self._serve(config).rpartition(":")[2])


@pytest.fixture
def listening_with(models_dir: Path, running_with: Callable[[uvicorn.Config], str]) -> Listening:
    return Listening(running_with, models_dir)
