"""The whole shell in front of a small app, over real sockets: slow, lying and vanishing clients."""

import io
import logging
import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sightline.server.contracts import PROBES
from sightline.server.keys import KeyRing
from sightline.server.logs import JsonFormatter, TextFormatter, configure_logging
from sightline.server.metrics import Metrics
from sightline.server.middleware.api_key import ApiKey
from sightline.server.middleware.body_limit import BodyLimit
from sightline.server.middleware.request_log import RequestLog
from sightline.server.middleware.security_headers import HEADERS, SecurityHeaders
from sightline.settings import Settings

KEY = "k3y-that-must-not-be-logged"
SECRETS = (KEY, "s3cret-query", "s3cret-name.jpg", "s3cret-body", "wr0ng-key", "s3cret-cookie", "s3cret-path")
LIMIT = 200_000
FIRST_BYTE_S, BODY_S = 0.3, 0.6


async def _read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _health(request: Request) -> Response:
    return PlainTextResponse("alive")


async def _fails(request: Request) -> Response:
    await request.body()
    raise RuntimeError("on purpose")


class _Lines(logging.Handler):
    """Everything logged in the process, in both formats, and the access lines by themselves."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = io.StringIO()
        self.access: list[dict] = []

    def emit(self, record: logging.LogRecord) -> None:
        for formatter in (JsonFormatter(), TextFormatter()):
            self.text.write(formatter.format(record) + "\n")
        if record.name == "sightline.access":
            self.access.append(record.fields)  # type: ignore[attr-defined]


@dataclass
class Server:
    """A running server. ``under_way`` counts requests inside the app."""

    lines: _Lines
    metrics: Metrics
    port: int = 0
    under_way: set[int] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def line(self, request_id: str) -> dict:
        """The access line of a request, once it is written."""
        deadline = time.monotonic() + 10
        while not (found := self.lines_of(request_id)):
            assert time.monotonic() < deadline, "no line was written"
            time.sleep(0.002)
        return found[0]

    def lines_of(self, request_id: str) -> list[dict]:
        return [line for line in list(self.lines.access) if line["request_id"] == request_id]

    def settle(self) -> None:
        """Wait until no request is under way."""
        deadline = time.monotonic() + 10
        while self.under_way:
            assert time.monotonic() < deadline, "a request is still under way"
            time.sleep(0.002)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    root, access = logging.getLogger(), logging.getLogger("uvicorn.access")
    before = (list(root.handlers), root.level, access.propagate)
    configure_logging(Settings(log_level="debug"))
    with _serving(FIRST_BYTE_S, BODY_S) as running:
        root.handlers[:] = [running.lines]
        yield running
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    access.propagate = before[2]
    for name in ("sightline", "httpx", "httpcore", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(False)


@pytest.fixture
def patient_server() -> Iterator[Server]:
    """Bears bodies that take longer than any test."""
    with _serving(60.0, 60.0) as running:
        yield running


@contextmanager
def _serving(first_byte_s: float, body_s: float) -> Iterator[Server]:
    running = Server(_Lines(), Metrics())
    routes = [
        Route("/v1/read", _read, methods=["POST"]),
        Route("/read", _read, methods=["POST"]),
        Route("/fails", _fails, methods=["POST"]),
        Route("/livez", _health),
    ]
    app = Starlette(routes=routes)
    shell = BodyLimit(
        app,
        max_bytes=LIMIT,
        max_bytes_by_prefix={"/v1/read": 2 * LIMIT},
        first_byte_timeout_s=first_byte_s,
        body_timeout_s=body_s,
    )
    keyed = ApiKey(shell, keys=KeyRing([SecretStr(KEY)], None), open_paths=PROBES)
    logged = RequestLog(keyed, observe=running.metrics.request_finished)
    guarded = SecurityHeaders(logged)

    async def counted(scope, receive, send):  # type: ignore[no-untyped-def]
        running.under_way.add(id(scope))
        try:
            await guarded(scope, receive, send)
        finally:
            running.under_way.discard(id(scope))

    config = uvicorn.Config(counted, port=0, log_config=None, access_log=False, lifespan="off", ws="none")
    uvicorn_server = uvicorn.Server(config)
    thread = threading.Thread(target=uvicorn_server.run, daemon=True)
    thread.start()
    while not uvicorn_server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    running.port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
    yield running
    uvicorn_server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def request(path: str, *headers: str, body: bytes = b"", name: str = "unnamed") -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", f"X-API-Key: {KEY}", f"X-Request-ID: {name}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def everything(connection: socket.socket) -> bytes:
    """All bytes until the server closes; what came before a reset counts too."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def headers_of(answer: bytes) -> dict[str, str]:
    head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}


