"""Bodies that are too large, too slow or compressed, down to the single received chunk."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.server.middleware import refusals
from sightline.server.middleware.body_limit import BodyBudget, BodyLimit
from sightline.server.middleware.error_forms import ErrorForms
from sightline.server.problems import write_problem

LIMIT = 1000


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "LINGER_S", 0.0)


@dataclass
class Client:
    """Sends ``chunks``, each after ``pause_s``, and keeps what it gets."""

    chunks: Iterable[bytes] = ()
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    path: str = "/v1/x"
    pause_s: float = 0.0
    more: bool = False  # whether the last chunk is not the end
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    chunks_read: int = 0
    sent: list[Message] = field(default_factory=list)
    state: dict = field(default_factory=dict)
    body_began: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, app: ASGIApp) -> "Client":
        chunks = list(self.chunks) or [b""]

        async def receive() -> Message:
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
            if self.chunks_read >= len(chunks):
                self.idle.set()
                await asyncio.Event().wait()
            self.chunks_read += 1
            body, last = chunks[self.chunks_read - 1], self.chunks_read == len(chunks)
            return {"type": "http.request", "body": body, "more_body": self.more or not last}

        async def send(message: Message) -> None:
            self.sent.append(message)
            if message["type"] == "http.response.body":
                self.body_began.set()
                if not message.get("more_body", False):
                    self.answered.set()

        scope: Scope = {
            "type": "http", "method": "POST", "path": self.path, "raw_path": self.path.encode(),
            "root_path": "", "query_string": b"", "headers": self.headers, "state": self.state,
        }  # fmt: skip
        await app(scope, receive, send)
        return self

    @property
    def status(self) -> int:
        starts = [message["status"] for message in self.sent if message["type"] == "http.response.start"]
        assert len(starts) == 1
        return int(starts[0])

    @property
    def response_headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return not self.sent[-1].get("more_body", False)


async def _size(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _swallows(request: Request) -> Response:
    try:
        await request.body()
    except Exception as error:
        raise HTTPException(400, "there was an error parsing the body") from error
    return PlainTextResponse("fine")


async def _early(request: Request) -> Response:
    return PlainTextResponse("early")


ROUTES = [
    Route("/v1/x", _size, methods=["POST"]),
    Route("/swallows", _swallows, methods=["POST"]),
    Route("/early", _early, methods=["POST"]),
    Route("/{rest:path}", _size, methods=["POST"]),
]


def limited(**options: object) -> BodyLimit:
    return BodyLimit(Starlette(routes=ROUTES), **{"max_bytes": LIMIT, **options})  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=400), max_size=12))
async def test_what_is_within_the_limit_arrives_and_what_is_over_is_413(chunks: list[bytes]) -> None:
    client = await Client(chunks).ask(limited())
    total = sum(map(len, chunks))
    if total <= LIMIT:
        assert (client.status, client.body) == (200, str(total).encode())
    else:
        assert client.status == 413
        # Not a chunk is taken after the one that went over.
        taken = sum(map(len, chunks[: client.chunks_read]))
        assert taken > LIMIT >= taken - len(chunks[client.chunks_read - 1])
    assert client.complete


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
async def test_the_limit_itself_is_allowed(size: int) -> None:
    client = await Client([b"x" * size], [(b"content-length", b"%d" % size)]).ask(limited())
    assert client.status == (200 if size == LIMIT else 413)


@pytest.mark.parametrize("length", [b"1001", b"64000000000", b"9" * 5000, b"0" * 40 + b"5"])
async def test_a_declared_length_is_refused_before_reading(length: bytes) -> None:
    client = await Client([b"x"], [(b"content-length", length)]).ask(limited())
    assert (client.status, client.chunks_read) == (413, 0)
    assert client.response_headers[b"connection"] == b"close"
    assert b"1000 bytes" in client.body


@pytest.mark.parametrize("length", [b"-1", b"+5", b"1e3", b"", b"0x10", b"\xb2", b"5, 5"])
async def test_a_length_that_is_no_number_is_400(length: bytes) -> None:
    client = await Client([b"x"], [(b"content-length", length)]).ask(limited())
    assert (client.status, client.chunks_read) == (400, 0)


@pytest.mark.parametrize(
    "encoding", [b"gzip", b"br", b"GZIP", b"identity, gzip", b"gzip, gzip", b"x", b"\xff"]
)
async def test_compressed_bodies_are_415_before_reading(encoding: bytes) -> None:
    client = await Client([b"x"], [(b"content-encoding", encoding)]).ask(limited())
    assert (client.status, client.chunks_read) == (415, 0)
    assert client.response_headers[b"accept-encoding"] == b"identity"
    assert client.response_headers[b"connection"] == b"close"


async def test_a_second_encoding_header_counts_too() -> None:
    headers = [(b"content-encoding", b"identity"), (b"content-encoding", b"gzip")]
    assert (await Client([b"x"], headers).ask(limited())).status == 415


@pytest.mark.parametrize("encoding", [b"identity", b"Identity", b"", b"identity, identity"])
async def test_identity_is_no_compression(encoding: bytes) -> None:
    client = await Client([b"abc"], [(b"content-encoding", encoding)]).ask(limited())
    assert (client.status, client.body) == (200, b"3")


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/classify", 50),
        ("/classify/", 50),
        ("/classify/deeper", 50),
        ("/classifyx", LIMIT),
        ("/analyze", 20),
        ("/analyze/", 20),
        ("/analyze_image/", LIMIT),
        ("/api/geolocate", 2000),
        ("/api", 10),
        ("/api/geo", 10),
        ("/", LIMIT),
    ],
)
async def test_paths_have_limits_of_their_own(path: str, limit: int) -> None:
    by_prefix = {"/api": 10, "/classify": 50, "/analyze/": 20, "/api/geolocate": 2000}
    app = limited(max_bytes_by_prefix=by_prefix)
    assert (await Client([b"x" * limit], path=path).ask(app)).status == 200
    assert (await Client([b"x" * limit, b"x"], path=path).ask(app)).status == 413
    declared = [(b"content-length", b"%d" % (limit + 1))]
    assert (await Client([b"x"], declared, path=path).ask(app)).status == 413


async def test_refusals_speak_the_dialect_of_the_path_and_name_the_request() -> None:
    app = ErrorForms(limited(), by_prefixes={("/v1",): write_problem})
    client = await Client([b"x" * 2000], state={"request_id": "abc"}).ask(app)
    assert client.response_headers[b"content-type"] == b"application/problem+json"
    assert b'"request_id":"abc"' in client.body
    assert b'"code":"payload_too_large"' in client.body
    assert client.state["log"] == {"refused": "payload_too_large"}
    plain = await Client([b"x" * 2000], path="/classify").ask(app)
    assert plain.body.startswith(b'{"detail":')


async def test_an_app_that_swallows_the_failure_cannot_answer_over_the_refusal() -> None:
    client = await Client([b"x" * 900] * 9, path="/swallows").ask(limited())
    assert (client.status, client.chunks_read) == (413, 2)
    assert client.response_headers[b"connection"] == b"close"
    assert client.complete


async def test_the_refusal_goes_out_before_the_app_ends() -> None:
    seen_by_app: list[Message] = []
    answered = asyncio.Event()

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        seen_by_app.extend([await receive() for _ in range(4)])
        await answered.wait()
        await PlainTextResponse("too late")(scope, receive, send)

    client = Client([b"x" * 2000, b"x"])
    asking = asyncio.create_task(client.ask(BodyLimit(stubborn, max_bytes=LIMIT)))
    await asyncio.wait_for(client.answered.wait(), 5)
    answered.set()
    await asking
    assert (client.status, client.chunks_read) == (413, 1)
    assert [message["type"] for message in seen_by_app] == ["http.disconnect"] * 4


async def test_a_response_that_had_begun_is_cut_and_not_completed() -> None:
    async def echoes(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            size = b"%d," % len(message.get("body", b""))
            await send({"type": "http.response.body", "body": size, "more_body": more})

    client = await Client([b"x" * 600, b"y" * 600, b"z"]).ask(BodyLimit(echoes, max_bytes=LIMIT))
    assert client.status == 200
    assert client.body == b"600,"
    assert not client.complete


async def test_errors_of_the_app_pass() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        await Client([b"x"]).ask(BodyLimit(broken, max_bytes=LIMIT))


@pytest.mark.parametrize(
    ("headers", "closes"),
    [
        ([(b"content-length", b"70000")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"content-length", b"900")], False),
        ([], False),
    ],
)
async def test_an_answer_to_an_unread_long_body_closes(
    headers: list[tuple[bytes, bytes]], closes: bool
) -> None:
    client = await Client([b"x"], headers, path="/early").ask(limited(max_bytes=100_000))
    assert (client.status, client.body, client.chunks_read) == (200, b"early", 0)
    assert (client.response_headers.get(b"connection") == b"close") is closes
    read = await Client([b"x"], headers).ask(limited(max_bytes=100_000))
    assert b"connection" not in read.response_headers


async def test_the_end_of_a_closing_answer_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "LINGER_S", 0.15)
    loop = asyncio.get_running_loop()
    started = loop.time()
    client = Client([b"x"], [(b"content-length", b"2000")])
    asking = asyncio.create_task(client.ask(limited()))
    await asyncio.wait_for(client.body_began.wait(), 5)
    assert loop.time() - started < 0.1
    length = int(client.response_headers[b"content-length"])
    assert len(client.body) == length
    assert not client.complete
    await asking
    assert loop.time() - started >= 0.14
    assert client.complete
    assert client.chunks_read == 0


# -- time --------------------------------------------------------------------------------------------------


def hurried() -> BodyLimit:
    return limited(first_byte_timeout_s=0.1, body_timeout_s=0.25)


async def test_a_body_that_does_not_begin_is_408() -> None:
    client = await Client([b"x"], pause_s=5).ask(hurried())
    assert (client.status, client.chunks_read) == (408, 0)
    assert client.response_headers[b"connection"] == b"close"
    assert b"did not begin within 0.1 s" in client.body


async def test_empty_chunks_are_no_beginning() -> None:
    client = await Client([b""] * 100, pause_s=0.02).ask(hurried())
    assert client.status == 408
    assert client.chunks_read < 8


async def test_a_body_that_trickles_is_408_in_the_end() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    client = await Client([b"x"] * 100, pause_s=0.03).ask(hurried())
    assert client.status == 408
    assert b'"code":"request_timeout"' in client.body
    assert 0.2 < loop.time() - started < 2


async def test_a_steady_upload_may_take_longer_than_any_pause() -> None:
    app = limited(first_byte_timeout_s=5.0, body_timeout_s=0.3, min_bytes_per_s=500)
    client = await Client([b"x" * 25] * 30, pause_s=0.02).ask(app)  # 0.6 s, about 1,250 bytes per second
    assert client.status == 200


async def test_a_rate_below_the_minimum_ends_even_without_a_pause() -> None:
    app = limited(first_byte_timeout_s=5.0, body_timeout_s=0.3, min_bytes_per_s=5000)
    client = await Client([b"x" * 25] * 38, pause_s=0.02).ask(app)
    assert client.status == 408
    assert client.chunks_read < 38


async def test_a_fast_beginning_earns_no_long_pause() -> None:
    app = limited(first_byte_timeout_s=5.0, body_timeout_s=0.2, min_bytes_per_s=1)

    async def chunks_then_silence() -> Client:
        return await Client([b"x" * 900], more=True).ask(app)

    client = await asyncio.wait_for(chunks_then_silence(), 10)
    assert client.status == 408


# -- of all requests together ------------------------------------------------------------------------------


async def holding(app: BodyLimit, chunks: list[bytes]) -> tuple[Client, "asyncio.Task[Client]"]:
    """A client in the middle of its upload, and its request."""
    client = Client(chunks, more=True)
    request = asyncio.create_task(client.ask(app))
    await asyncio.wait_for(client.idle.wait(), 10)
    return client, request


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"500")]])
async def test_bodies_that_do_not_fit_beside_others_are_429(headers: list[tuple[bytes, bytes]]) -> None:
    app = limited(budget=BodyBudget(1000))
    _, first = await holding(app, [b"x" * 600])
    refused = await Client([b"x" * 250, b"x" * 250], headers).ask(app)
    assert (refused.status, refused.response_headers[b"retry-after"]) == (429, b"5")
    assert b'"code":"overloaded"' in refused.body
    assert (await Client([b"x" * 400]).ask(app)).status == 200  # given back each time
    assert (await Client([b"x" * 400]).ask(app)).status == 200
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await Client([b"x" * 250, b"x" * 250], headers).ask(app)).status == 200


async def test_a_body_alone_always_fits() -> None:
    assert (await Client([b"x" * 900]).ask(limited(budget=BodyBudget(10)))).status == 200


async def test_the_apps_own_time_is_not_the_clients() -> None:
    async def slow_reader(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(4):
            await receive()
            await asyncio.sleep(0.15)
        await PlainTextResponse("read")(scope, receive, send)

    app = BodyLimit(slow_reader, max_bytes=LIMIT, first_byte_timeout_s=0.1, body_timeout_s=0.25)
    assert (await Client([b"x"] * 4).ask(app)).status == 200


async def test_waiting_for_a_disconnect_has_no_limit() -> None:
    async def computes(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(TimeoutError):  # its own patience, not the limit's
            await asyncio.wait_for(receive(), 0.3)
        await PlainTextResponse("computed")(scope, receive, send)

    app = BodyLimit(computes, max_bytes=LIMIT, first_byte_timeout_s=0.05, body_timeout_s=0.1)
    assert (await Client([b"x"]).ask(app)).body == b"computed"


async def test_a_timeout_of_the_server_itself_is_not_blamed_on_the_client() -> None:
    async def receive() -> Message:
        raise TimeoutError("the transport's")

    async def send(message: Message) -> None:
        raise AssertionError("nothing is to be sent")

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    scope: Scope = {"type": "http", "path": "/", "headers": []}
    with pytest.raises(TimeoutError, match="the transport's"):
        await BodyLimit(reads, max_bytes=LIMIT)(scope, receive, send)


async def test_nobody_waits_for_a_client_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "LINGER_S", 60.0)

    async def left() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http", "method": "POST", "path": "/swallows", "root_path": "", "query_string": b"",
        "headers": [(b"transfer-encoding", b"chunked")],
    }  # fmt: skip
    await asyncio.wait_for(limited()(scope, left, send), 5)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    passed: list[tuple[object, ...]] = []

    async def app(*arguments: object) -> None:
        passed.append(arguments)

    arguments: tuple[Scope, Callable[[], None], Callable[[], None]] = ({"type": kind}, print, print)  # type: ignore[assignment]
    await BodyLimit(app, max_bytes=1)(*arguments)  # type: ignore[arg-type]
    assert passed == [arguments]
