"""The server around the atlas-backend's routes: health, throttle, CORS, names, HTTPS, headers, docs."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from sightline.server.routes.compat.atlas import CONTRACT
from sightline.settings import Settings


def test_the_root_says_what_this_is(client: httpx2.Client) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.json()["service"] == "sightline"
    assert response.json()["status"] == "ok"


def test_health_is_ok_when_configured(asking: httpx2.Client) -> None:
    response = asking.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_health_says_what_is_missing(client: httpx2.Client) -> None:
    response = client.get("/healthz")
    assert response.status_code == 200, "as that service: a probe must not end a server without a Gemini key"
    assert response.json()["status"] == "degraded"
    assert response.json()["temp_dir_ready"] is True
    assert response.json()["gemini_api_configured"] is False
    assert response.json()["checks"]["temp_directory"] == "ok"
    assert "sightline models pull" in response.json()["checks"]["vision_language_model"]


def test_health_notices_a_full_or_missing_temp_directory(
    asking: httpx2.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    response = asking.get("/healthz")
    assert response.status_code == 200
    assert response.json()["temp_dir_ready"] is False
    assert response.json()["checks"]["temp_directory"].startswith("cannot be written")
    assert str(tmp_path) not in response.text


def test_a_key_is_asked_for_where_there_is_one(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(api_keys=(SecretStr("k"),))
    for path in ("/uploadfile/", "/analyze/", "/gemini/analyze/"):
        assert client.post(path).status_code == 401
    assert client.get("/healthz").status_code == 200
    assert client.post("/uploadfile/", headers={"X-API-Key": "k"}).status_code == 422


@pytest.fixture
def throttled(serve: Callable[..., httpx2.Client]) -> httpx2.Client:
    return serve(rate_limit_requests=2, rate_limit_window_s=1000)


def test_one_client_may_ask_so_often_on_all_routes_together(throttled: httpx2.Client) -> None:
    assert throttled.post("/uploadfile/").status_code == 422
    assert throttled.post("/analyze/").status_code == 422
    refused = throttled.post("/gemini/analyze/")
    assert refused.status_code == 429
    assert 990 < int(refused.headers["retry-after"]) <= 1001
    assert "detail" in refused.json()
    assert throttled.get("/healthz").status_code == 200, "probes are not counted"
    assert throttled.post("/analyze_image/").status_code == 400, "nor are the routes of others"


def test_the_limit_is_sixty_a_minute_unless_set() -> None:
    assert list(CONTRACT.rates(Settings()).values()) == [("60/60 seconds",)]


def test_no_limit_is_a_setting(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(rate_limit_requests=0)
    assert {client.post("/uploadfile/").status_code for _ in range(70)} == {422}


PREFLIGHT = {"Origin": "https://any.example", "Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize("changes", [{"api_keys": (SecretStr("k"),)}, {"allowed_origins": ("*",)}])
def test_any_page_may_call_with_a_key_or_when_told(
    serve: Callable[..., httpx2.Client], changes: dict[str, object]
) -> None:
    client = serve(**changes)
    for path in ("/uploadfile/", "/analyze/", "/gemini/analyze/", "/healthz", "/"):
        response = client.options(path, headers=PREFLIGHT)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in client.options("/v1/analyze", headers=PREFLIGHT).headers


def test_no_page_may_call_while_only_loopback_protects(client: httpx2.Client) -> None:
    for path in ("/uploadfile/", "/analyze/", "/gemini/analyze/"):
        assert "access-control-allow-origin" not in client.options(path, headers=PREFLIGHT).headers


def test_or_only_those_of_the_settings(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(allowed_origins=("https://app.example",))
    allowed = client.post("/uploadfile/", headers={"Origin": "https://app.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    other = client.post("/uploadfile/", headers={"Origin": "https://other.example"})
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers


def test_only_trusted_names_are_answered_to(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(allowed_hosts=("api.example.org", "*.example.net"))
    assert client.get("/", headers={"Host": "api.example.org:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "a.example.net"}).status_code == 200
    refused = client.get("/", headers={"Host": "evil.example"})
    assert refused.status_code == 400
    assert refused.headers["x-frame-options"] == "DENY"
    assert client.get("/livez", headers={"Host": "10.0.0.7"}).status_code == 200


def test_plain_http_is_sent_to_https(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(
        force_https=True,
        trusted_proxies=(ip_network("127.0.0.0/8"),),
        allowed_hosts=("api.example.org", "127.0.0.1"),
    )
    sent = client.get("/?a=b", headers={"Host": "api.example.org"})
    assert sent.status_code == 307
    assert sent.headers["location"] == "https://api.example.org/?a=b"
    assert "strict-transport-security" not in sent.headers
    through_proxy = client.get("/", headers={"X-Forwarded-Proto": "https"})
    assert through_proxy.status_code == 200
    assert through_proxy.headers["strict-transport-security"].startswith("max-age=")
    assert client.get("/livez").status_code == 200


def test_a_stranger_s_word_on_https_is_not_believed(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(force_https=True)
    assert client.get("/", headers={"X-Forwarded-Proto": "https"}).status_code == 307


def test_docs_can_be_turned_off(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(enable_docs=False)
    assert client.get("/docs").status_code == 404
    assert client.get("/").json()["docs"] is None
    assert client.get("/openapi.json").status_code == 404


def test_answers_carry_the_secure_headers(client: httpx2.Client) -> None:
    for response in (client.post("/uploadfile/"), client.get("/healthz"), client.get("/")):
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_openapi_has_the_routes(client: httpx2.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/uploadfile/", "/analyze/", "/gemini/analyze/"):
        content = paths[path]["post"]["requestBody"]["content"]
        assert "multipart/form-data" in content
        assert paths[path]["post"]["responses"]["413"]
    assert "/healthz" in paths
