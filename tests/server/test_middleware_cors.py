"""Pages of listed origins may call; to everybody else it is as if CORS were not there."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from sightline.errors import ConfigurationError
from sightline.server.middleware.cors import Cors

ORIGIN = "https://yourdomain.com"


async def _refuse(request: Request) -> Response:
    return PlainTextResponse("no key", 401)


APP = Starlette(routes=[Route("/{path:path}", _refuse, methods=["GET", "POST", "OPTIONS"])])


def client(*origins: str) -> TestClient:
    return TestClient(Cors(APP, prefix="/api", origins=origins))


def cors_headers(response: object) -> set[str]:
    return {name for name in response.headers if name.startswith("access-control-")}  # type: ignore[attr-defined]


def preflight(origin: str, method: str = "POST", headers: str = "x-api-key, x-csrf-token") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


def test_a_preflight_is_answered_before_anything_asks_for_a_key() -> None:
    answer = client(ORIGIN).options("/api/geolocate", headers=preflight(ORIGIN))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("x-api-key", "x-csrf-token"))
    assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight_for_a_method_that_nothing_has_fails() -> None:
    answer = client(ORIGIN).options("/api/geolocate", headers=preflight(ORIGIN, method="PATCH"))
    assert answer.status_code == 400


@pytest.mark.parametrize("name", ["x-requested-with", "sentry-trace", "baggage", "x-other"])
def test_any_header_may_be_sent(name: str) -> None:
    answer = client(ORIGIN).options("/api/geolocate", headers=preflight(ORIGIN, headers=name))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-headers"].lower() == name


def test_refusals_can_be_read_by_the_page() -> None:
    answer = client(ORIGIN).get("/api/get-csrf-token", headers={"Origin": ORIGIN})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://yourdomain.com", f"{ORIGIN}:8443", f"{ORIGIN}.evil.example", "null", ""],
)
def test_other_origins_get_nothing(origin: str) -> None:
    for headers in (preflight(origin), {"Origin": origin}):
        answer = client(ORIGIN).options("/api/geolocate", headers=headers)
        assert (answer.status_code, cors_headers(answer)) == (401, set())


@pytest.mark.parametrize("path", ["/v1/analyze", "/apix", "/", "/metrics"])
def test_other_paths_get_nothing(path: str) -> None:
    answer = client(ORIGIN).options(path, headers=preflight(ORIGIN))
    assert (answer.status_code, cors_headers(answer)) == (401, set())


def test_without_origins_nobody_is_let_in() -> None:
    answer = client().options("/api/geolocate", headers=preflight(ORIGIN))
    assert (answer.status_code, cors_headers(answer)) == (401, set())


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://yourdomain.com/", ORIGIN),
        ("HTTPS://YourDomain.com:443", ORIGIN),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_origins_are_read_as_people_write_them(written: str, sent: str) -> None:
    answer = client(written).get("/api/health", headers={"Origin": sent})
    assert answer.headers["access-control-allow-origin"] == sent


@pytest.mark.parametrize(
    "written",
    ["yourdomain.com", "*", "null", "https://*.example", "https://a.example/app", "ftp://a.example",
     "https://user@a.example", "https://a.example:port", "https://bücher.example", "https://[", "https://"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_at_start(written: str) -> None:
    with pytest.raises(ConfigurationError, match="NEXTJS_DOMAIN"):
        client(written)


def test_any_origin_may_be_allowed() -> None:
    asking = TestClient(Cors(APP, prefix=("/upload", "/ask"), origins=("*",), any_origin=True))
    for path in ("/upload/", "/ask/deeper"):
        answer = asking.options(path, headers=preflight("https://whoever.example"))
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
    assert cors_headers(asking.options("/asked", headers=preflight(ORIGIN))) == set()


def test_a_star_is_no_origin_elsewhere() -> None:
    with pytest.raises(ConfigurationError, match="NEXTJS_DOMAIN"):
        client("*")


def test_errors_name_the_setting_to_correct() -> None:
    with pytest.raises(ConfigurationError, match="no origin for MINE"):
        Cors(APP, prefix="/ask", origins=("example.org",), any_origin=True, setting="MINE")
