"""Copied requests, saved photos, addresses, and drawings of many boxes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from skimage import data
from tests.browser.driving import choose, complaints, done, give

from sightline import __version__
from sightline.imaging import encode_jpeg, encode_png

# Characters that a shell, curl, the task syntax of the command line or Python could take for their own.
LABELS = ['it\'s, "so" $HOME', "caf\u00e9 \\n `x`", "a=[b]", "-v", "dog"]


@pytest.fixture
def photo_url() -> Iterator[str]:
    """The address of a photo on a server of this machine."""
    body = encode_jpeg(data.astronaut())

    class Photos(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Photos)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/astronaut.jpg"
    server.shutdown()
    thread.join()
    server.server_close()


def snippets(card: Locator) -> dict[str, str]:
    """Every form of the request, walked through with the arrow keys."""
    card.get_by_text("Same request as").click()
    texts = {}
    card.get_by_role("tab", name="curl").focus()
    for form in ("curl", "Python", "CLI", "JSON", "Answer"):
        expect(card.get_by_role("tab", name=form)).to_have_attribute("aria-selected", "true")
        texts[form] = card.get_by_role("tabpanel").inner_text()
        card.page.keyboard.press("ArrowRight")
    return texts


def answers(
    texts: dict[str, str], operation: str, folder: Path, **settings: str
) -> Iterator[tuple[str, Any]]:
    """Run what was copied; yield the data of each answer, that of the page first."""
    yield "Answer", json.loads(texts["Answer"])["images"][0]["results"][operation]["data"]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SIGHTLINE_OFFLINE": "true",
        **settings,
    }
    python = texts["Python"].replace("print(answer.json())", "print(answer.text)")
    for form, command in {
        "curl": ["bash", "-c", texts["curl"]],
        "Python": [sys.executable, "-c", python],
        "CLI": ["bash", "-c", texts["CLI"]],
    }.items():
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
        )
        assert ran.returncode == 0, (form, ran.stdout, ran.stderr)
        found = json.loads(ran.stdout)
        yield form, (found["images"][0] if "images" in found else found)["results"][operation]["data"]


def test_parameters_survive_every_form_of_the_request(page, rehearsed, photo, tmp_path) -> None:
    page.goto(f"{rehearsed}/")
    choose(page)
    give(page, photo)
    row = page.locator(".choice", has_text="classify zero shot")
    row.locator("summary").click()
    chips = row.get_by_label("labels", exact=True)
    while chips.locator("xpath=..").get_by_role("button").count():
        chips.locator("xpath=..").get_by_role("button").first.click()
    for label in LABELS:
        # A comma ends a label that is typed, and does not end one that is pasted.
        chips.fill(label)
        chips.press("Enter")
    row.get_by_role("button", name="Ask", exact=True).click()
    texts = snippets(done(page, "classify_zero_shot"))
    assert json.loads(texts["JSON"])["tasks"][0]["params"]["labels"] == LABELS
    models = tmp_path / "models"
    found = dict(
        answers(
            texts, "classify_zero_shot", tmp_path, SIGHTLINE_REHEARSE="true", SIGHTLINE_MODELS_DIR=str(models)
        )
    )
    for form, each in found.items():
        assert each["probabilities"] == pytest.approx(found["Answer"]["probabilities"], abs=1e-3), form


def test_a_text_is_the_same_request_in_every_form_and_its_card_can_be_removed(
    page, rehearsed, tmp_path
) -> None:
    page.goto(f"{rehearsed}/")
    row = page.locator(".choice", has_text="embed text")
    row.locator("summary").click()
    row.get_by_label("text").first.fill(LABELS[0])
    row.get_by_role("button", name="Ask").click()
    texts = snippets(done(page, "embed_text"))
    models = tmp_path / "models"
    found = dict(
        answers(texts, "embed_text", tmp_path, SIGHTLINE_REHEARSE="true", SIGHTLINE_MODELS_DIR=str(models))
    )
    for form, each in found.items():
        assert each["vector"] == pytest.approx(found["Answer"]["vector"], abs=1e-3), form
    page.locator("section.card[aria-label='embed_text']").get_by_role("button", name="Remove").click()
    expect(page.locator(".photos > .card")).to_have_count(0)


def test_an_address_is_fetched_and_the_same_request_in_every_form(
    page, serve, photo_url, models_dir, tmp_path
) -> None:
    port = photo_url.split(":")[2].split("/")[0]
    client = serve(fetch_allow_networks=("127.0.0.0/8",), fetch_ports=(int(port),))
    page.goto(f"{client.base_url}/")
    choose(page, "detect_faces")
    page.get_by_label("or the address of one").fill(photo_url)
    page.keyboard.press("Enter")
    card = done(page, "detect_faces")
    expect(page.locator(".canvas rect.shape")).to_have_count(1)
    settings = {
        "SIGHTLINE_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "SIGHTLINE_FETCH_PORTS": port,
        "SIGHTLINE_MODELS_DIR": str(models_dir),
    }
    found = dict(answers(snippets(card), "detect_faces", tmp_path, **settings))
    assert all(each == found["Answer"] for each in found.values())


def test_the_copied_json_is_a_whole_request(page, rehearsed, photo) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    give(page, photo)
    card = done(page, "safe_search")
    answer = json.loads(snippets(card)["Answer"])
    card.get_by_role("tab", name="JSON").click()
    card.get_by_role("button", name="Copy", exact=True).click()
    expect(card.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    headers = {"Content-Type": "application/json"}
    found = httpx2.post(f"{rehearsed}/v1/analyze", content=copied, headers=headers, timeout=60).json()
    data_of = [each["images"][0]["results"]["safe_search"]["data"] for each in (found, answer)]
    assert data_of[0] == data_of[1]


def paste(page: Page, name: str, body: bytes) -> None:
    page.evaluate(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
            const event = new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
            document.body.dispatchEvent(event);
        }""",
        [name, list(body)],
    )


