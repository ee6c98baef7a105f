"""``/docs`` and ``/redoc`` render every route in a browser, and fetch nothing from elsewhere."""

from __future__ import annotations

import httpx2
from pydantic import SecretStr


def test_swagger_ui_shows_every_route(page, seen, client, base_url):
    page.goto(f"{base_url}/docs")
    page.wait_for_selector(".opblock")
    described = client.get("/openapi.json").json()
    shown = set(
        page.locator(".opblock .opblock-summary-path").evaluate_all("all => all.map(e => e.dataset.path)")
    )
    assert shown == set(described["paths"])
    assert page.locator(".errors-wrapper").count() == 0
    assert {httpx2.URL(url).host for url in seen.requested if not url.startswith("data:")} == {"127.0.0.1"}
    assert seen.errors == []


def test_a_request_can_be_sent_from_swagger_ui(page, base_url):
    page.goto(f"{base_url}/docs")
    block = page.locator(".opblock", has=page.locator('[data-path="/v1/operations"]')).first
    block.click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    body = block.locator(".live-responses-table .response-col_description code").first
    body.wait_for()
    assert "embed_clip" in body.inner_text()


def test_redoc_shows_every_operation(page, seen, client, base_url):
    page.goto(f"{base_url}/redoc")
    page.wait_for_selector("[data-section-id]")
    described = client.get("/openapi.json").json()
    operations = sum(len(methods) for methods in described["paths"].values())
    shown = page.locator("[data-section-id*='/operation/'], [data-section-id*='/paths/']")
    assert shown.count() >= operations
    loaded = [url for url in seen.requested if not url.startswith(("data:", "blob:"))]
    # ReDoc's footer names a picture of its maker's; the page's policy keeps the browser from asking for it.
    assert {httpx2.URL(url).host for url in loaded if not url.endswith(".svg")} == {"127.0.0.1"}
    assert all("logo" in error or "img-src" in error for error in seen.errors), seen.errors


def test_with_a_key_the_page_opens_and_sends_the_key_it_is_given(page, serve):
    client = serve(api_keys=(SecretStr("k1"),))
    page.goto(f"{client.base_url}/docs")
    page.get_by_role("button", name="Authorize").first.click()
    field = page.locator(".auth-container input").first
    field.fill("k1")
    page.locator(".auth-btn-wrapper button.authorize").first.click()
    page.locator(".auth-btn-wrapper button.btn-done").first.click()
    block = page.locator(".opblock", has=page.locator('[data-path="/v1/operations"]')).first
    block.click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    body = block.locator(".live-responses-table .response-col_description code").first
    body.wait_for()
    assert "embed_clip" in body.inner_text()
