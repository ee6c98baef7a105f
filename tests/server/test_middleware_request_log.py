"""One line per request that says what became of it, under an id nobody can break out of."""

import asyncio
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.server import logs
from sightline.server.middleware import refusals
from sightline.server.middleware.request_log import RequestLog

MADE = re.compile(r"[0-9a-f]{32}")


class _Lines(logging.Handler):
    """Keeps the records of the access log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def only(self) -> dict[str, Any]:
        (record,) = self.records
        return record.fields  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def lines() -> Iterator[_Lines]:
    logger = logging.getLogger("sightline.access")
    handler, level = _Lines(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def _echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def _notes(request: Request) -> Response:
    request.state.log.update(operations=["embed_clip"], status=999, route="forged")
    return PlainTextResponse(request.state.request_id, headers={"X-Request-ID": "the apps own"})


async def _fails(request: Request) -> Response:
    raise RuntimeError("on purpose")


async def _breaks_off(request: Request) -> Response:
    async def pieces():  # type: ignore[no-untyped-def]
        yield b"begun"
        raise RuntimeError("on purpose")

    return StreamingResponse(pieces())


ROUTES = [
    Route("/items/{name}", _echo, methods=["GET", "POST"]),
    Route("/notes", _notes),
    Route("/v1/fails", _fails),
    Route("/breaks_off", _breaks_off),
    Mount("/mounted", routes=[Route("/inner/{name}", _echo)]),
]


@pytest.fixture
def observed() -> list[tuple[str, str, int, float]]:
    return []


@pytest.fixture
def client(observed: list[tuple[str, str, int, float]]) -> TestClient:
    app = RequestLog(Starlette(routes=ROUTES), observe=lambda *seen: observed.append(seen))
    return TestClient(app, raise_server_exceptions=False)


# -- ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64])
def test_a_fitting_id_is_kept(client: TestClient, lines: _Lines, name: str) -> None:
    response = client.get("/notes", headers={"X-Request-ID": name})
    assert response.text == name
    assert response.headers.get_list("x-request-id") == [name]
    assert lines.only["request_id"] == name


UNFIT = [
    b"",
    b"x" * 65,
    b"x" * 10_240,
    b"a\r\nSet-Cookie: b",
    b"a\n",
    b"\x1b[31mred",
    b"a b",
    b"a,b",
    b"\xff",
]


@pytest.mark.parametrize("given_id", UNFIT, ids=[repr(value[:20]) for value in UNFIT])
async def test_any_other_is_replaced(lines: _Lines, given_id: bytes) -> None:
    sent = await _ask(_answers, [(b"x-request-id", given_id)])
    assert MADE.fullmatch(lines.only["request_id"])
    assert dict(sent[0]["headers"])[b"x-request-id"].decode() == lines.only["request_id"]


@given(st.binary(max_size=80))
async def test_no_bytes_get_into_an_id_that_do_not_belong(given_id: bytes) -> None:
    sent = await _ask(_answers, [(b"x-request-id", given_id)])
    made = dict(sent[0]["headers"])[b"x-request-id"]
    assert re.fullmatch(rb"[A-Za-z0-9_-]{1,64}", made)


async def test_two_ids_are_none(lines: _Lines) -> None:
    await _ask(_answers, [(b"x-request-id", b"one"), (b"x-request-id", b"two")])
    assert MADE.fullmatch(lines.only["request_id"])


def test_ids_made_here_differ(client: TestClient) -> None:
    assert len({client.get("/notes").text for _ in range(50)}) == 50


def test_the_id_is_on_every_line_written_meanwhile() -> None:
    seen: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(logs.request_id.get())
        await asyncio.create_task(_look(seen))
        await _answers(scope, receive, send)

    async def _look(into: list[str | None]) -> None:
        into.append(logs.request_id.get())

    TestClient(RequestLog(app)).get("/", headers={"X-Request-ID": "abc"})
    assert seen == ["abc", "abc"]
    assert logs.request_id.get() is None


# -- the line ----------------------------------------------------------------------------------------------


def test_a_line_says_what_went_in_and_out(
    client: TestClient, lines: _Lines, observed: list[tuple[str, str, int, float]]
) -> None:
    client.post("/items/secret-name?token=s3cret", content=b"12345", headers={"X-API-Key": "s3cret"})
    line = lines.only
    assert line["method"] == "POST"
    assert line["route"] == "/items/{name}"
    assert line["status"] == 200
    assert (line["bytes_in"], line["bytes_out"]) == (5, 5)
    assert 0 < line["ms"] < 5000
    assert "s3cret" not in str(vars(lines.records[0]))
    assert "secret-name" not in str(vars(lines.records[0]))
    assert lines.records[0].levelno == logging.INFO
    ((route, method, status, total_s),) = observed
    assert (route, method, status) == ("/items/{name}", "POST", 200)
    assert total_s * 1000 == pytest.approx(line["ms"], abs=0.01)


def test_handlers_add_to_the_line_and_change_nothing_in_it(client: TestClient, lines: _Lines) -> None:
    client.get("/notes")
    assert lines.only["operations"] == ["embed_clip"]
    assert (lines.only["status"], lines.only["route"]) == (200, "/notes")


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("GET", "/nowhere/at/all", 404, "unmatched"),
        ("DELETE", "/notes", 405, "/notes"),
        ("GET", "/mounted/nowhere", 404, "/mounted"),
    ],
)
def test_refused_requests_have_their_line_too(
    client: TestClient, lines: _Lines, method: str, path: str, status: int, route: str
) -> None:
    response = client.request(method, path)
    assert MADE.fullmatch(response.headers["x-request-id"])
    assert (lines.only["status"], lines.only["route"], lines.only["method"]) == (status, route, method)


async def test_an_unusual_method_is_other(lines: _Lines) -> None:
    await _ask(_answers, method="BREW\x1b[2J")
    assert lines.only["method"] == "other"


def test_a_failure_is_a_500_with_an_id_and_no_trace(
    client: TestClient, lines: _Lines, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.get("/v1/fails")
    assert response.status_code == 500
    assert "x-request-id" in response.headers
    assert "on purpose" not in response.text
    assert lines.only["status"] == 500
    assert lines.records[0].levelno == logging.WARNING
    assert "RuntimeError: on purpose" in caplog.text


async def test_what_escapes_a_plain_app_is_answered_here(
    lines: _Lines, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("on purpose")

    sent = await _ask(broken, [(b"x-request-id", b"abc")])
    assert sent[0]["status"] == 500
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]
    assert b'"request_id":"abc"' in sent[1]["body"]
    assert b"on purpose" not in sent[1]["body"]
    assert lines.only["status"] == 500
    assert caplog.text.count("LookupError: on purpose") == 1


async def test_a_response_that_breaks_off_stays_unfinished(lines: _Lines) -> None:
    sent = await _ask(Starlette(routes=ROUTES), path="/breaks_off")
    assert sent[-1]["more_body"] is True
    assert lines.only["bytes_out"] == 5


async def test_an_app_that_never_answers_is_a_500(lines: _Lines) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    assert await _ask(silent) == []
    assert lines.only["status"] == 500


async def test_cancelled_requests_have_their_line(lines: _Lines) -> None:
    async def sleeps(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    asking = asyncio.create_task(_ask(sleeps))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert lines.only["status"] == 503


async def test_holding_the_connection_is_not_the_requests_time(
    lines: _Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "LINGER_S", 0.2)

    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await refusals.refusal(scope, 413, "payload_too_large", "no", closes=True)(scope, receive, send)

    await _ask(refuses)
    assert lines.only["ms"] < 150
    assert lines.only["refused"] == "payload_too_large"


# -- clients that leave ------------------------------------------------------------------------------------


@pytest.mark.parametrize("left_after", [0, 1, 2, 3])
async def test_a_client_that_leaves_is_a_499(lines: _Lines, left_after: int) -> None:
    """Three pieces of body, and the connection gone before any of them, or after all."""

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the app's way of saying so")
            more = message["more_body"]
        await _answers(scope, receive, send)

    pieces = [{"type": "http.request", "body": b"x", "more_body": n < 2} for n in range(3)]
    await _ask(reads, incoming=[*pieces[:left_after], {"type": "http.disconnect"}])
    assert lines.only["status"] == 499
    assert lines.only["bytes_in"] == left_after


async def test_a_failure_for_a_client_that_left_is_not_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def gives_up(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ConnectionError("gone")

    assert await _ask(gives_up, incoming=[{"type": "http.disconnect"}]) == []
    assert "gone" not in caplog.text


async def test_a_client_that_waits_is_not_taken_for_gone(lines: _Lines) -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await _answers(scope, receive, send)

    await _ask(reads, incoming=[{"type": "http.request", "body": b"", "more_body": False}])
    assert lines.only["status"] == 200


# -- asking ------------------------------------------------------------------------------------------------


async def _answers(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("answered")(scope, receive, send)


async def _ask(
    app: ASGIApp,
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    method: str = "GET",
    path: str = "/v1/x",
    incoming: list[Message] | None = None,
) -> list[Message]:
    """What the app sends; after ``incoming`` the connection stays open and silent."""
    sent: list[Message] = []
    waiting = list(incoming or [])

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": method, "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers or [],
    }  # fmt: skip
    await RequestLog(app)(scope, receive, send)
    return sent