def saved(page: Page, card: Locator) -> tuple[str, bytes]:
    card.get_by_text("Same request as").click()
    with page.expect_download() as download:
        card.get_by_role("link", name="Save it").click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_pasted_photos_have_names_of_their_own_and_are_saved_as_they_were(page, rehearsed) -> None:
    """Chromium calls every pasted photo image.png."""
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    bodies = {f"photo-{number}.png": encode_png(data.astronaut()[: 60 + number, :64]) for number in (1, 2)}
    for body in bodies.values():
        paste(page, "image.png", body)
    for name, body in bodies.items():
        card = page.locator(f"section.card[aria-label='{name}'] .result")
        card.locator("summary", has_text=" ms").wait_for()
        assert saved(page, card) == (name, body)
        assert f'image=@"{name}"' in card.get_by_role("tabpanel").inner_text()


def test_a_photo_that_is_shown_as_a_copy_is_saved_as_it_was(page, rehearsed, tmp_path) -> None:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(data.coffee())).save(file, quality=60)
    (tmp_path / "taken.heic").write_bytes(file.getvalue())
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    page.locator("#camera").set_input_files(tmp_path / "taken.heic")
    assert saved(page, done(page, "safe_search")) == ("taken.heic", file.getvalue())


def test_the_best_boxes_are_drawn_and_all_on_request(page, seen, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "detect_objects", "safe_search")
    give(page, photo)
    card = done(page, "detect_objects")
    done(page, "safe_search")
    card.get_by_text("Same request as").click()
    card.get_by_role("tab", name="Answer").click()
    answer = json.loads(card.get_by_role("tabpanel").inner_text())["images"][0]["results"]["detect_objects"][
        "data"
    ]
    boxes = next(each for each in answer.values() if isinstance(each, list))
    shapes = page.locator(".canvas rect.shape")
    assert len(boxes) > 12, "random weights find more than are drawn at first"
    expect(shapes).to_have_count(12)
    best = max(boxes, key=lambda each: each["score"])
    assert float(shapes.first.get_attribute("x")) == pytest.approx(best["box"][0])
    card.get_by_role("button", name="Show all").focus()
    page.keyboard.press("Enter")
    expect(shapes).to_have_count(len(boxes))
    # Another card under the pointer, and back: what was chosen stays.
    page.locator(".result[aria-label='safe_search']").hover()
    card.locator("h3").hover()
    expect(shapes).to_have_count(len(boxes))
    card.get_by_role("button", name="only").click()
    expect(shapes).to_have_count(12)
    assert complaints(seen) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept": "*/*"},
        {"Accept": "application/json"},
        {"Accept": "application/json, text/plain, */*"},  # axios
        {"Accept": "text/html;q=0.1, application/json"},
        {"User-Agent": "curl/8.0", "Accept": "*/*"},
    ],
)
def test_programs_get_the_same_bytes_at_the_root_with_and_without_pages(
    serve, headers: Mapping[str, str]
) -> None:
    expected = (
        b'{"service":"sightline","version":"%s","status":"ok","docs":"/docs","analyze":"POST /v1/analyze",'
        b'"operations":"/v1/operations","models":"/v1/models"}' % __version__.encode()
    )
    for web_pages in (True, False):
        answer = serve(web_pages=web_pages).get("/", headers=headers)
        assert (answer.status_code, answer.content) == (200, expected)
        assert answer.headers["content-type"] == "application/json"
