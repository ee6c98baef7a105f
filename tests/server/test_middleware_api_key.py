"""Keys are asked for before the body, compared in constant time, and kept only as digests."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Scope

import sightline
from sightline.errors import ConfigurationError
from sightline.server import keys as module
from sightline.server.contracts import PROBES
from sightline.server.keys import KeyRing
from sightline.server.middleware import refusals
from sightline.server.middleware.api_key import ApiKey
from sightline.server.middleware.error_forms import ErrorForms
from sightline.server.problems import write_problem

FIRST = "first-key-0123456789"
SECOND = "second-key-9876543210"


async def _echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


def ring(*keys: str) -> KeyRing:
    return KeyRing([SecretStr(key) for key in keys], None)


ECHO = Starlette(routes=[Route("/{path:path}", _echo, methods=["GET", "POST"])])
APP = ErrorForms(
    ApiKey(ECHO, keys=ring(FIRST, SECOND), open_paths=PROBES),
    by_prefixes={("/v1",): write_problem},
)


@pytest.fixture
def client() -> TestClient:
    return TestClient(APP)


@pytest.mark.parametrize("key", [FIRST, SECOND])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_each_key_opens_in_both_headers(client: TestClient, key: str, scheme: str) -> None:
    assert client.get("/v1/x", headers={"X-API-Key": key}).status_code == 200
    assert client.get("/v1/x", headers={"Authorization": f"{scheme} {key}"}).status_code == 200


REFUSED: dict[str, list[tuple[bytes, bytes]]] = {
    "none": [],
    "empty": [(b"x-api-key", b"")],
    "wrong": [(b"x-api-key", b"no")],
    "prefix": [(b"x-api-key", FIRST[:-1].encode())],
    "longer": [(b"x-api-key", FIRST.encode() + b"0")],
    "other case": [(b"x-api-key", FIRST.upper().encode())],
    "not ascii": [(b"x-api-key", b"\xff\xfe")],
    "key and more": [(b"x-api-key", FIRST.encode() + b"\xff")],
    "10 KB": [(b"x-api-key", b"k" * 10_240)],
    "both keys in one": [(b"x-api-key", f"{FIRST}, {SECOND}".encode())],
    "twice": [(b"x-api-key", FIRST.encode()), (b"x-api-key", FIRST.encode())],
    "authorization twice": [(b"authorization", b"Bearer " + FIRST.encode())] * 2,
    "right key, doubled bearer": [
        (b"x-api-key", FIRST.encode()),
        (b"authorization", b"Bearer a"),
        (b"authorization", b"Bearer b"),
    ],
    "basic": [(b"authorization", b"Basic " + FIRST.encode())],
    "no scheme": [(b"authorization", FIRST.encode())],
    "scheme only": [(b"authorization", b"Bearer")],
    "wrong key, right bearer": [(b"x-api-key", b"no"), (b"authorization", b"Bearer " + FIRST.encode())],
    "in a cookie": [(b"cookie", b"x-api-key=" + FIRST.encode())],
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
async def test_anything_else_is_401_with_no_body_byte_read(headers: list[tuple[bytes, bytes]]) -> None:
    status, response_headers, reads = await _call(APP, headers)
    assert status == 401
    assert response_headers[b"www-authenticate"] == b"Bearer"
    assert reads == 0


@given(st.binary(max_size=200))
async def test_no_bytes_in_the_header_do_anything_but_401(value: bytes) -> None:
    status, _, reads = await _call(APP, [(b"x-api-key", value)])
    assert (status, reads) == (401, 0)


async def test_a_refused_upload_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "LINGER_S", 0.0)
    for headers, closes in (
        ([(b"content-length", b"70000")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"content-length", b"junk")], True),
        ([(b"content-length", b"10")], False),
        ([], False),
    ):
        status, response_headers, reads = await _call(APP, headers)
        assert (status, reads) == (401, 0)
        assert (response_headers.get(b"connection") == b"close") is closes


def test_the_refusal_speaks_the_dialect_of_the_path(client: TestClient) -> None:
    problem = client.get("/v1/operations")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["code"] == "unauthorized"
    assert problem.json()["status"] == 401
    assert set(client.get("/api/geolocate").json()) == {"detail"}


def test_probes_are_open_and_nothing_near_them_is(client: TestClient) -> None:
    for path in PROBES:
        assert client.get(path).status_code == 200
        for near in (f"{path}/", f"{path}x", path.upper(), f"{path}/../v1/x", f"{path};x"):
            assert client.get(near).status_code == 401, near
        assert client.get(f"http://testserver/{path}").status_code == 401
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": f"Bearer {FIRST}"}).status_code == 200


def test_only_some_routes_may_need_a_key() -> None:
    client = TestClient(ApiKey(ECHO, keys=ring(FIRST), routes=("/api", "/v1/"), open_prefixes=("/v1/docs",)))
    for path in ("/api", "/api/geolocate", "/v1", "/v1/x"):
        assert client.get(path).status_code == 401, path
        assert client.get(path, headers={"X-API-Key": FIRST}).status_code == 200
    for path in ("/", "/apix", "/classify", "/v1x", "/v1/docs", "/v1/docs/page"):
        assert client.get(path).status_code == 200, path
        assert client.get(path, headers={"X-API-Key": "wrong"}).status_code == 200, path


def test_options_needs_no_key(client: TestClient) -> None:
    assert client.options("/v1/x").status_code == 405


def test_which_key_was_used_is_in_the_scope() -> None:
    async def numbered(request: Request) -> Response:
        return PlainTextResponse(str(request.scope["state"].get("api_key")))

    app = Starlette(routes=[Route("/{path:path}", numbered)])
    client = TestClient(ApiKey(app, keys=ring(FIRST, SECOND), routes=("/v1",)))
    for path in ("/v1", "/"):
        assert client.get(path, headers={"X-API-Key": FIRST}).text == "#1"
        assert client.get(path, headers={"X-API-Key": SECOND}).text == "#2"
    assert client.get("/", headers={"X-API-Key": "no"}).text == "None"


def test_a_route_that_is_no_path_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_PROTECTED_ROUTES"):
        ApiKey(ECHO, keys=ring(FIRST), routes=("api",))


def test_without_keys_every_request_passes() -> None:
    client = TestClient(ApiKey(ECHO, keys=ring()))
    assert client.get("/metrics").status_code == 200
    assert client.post("/v1/x", content=b"body", headers={"X-API-Key": "whatever"}).content == b"body"


@pytest.mark.parametrize("key", ["", " ", "two words", "schlüssel", "line\nbreak", "tab\t"])
def test_a_key_no_header_can_carry_is_refused_at_start(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ring(key)
    assert not key.strip() or key not in str(refused.value)


def test_only_digests_are_kept() -> None:
    kept = pickle.dumps(vars(ring(FIRST, SECOND)))
    assert FIRST.encode() not in kept
    assert SECOND.encode() not in kept


def test_every_key_is_compared_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    honest = module.hmac.compare_digest

    def counting(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return honest(a, b)

    monkeypatch.setattr(module.hmac, "compare_digest", counting)
    client = TestClient(APP)
    for given_key, status in ((FIRST, 200), (SECOND, 200), ("no", 401)):
        compared.clear()
        assert client.get("/v1/x", headers={"X-API-Key": given_key}).status_code == status
        assert compared == [(32, 32), (32, 32)]  # sha256 digests: lengths of keys do not show either


async def test_a_websocket_without_a_key_is_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/x", "headers": []}
    await APP(scope, _never, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_no_secret_is_compared_with_equals_anywhere() -> None:
    offenders = [found for path in _sources() for found in _secret_comparisons(path.read_text(), path.name)]
    assert offenders == []


@pytest.mark.parametrize(
    "source",
    ["api_key == given", "x = self.hub_token != other", "given in (secret,)", "settings.api_keys[0] == k"],
)
def test_the_search_for_such_comparisons_finds_them(source: str) -> None:
    assert list(_secret_comparisons(source, "source"))


SECRET_WORD = re.compile(r"(^|_)(api_?keys?|secrets?|tokens?|passwords?)($|_)|(^|_)key_?digest")


def _sources() -> Iterator[Path]:
    """All but models, whose tokens are words of a vocabulary."""
    root = Path(sightline.__file__).parent
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] != "models":
            yield path


def _secret_comparisons(source: str, name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        compares = isinstance(node, ast.Compare) and any(
            isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for operator in node.ops
        )
        if not compares:
            continue
        for part in ast.walk(node):
            word = getattr(part, "attr", None) or getattr(part, "id", None)
            if isinstance(word, str) and SECRET_WORD.search(word.lower()):
                yield f"{name}:{node.lineno} {ast.unparse(node)}"


async def _never() -> Message:
    raise AssertionError("nothing was to be received")


async def _call(app: ApiKey, headers: list[tuple[bytes, bytes]]) -> tuple[int, dict[bytes, bytes], int]:
    """Status, headers, and how often the body was asked for."""
    sent: list[Message] = []
    reads = 0

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http", "method": "POST", "path": "/v1/x", "root_path": "", "headers": headers,
        "query_string": b"",
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), reads
