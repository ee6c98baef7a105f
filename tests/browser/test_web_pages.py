"""The pages for people, driven as people do: by mouse, by keyboard, and with things going wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, expect
from pydantic import SecretStr
from skimage import data
from tests.browser.driving import choose, complaints, done, give, result, screenshot

from sightline.imaging import encode_png

WEB = Path(__file__).parents[2] / "src/sightline/server/web"
VENDOR = Path(__file__).with_name("vendor")
AXE = VENDOR / "axe.min.js"
THEMES = ("light", "dark")


# -- Try it --------------------------------------------------------------------------------------------------


def test_a_real_face_is_found_and_drawn(page, seen, base_url, photo) -> None:
    page.goto(f"{base_url}/")
    choose(page, "detect_faces")
    give(page, photo)
    card = done(page, "detect_faces")
    expect(card.locator(".finds li")).to_have_count(1)
    box = page.locator(".canvas rect.shape").first
    assert abs(float(box.get_attribute("x")) - 179) <= 2
    assert page.locator(".canvas .dot").count() == 5
    assert card.locator(".notice").count() == 0
    assert {httpx2.URL(url).host for url in seen.requested if not url.startswith(("data:", "blob:"))} == {
        "127.0.0.1"
    }
    assert complaints(seen) == []
    screenshot(page, "try-face")


def test_every_operation_that_takes_a_photo_can_be_asked_from_the_page(page, seen, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    names = [
        each["name"]
        for each in httpx2.get(f"{rehearsed}/v1/operations").json()["operations"]
        if each["needs_image"]
    ]
    choose(page, *names)
    give(page, photo)
    for name in names:
        card = done(page, name)
        assert card.locator(".error").count() == 0, name
        expect(card.locator(".tag")).to_have_text("made up")
        assert "made-up" in (card.get_attribute("class") or "")
    assert done(page, "geolocate").locator(".map .place").count() >= 5
    assert done(page, "geolocate").locator(".map .ring").count() == 2
    assert done(page, "classify_zero_shot").locator(".bars .fill").count() >= 2
    assert done(page, "embed_clip").locator(".plot path").count() == 1
    assert done(page, "identify_species").locator(".species").count() == 1
    assert done(page, "safe_search").locator(".meter").count() == 1
    assert done(page, "describe_image").locator("blockquote").inner_text()
    expect(page.locator("#made-up .notice")).to_have_count(1)
    assert complaints(seen) == []
    screenshot(page, "try-all")


def test_a_text_needs_no_photo(page, rehearsed) -> None:
    page.goto(f"{rehearsed}/")
    row = page.locator(".choice", has_text="embed text")
    row.locator("summary").click()
    row.get_by_label(re.compile("^text")).fill("a dog, asleep")
    row.get_by_role("button", name="Ask").click()
    expect(done(page, "embed_text").locator(".plot")).to_have_count(1)


def test_parameters_of_the_form_reach_the_server(page, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    choose(page)
    give(page, photo)
    row = page.locator(".choice", has_text="classify zero shot")
    row.locator("summary").click()
    chips = row.get_by_label("labels", exact=True)
    while chips.locator("xpath=..").get_by_role("button").count():
        chips.locator("xpath=..").get_by_role("button").first.click()
    for label in ("dog", "<b>cat</b>"):
        chips.fill(label)
        chips.press("Enter")
    row.get_by_role("button", name="Ask", exact=True).click()
    card = done(page, "classify_zero_shot")
    assert set(card.locator(".bars li > span:first-child").all_inner_texts()) == {"dog", "<b>cat</b>"}
    card.get_by_text("Same request as").click()
    card.get_by_role("tab", name="JSON").click()
    asked = json.loads(card.locator("pre").inner_text())
    assert asked["tasks"] == [
        {"operation": "classify_zero_shot", "params": {"labels": ["dog", "<b>cat</b>"]}}
    ]


def test_a_sample_is_one_click(page, rehearsed) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    page.get_by_role("button", name="A cat").click()
    done(page, "safe_search")


def test_a_photo_can_be_pasted_and_dropped(page, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    for kind in ("paste", "drop"):
        page.evaluate(
            """([kind, bytes]) => {
                const transfer = new DataTransfer();
                const file = new File([new Uint8Array(bytes)], `${kind}ed.jpg`, { type: "image/jpeg" });
                transfer.items.add(file);
                const event = kind === "paste"
                  ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
                  : new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
                document.body.dispatchEvent(event);
            }""",
            [kind, list(photo.read_bytes())],
        )
        expect(page.locator(f"section[aria-label='{kind}ed.jpg'] .canvas img")).to_have_count(1)
    expect(page.locator(".result summary", has_text=" ms")).to_have_count(2)


def test_a_photo_that_the_browser_cannot_show_is_drawn_by_the_server(page, rehearsed, tmp_path) -> None:
    import io

    import pillow_heif
    from PIL import Image

    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(data.coffee())).save(file, quality=60)
    (tmp_path / "coffee.heic").write_bytes(file.getvalue())
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    give(page, tmp_path / "coffee.heic")
    done(page, "safe_search")
    assert page.locator(".canvas svg").get_attribute("viewBox") == "0 0 600 400"
    assert page.locator(".canvas img").evaluate("image => image.complete && image.clientWidth > 0")


def test_everything_can_be_done_with_the_keyboard(page, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    page.keyboard.press("Home")
    page.locator("body").click(position={"x": 2, "y": 2})
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(document.activeElement.innerText || document.activeElement.id || '').trim().slice(0, 20)"
            )
        )
    assert {"Try it", "Models", "Key", "Choose photos", "op-ask"} <= reached
    page.get_by_role("button", name="A cat").focus()
    page.keyboard.press("Enter")
    card = done(page, "safe_search")
    card.locator("summary").last.focus()
    page.keyboard.press("Enter")
    expect(card.locator("pre")).to_contain_text("curl")


# -- Things that go wrong ------------------------------------------------------------------------------------


def test_markup_in_names_and_answers_is_text(page, seen, rehearsed, tmp_path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    (tmp_path / name).write_bytes(encode_png(data.astronaut()[:64, :64]))
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    give(page, tmp_path / name)
    done(page, "safe_search")
    assert page.locator("h2", has_text="<img src=x").count() == 1
    assert page.locator("img[src='x']").count() == 0
    assert complaints(seen) == []


def test_a_bad_file_is_told_beside_its_name_and_disturbs_nothing(page, rehearsed, photo, tmp_path) -> None:
    (tmp_path / "torn.jpg").write_bytes(photo.read_bytes()[:500])
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    give(page, tmp_path / "torn.jpg", photo)
    good = page.locator("section[aria-label='astronaut.jpg']")
    good.locator("summary", has_text=" ms").wait_for()
    expect(page.locator("section[aria-label='torn.jpg'] .error")).to_have_count(1)
    assert good.locator(".error").count() == 0


def test_a_file_that_is_too_large_is_told_with_its_limit(page, rehearsed, tmp_path) -> None:
    (tmp_path / "huge.png").write_bytes(encode_png(data.astronaut()) + bytes(60_000_000))
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    give(page, tmp_path / "huge.png")
    expect(result(page, "safe_search").locator(".error")).to_be_visible()


def test_thirty_photos_are_taken_and_no_more(page, rehearsed, tmp_path) -> None:
    small = encode_png(data.astronaut()[:48, :48])
    files = []
    for number in range(33):
        files.append(tmp_path / f"{number:02}.png")
        files[-1].write_bytes(small)
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    give(page, *files)
    expect(page.locator(".photos > .card")).to_have_count(30)
    expect(page.locator(".photos > .notice")).to_be_visible()
    expect(page.locator(".result summary", has_text=" ms")).to_have_count(30)


def test_a_key_is_asked_for_and_used(page, serve, photo) -> None:
    client = serve(api_keys=(SecretStr("k1"),))
    page.goto(f"{client.base_url}/")
    field = page.get_by_label("Key", exact=True)
    field.fill("wrong")
    page.get_by_role("button", name="Use it").click()
    page.get_by_label("Key", exact=True).fill("k1")
    page.get_by_role("button", name="Use it").click()
    choose(page, "detect_faces")
    give(page, photo)
    card = done(page, "detect_faces")
    card.get_by_text("Same request as").click()
    expect(card.locator("pre")).to_contain_text("SIGHTLINE_API_KEY")
    assert "k1" not in card.locator("pre").inner_text()
    assert page.evaluate("Object.keys(localStorage).every(name => !localStorage[name].includes('k1'))")


def test_a_busy_server_counts_down(page, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    refusal = {
        "type": "/v1/problems/overloaded",
        "title": "x",
        "status": 429,
        "detail": "busy",
        "code": "overloaded",
    }
    page.route(
        "**/v1/analyze",
        lambda route: route.fulfill(status=429, headers={"Retry-After": "2"}, body=json.dumps(refusal)),
    )
    give(page, photo)
    again = result(page, "safe_search").locator(".error button")
    expect(again).to_be_disabled()
    page.unroute("**/v1/analyze")
    expect(again).to_be_enabled()
    again.click()
    done(page, "safe_search")


def test_a_server_that_stops_is_told(page, serve, photo) -> None:
    client = serve()
    page.goto(f"{client.base_url}/")
    choose(page, "detect_faces")
    page.route("**/v1/analyze", lambda route: route.abort("connectionrefused"))
    give(page, photo)
    expect(result(page, "detect_faces").locator(".error")).to_contain_text("sightline serve")


def test_a_slow_answer_can_be_cancelled(page, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    page.route("**/v1/analyze", lambda route: None)
    give(page, photo)
    result(page, "safe_search").get_by_role("button", name="Cancel").click()
    page.unroute("**/v1/analyze")
    result(page, "safe_search").get_by_role("button", name="Ask again").click()
    done(page, "safe_search")


# -- Models and collections ----------------------------------------------------------------------------------


def test_models_are_listed_and_loaded(page, seen, rehearsed) -> None:
    page.goto(f"{rehearsed}/models")
    page.locator("tbody tr").first.wait_for()
    listed = {each["name"] for each in httpx2.get(f"{rehearsed}/v1/models").json()["models"]}
    assert set(page.locator("tbody strong").all_inner_texts()) == listed
    page.get_by_role("button", name=re.compile("dinov2-base-518")).click()
    row = page.locator("tbody tr", has=page.locator("strong", has_text="dinov2-base-518"))
    expect(row.locator(".state-ready")).to_have_text("in memory")
    assert complaints(seen) == []
    screenshot(page, "models")


def test_a_class_is_taught_compared_promoted_and_rolled_back(
    page, seen, serve, with_colours, tmp_path
) -> None:
    import numpy as np

    client = serve(plugins_dir=with_colours(tmp_path / "plugins"))
    rng = np.random.default_rng(3)
    sides: dict[str, list[Path]] = {"in": [], "out": []}
    for side, colour in (("in", (200, 40, 30)), ("out", (30, 60, 200))):
        for number in range(8):
            pixels = np.clip(np.array(colour) + rng.integers(-25, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            sides[side].append(tmp_path / f"{side}{number}.png")
            sides[side][-1].write_bytes(encode_png(pixels))
    page.goto(f"{client.base_url}/collections")
    page.get_by_label("Name").fill("red")
    page.get_by_role("button", name="Train").click()
    expect(page.locator("form .notice")).to_be_visible()
    for side, files in sides.items():
        page.locator(f"#files-{side}").set_input_files(files)
    for _ in range(2):
        page.get_by_role("button", name="Train").click()
        expect(page.get_by_text("Trained.")).to_be_visible()
        expect(page.get_by_role("button", name="Train")).to_be_enabled()
    card = page.locator("section[aria-label='red']")
    card.locator("summary").click()
    card.locator("tbody tr").nth(1).wait_for()
    screenshot(page, "collections")
    promote = card.get_by_role("button", name=re.compile("Promote")).first
    version = (promote.get_attribute("aria-label") or "").removeprefix("Promote ")
    promote.click()
    expect(card.locator("p").first).to_contain_text(f"Version {version} serves")
    card.get_by_role("button", name=re.compile("Roll back")).click()
    expect(card.locator("p").first).not_to_contain_text(version)
    assert complaints(seen) == []


# -- Every page ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("path", ["", "models", "collections", "library"])
def test_axe_finds_nothing(browser: Browser, rehearsed, photo, theme: str, path: str, width: int) -> None:
    # The page's own policy would keep axe out: another test shows that the page holds to it.
    context = browser.new_context(
        color_scheme=theme, bypass_csp=True, reduced_motion="reduce", viewport={"width": width, "height": 740}
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{rehearsed}/{path}")
    page.locator("#page > *").first.wait_for()
    if not path:
        choose(page, "safe_search", "geolocate", "detect_faces", "classify_zero_shot")
        give(page, photo)
        for name in ("safe_search", "geolocate", "detect_faces", "classify_zero_shot"):
            done(page, name)
        page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
    screenshot(page, f"{path or 'try'}-{theme}-{width}")
    context.close()


@pytest.mark.parametrize("path", ["", "models", "collections", "library"])
def test_a_phone_shows_no_sideways_scroll(browser: Browser, rehearsed, photo, path: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.set_default_timeout(60_000)
    page.goto(f"{rehearsed}/{path}")
    page.locator("#page > *").first.wait_for()
    if not path:
        choose(page, "geolocate", "read_text")
        give(page, photo)
        done(page, "geolocate")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    screenshot(page, f"{path or 'try'}-phone")
    page.close()


def test_the_pages_work_below_a_prefix(page, seen, serve, photo) -> None:
    """A proxy that strips a prefix: pages and their requests stay below it."""
    client = serve()

    def strip(route: Any) -> None:
        route.continue_(url=route.request.url.replace("/photos/", "/", 1))

    page.route("**/photos/**", strip)
    page.goto(f"{client.base_url}/photos/")
    choose(page, "detect_faces")
    give(page, photo)
    done(page, "detect_faces")
    page.get_by_role("link", name="Models").click()
    page.locator("tbody tr").first.wait_for()
    assert all("/photos/" in url for url in seen.requested if url.startswith("http"))


def test_the_root_is_a_page_for_browsers_and_json_for_programs(client) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    page = client.get("/", headers=browser)
    assert page.headers["content-type"].startswith("text/html")
    for headers in (
        {},
        {"Accept": "*/*"},
        {"Accept": "application/json"},
        {"Accept": "application/json, text/html;q=0.5"},
    ):
        answer = client.get("/", headers=headers)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["service"] == "sightline"
    assert page.headers["vary"] == client.get("/").headers["vary"] == "Accept"


def test_pages_can_be_switched_off(serve) -> None:
    client = serve(web_pages=False)
    assert client.get("/models", headers={"Accept": "text/html"}).status_code == 404
    assert client.get("/", headers={"Accept": "text/html"}).headers["content-type"] == "application/json"


def test_the_policy_allows_no_inline_script_and_no_other_host(client) -> None:
    policy = client.get("/", headers={"Accept": "text/html"}).headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    for page in WEB.glob("*.html"):
        text = page.read_text("utf-8")
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text)


def test_files_are_small_and_known() -> None:
    sent = sum(
        len(path.read_bytes()) if path.suffix == ".jpg" else len(gzip.compress(path.read_bytes()))
        for path in WEB.rglob("*")
        if path.is_file() and path.name not in ("land.js", "LICENCES.md")
    )
    assert sent <= 200_000
    for folder, listing in ((WEB, WEB / "LICENCES.md"), (VENDOR, VENDOR / "VENDORED.md")):
        digests = dict(
            re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", listing.read_text("utf-8"), re.MULTILINE)
        )
        assert digests
        for name, digest in digests.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
