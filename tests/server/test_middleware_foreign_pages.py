"""Without a key, pages of other sites may not make the server of this machine work."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
from pydantic import SecretStr

FOREIGN = "https://evil.example"
# What a page sends without a preflight: a form, or text.
ROUTES = (
    "/gemini/analyze/",
    "/uploadfile/",
    "/v1/operations/ask",
    "/v1/analyze",
    "/classify",
    "/analyze_image/",
)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"])
def test_a_foreign_page_is_refused(client: httpx2.Client, route: str, origin: str) -> None:
    answer = client.post(route, headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("route", ROUTES)
def test_no_page_and_our_own_pages_are_served(client: httpx2.Client, route: str) -> None:
    host = client.base_url.netloc.decode()
    for headers in (
        {},
        {"Origin": f"http://{host}"},
        {"Origin": f"https://{host.upper()}"},
        {"Origin": "https://photos.example", "Sec-Fetch-Site": "same-origin"},
    ):
        assert client.post(route, headers=headers).status_code != 403


def test_two_origins_are_none(client: httpx2.Client) -> None:
    host = client.base_url.netloc.decode()
    headers = [("Origin", f"http://{host}"), ("Origin", FOREIGN)]
    assert client.post("/v1/analyze", headers=headers).status_code == 403


def test_reading_is_as_it_was(client: httpx2.Client) -> None:
    assert client.get("/v1/operations", headers={"Origin": FOREIGN}).status_code == 200


def test_pages_of_the_settings_may_call(serve: Callable[..., httpx2.Client]) -> None:
    page = "https://app.example"
    client = serve(v1_origins=(page,), allowed_origins=(page,))
    for route in ("/gemini/analyze/", "/v1/analyze"):
        assert client.post(route, headers={"Origin": page}).status_code not in (403, 401)
        assert client.post(route, headers={"Origin": FOREIGN}).status_code == 403
    assert client.post("/classify", headers={"Origin": page}).status_code == 403, "only the routes named"


def test_v1_answers_preflights_of_the_settings_pages(serve: Callable[..., httpx2.Client]) -> None:
    page = "https://app.example"
    client = serve(v1_origins=(page,), api_keys=(SecretStr("k"),))
    preflight = {
        "Origin": page,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "x-api-key, x-anything",
    }
    answer = client.options("/v1/collections/7", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == page
    refused = client.options("/v1/collections/7", headers={**preflight, "Origin": FOREIGN})
    assert "access-control-allow-origin" not in refused.headers


def test_with_a_key_for_all_routes_the_key_decides(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(api_keys=(SecretStr("k"),))
    for headers, status in (({"X-API-Key": "k"}, 422), ({}, 401)):
        answer = client.post("/gemini/analyze/", headers={"Origin": FOREIGN, **headers})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "*", "as the replaced service"


def test_with_a_key_for_some_routes_the_others_are_kept_from_pages(
    serve: Callable[..., httpx2.Client],
) -> None:
    client = serve(api_keys=(SecretStr("k"),), protected_routes=("/api",))
    assert client.post("/gemini/analyze/").status_code == 422, "needs no key"
    assert client.get("/api/get-csrf-token").status_code == 401
    assert client.post("/gemini/analyze/", headers={"Origin": FOREIGN}).status_code == 403
    assert client.get("/v1/operations", headers={"Host": "evil.example"}).status_code == 400


def test_the_refusal_has_a_page_that_says_what_it_means(client: httpx2.Client) -> None:
    problem = client.post("/v1/analyze", headers={"Origin": FOREIGN}).json()
    assert client.get(problem["type"]).json()["status"] == problem["status"] == 403
