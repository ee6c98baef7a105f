"""Every response carries the six headers once, whatever the app did."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from sightline.server.middleware.security_headers import HEADERS, SecurityHeaders

DOCS_POLICY = "default-src 'self'"


async def _fine(request: Request) -> Response:
    return PlainTextResponse("fine")


async def _own(request: Request) -> Response:
    headers = {"Cache-Control": "public, max-age=60", "X-Frame-Options": "ALLOWALL", "X-Else": "kept"}
    return PlainTextResponse("own", headers=headers)


async def _fails(request: Request) -> Response:
    raise RuntimeError("on purpose")


@pytest.fixture
def client() -> TestClient:
    routes = [
        Route("/fine", _fine),
        Route("/own", _own),
        Route("/fails", _fails),
        Route("/docs", _fine),
        Mount("/mounted", routes=[Route("/docs", _fine)]),
    ]
    app = SecurityHeaders(Starlette(routes=routes), policy_by_path={"/docs": DOCS_POLICY})
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/fine", 200),
        ("HEAD", "/fine", 200),
        ("GET", "/own", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/fine", 405),
        ("GET", "/fails", 500),
        ("GET", "/mounted/docs", 200),
    ],
)
def test_six_headers_on_every_response(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert len(HEADERS) == 6
    for name, value in HEADERS.items():
        assert response.headers.get_list(name) == [value]


def test_nothing_is_cached_unless_the_app_says_so(client: TestClient) -> None:
    assert client.get("/fine").headers.get_list("cache-control") == ["no-store"]
    assert client.get("/nowhere").headers["cache-control"] == "no-store"
    own = client.get("/own").headers
    assert own.get_list("cache-control") == ["public, max-age=60"]
    assert own["x-else"] == "kept"


def test_a_path_has_its_own_content_policy(client: TestClient) -> None:
    docs = client.get("/docs").headers
    assert docs.get_list("content-security-policy") == [DOCS_POLICY]
    assert docs["x-frame-options"] == "DENY"
    assert client.get("/docs/else").headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_other_scopes_pass_untouched() -> None:
    started = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        started.append(scope["type"])
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    with TestClient(SecurityHeaders(app)):
        pass
    assert started == ["lifespan"]


@pytest.mark.parametrize(
    ("https_only", "scheme", "expected"),
    [(True, "https", "max-age=31536000"), (True, "http", None), (False, "https", None)],
)
def test_browsers_are_told_to_stay_with_https_only_over_it(
    https_only: bool, scheme: str, expected: str | None
) -> None:
    app = SecurityHeaders(Starlette(routes=[Route("/fine", _fine)]), https_only=https_only)
    answer = TestClient(app, base_url=f"{scheme}://example.org").get("/fine")
    assert answer.headers.get("strict-transport-security") == expected
    assert answer.headers["x-frame-options"] == "DENY"