# -- slow ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/read", "/read"])
def test_a_body_of_one_byte_at_a_time_is_408_and_closed(server: Server, path: str) -> None:
    started = time.monotonic()
    with server.connect() as connection:
        connection.sendall(request(path, "Content-Length: 1000"))
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.05):
                try:
                    connection.send(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = everything(connection)
        stop.set()
        thread.join()
    assert status_of(answer) == 408
    assert headers_of(answer)["connection"] == "close"
    assert BODY_S <= time.monotonic() - started < BODY_S + 4


def test_a_body_that_never_begins_is_408(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("/v1/read", "Transfer-Encoding: chunked", name="silent"))
        answer = everything(connection)
    assert status_of(answer) == 408
    assert b'"code":"request_timeout"' in answer
    assert server.line("silent")["status"] == 408


def test_many_slow_clients_do_not_keep_others_waiting(patient_server: Server) -> None:
    with ExitStack() as slow:
        for _ in range(100):
            connection = slow.enter_context(patient_server.connect())
            connection.sendall(request("/v1/read", "Content-Length: 1000", body=b"x"))
        deadline = time.monotonic() + 10
        while len(patient_server.under_way) < 100:
            assert time.monotonic() < deadline, "not all requests were taken up"
            time.sleep(0.002)
        assert httpx2.get(f"{patient_server.url}/livez", trust_env=False).status_code == 200
        assert len(patient_server.under_way) >= 100, "it was answered before them"
    patient_server.settle()


# -- large ---------------------------------------------------------------------------------------------------


def test_a_declared_length_is_refused_without_a_byte_sent(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("/read", f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        answer = everything(connection)
    assert status_of(answer) == 413  # and not "100 Continue" before it
    assert headers_of(answer)["connection"] == "close"


def test_an_endless_chunked_body_is_413_soon_after_the_limit(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("/read", "Transfer-Encoding: chunked", name="endless"))
        try:
            for _ in range(2000):
                connection.sendall(chunk(b"x" * 1000))
        except OSError:
            pass
        answer = everything(connection)
    assert status_of(answer) == 413
    # uvicorn hands over what it read ahead as one piece.
    assert LIMIT < server.line("endless")["bytes_in"] <= LIMIT + 512 * 1024


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_in_the_middle_of_its_upload_gets_the_answer(server: Server, chunked: bool) -> None:
    body = b"x" * 3_000_000
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    answer = httpx2.post(
        f"{server.url}/read",
        content=pieces if chunked else body,
        headers={"X-API-Key": KEY},
        trust_env=False,
    )
    assert answer.status_code == 413
    assert "detail" in answer.json()


def test_prefixes_have_their_limit(server: Server) -> None:
    body = b"x" * (LIMIT + 5)
    answers = [
        httpx2.post(f"{server.url}{path}", content=body, headers={"X-API-Key": KEY}, trust_env=False)
        for path in ("/v1/read", "/read")
    ]
    assert [answer.status_code for answer in answers] == [200, 413]


# -- one connection ------------------------------------------------------------------------------------------


def test_a_connection_outlives_small_refusals_and_not_large_ones(server: Server) -> None:
    with server.connect() as connection:
        reader = connection.makefile("rb")
        for body, key, expected, closes in (
            (b"x" * 50, "wr0ng-key", 401, False),
            (b"x" * 50, KEY, 200, False),
            (b"x" * 100_000, "wr0ng-key", 401, True),
        ):
            head = (
                f"POST /read HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            status = int(reader.readline().split()[1])
            headers = {}
            while (line := reader.readline()) != b"\r\n":
                name, _, value = line.decode().strip().partition(": ")
                headers[name] = value
            reader.read(int(headers["content-length"]))
            assert status == expected
            assert (headers.get("connection") == "close") is closes
        assert reader.read() == b""


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/read", {}, 200),
        ("POST", "/read", {"X-API-Key": ""}, 401),
        ("POST", "/read", {"Content-Encoding": "gzip"}, 415),
        ("GET", "/read", {}, 405),
        ("GET", "/nowhere", {}, 404),
        ("POST", "/fails", {}, 500),
        ("GET", "/livez", {"X-API-Key": ""}, 200),
    ],
)
def test_every_answer_has_its_headers_and_its_id(
    server: Server, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = httpx2.request(
        method, f"{server.url}{path}", headers={"X-API-Key": KEY, **headers}, trust_env=False
    )
    assert answer.status_code == status
    for name, value in {**HEADERS, "Cache-Control": "no-store"}.items():
        assert answer.headers.get_list(name) == [value]
    assert server.line(answer.headers["x-request-id"])["status"] == status


# -- clients that vanish -------------------------------------------------------------------------------------

BODY = chunk(b"x" * 50) + chunk(b"y" * 50) + b"0\r\n\r\n"


def whole(name: str) -> bytes:
    return request("/v1/read", "Transfer-Encoding: chunked", body=BODY, name=name)


LENGTH = len(whole(uuid.uuid4().hex))


@given(st.integers(0, LENGTH), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_disconnect_at_any_byte_leaves_nothing_behind(server: Server, cut: int, reset: bool) -> None:
    name = uuid.uuid4().hex
    connection = server.connect()
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sendall(whole(name)[:cut])
    if not reset:
        connection.shutdown(socket.SHUT_WR)
        everything(connection)
    connection.close()
    if cut >= LENGTH - len(BODY) and not reset:
        # Cut within the body the client is gone; with all of it sent, it may have been answered in time.
        expected = {499} if cut < LENGTH else {200, 499}
        assert server.line(name)["status"] in expected
    server.settle()
    assert {line["status"] for line in server.lines_of(name)} <= {200, 499}
    assert len(server.lines_of(name)) <= 1


def test_vanished_clients_are_counted_as_499(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("/v1/read", "Content-Length: 100", body=b"x", name="vanished"))
        time.sleep(0.05)
    assert server.line("vanished")["status"] == 499
    server.settle()
    text, _ = server.metrics.render(None)
    assert b'route="/v1/read",status="499"' in text


# -- what is written down ------------------------------------------------------------------------------------


def test_no_secret_is_in_any_log_or_metric(server: Server) -> None:
    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        for path in ("/read", "/v1/read", "/fails", "/nowhere/s3cret-path", "/livez"):
            for headers in (
                {"X-API-Key": KEY},
                {"Authorization": f"Bearer {KEY}"},
                {"X-API-Key": "wr0ng-key"},
            ):
                client.post(
                    f"{path}?token=s3cret-query",
                    files={"image": ("s3cret-name.jpg", b"s3cret-body", "image/jpeg")},
                    headers={**headers, "Cookie": "a=s3cret-cookie"},
                )
        client.post(
            "/read", content=b"s3cret-body", headers={"X-API-Key": KEY, "X-Request-ID": "s3cret-path\x1b"}
        )
    server.settle()
    written = server.lines.text.getvalue()
    assert "RuntimeError: on purpose" in written
    for secret in SECRETS:
        assert secret not in written
        assert secret.encode() not in server.metrics.render(None)[0]
    assert "\x1b" not in written
