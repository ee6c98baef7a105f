"""The pages in unusual cases: plug-ins, odd names, revoked keys, busy and stopped servers, slow downloads."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from skimage import data
from tests.browser.driving import choose, complaints, done, give, result

from sightline.imaging import encode_jpeg, encode_png
from sightline.server.keys import KeyFile, KeyScope

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
CHUNKS = 8
NUMBERS = b"numbers!" * 20_000

PLUGIN = f"""
from pydantic import Field
from sightline.operations import Answer, Operation, Params, Result, TimingGroup

class Shout(Params):
    times: int = Field(1, ge=1, le=5, description="How often.")

class Shouted(Result):
    text: str
    box: str

class ShoutOperation(Operation):
    name = "shout"
    description = "Says something with markup in it."
    needs = ()
    Params = Shout
    Result = Shouted
    example = {{}}
    timing_group = TimingGroup.DESCRIPTION

    async def run(self, scene, params, models):
        return Answer(Shouted(text={MARKUP!r} * params.times, box="no box"))

class Odd(Result):
    candidates: list[dict[str, float | None]]

class OddOperation(Operation):
    name = "odd"
    description = "Answers with what looks like places and is not."
    needs = ()
    Params = Params
    Result = Odd
    example = {{}}
    timing_group = TimingGroup.DESCRIPTION

    async def run(self, scene, params, models):
        return Answer(Odd(candidates=[{{"lat": None, "lon": 2.0}}]))

OPERATIONS = (ShoutOperation(), OddOperation())
"""

MODEL = """
from sightline.capabilities.caption import CAPTION
from sightline.models import ModelCard, ModelDefinition
from sightline.weights.sources import Artifact, HubFile

class Model:
    def prepare(self, subject):
        return subject

    def infer(self, items):
        return ["words" for _ in items]

NUMBERS = Artifact("numbers.bin", (HubFile("org/repo", "numbers.bin"),), size_bytes=%d, sha256="%s")
MODELS = (
    ModelDefinition(
        ModelCard(
            name="slow-one", capabilities=frozenset({CAPTION}), description="d", licence="CC0-1.0",
            homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0,
            artifacts=(NUMBERS,),
        ),
        lambda files, graphs: Model(),
    ),
)
"""


@pytest.fixture
def plugins_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    (folder / "operations").mkdir(parents=True)
    (folder / "operations" / "shout.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def hub() -> Iterator[tuple[str, threading.Event]]:
    """A hub that sends one file: half of it, and the rest once the event is set."""
    go_on = threading.Event()

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(NUMBERS)))
            self.end_headers()
            half = len(NUMBERS) // 2
            self.wfile.write(NUMBERS[:half])
            self.wfile.flush()
            go_on.wait(60)
            self.wfile.write(NUMBERS[half:])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", go_on
    go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_plug_ins_operation_appears_and_its_markup_is_text(page, seen, serve, plugins_dir, photo) -> None:
    client = serve(plugins_dir=plugins_dir)
    page.goto(f"{client.base_url}/")
    group = page.locator("fieldset", has=page.locator("legend", has_text="More"))
    expect(group.locator(".choice .name")).to_have_text(["odd", "shout"])
    group.locator(".choice", has_text="shout").locator("summary").click()
    group.get_by_label("times").fill("2")
    choose(page, "shout", "odd")
    give(page, photo)
    expect(done(page, "shout").locator("blockquote")).to_have_text(MARKUP * 2)
    assert page.locator(".results img, .results script").count() == 0
    expect(done(page, "odd").locator("pre").first).to_contain_text("candidates")
    assert result(page, "odd").locator(".error").count() == 0, "an answer that cannot be drawn is no failure"
    assert complaints(seen) == []


# A name for each program to stumble over.
NAMES = ["a;b,c.jpg", "-v.jpg", 'it\'s "so" $HOME.jpg', "caf\u00e9 \\n.jpg", "@x.jpg"]


@pytest.mark.parametrize("name", NAMES)
def test_the_snippets_give_the_same_answer(page, base_url, tmp_path, models_dir, name: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / name).write_bytes(encode_jpeg(data.astronaut()))
    page.goto(f"{base_url}/")
    choose(page, "detect_faces")
    give(page, folder / name)
    card = done(page, "detect_faces")
    card.get_by_text("Same request as").click()
    texts = {}
    for form in ("Answer", "curl", "Python", "CLI"):
        card.get_by_role("tab", name=form).click()
        texts[form] = card.locator("pre").inner_text()
    answer = json.loads(texts["Answer"])["images"][0]["results"]["detect_faces"]["data"]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SIGHTLINE_MODELS_DIR": str(models_dir),
        "SIGHTLINE_OFFLINE": "true",
    }
    commands = {
        "curl": ["bash", "-c", texts["curl"]],
        "Python": [
            sys.executable,
            "-c",
            texts["Python"].replace("print(answer.json())", "print(answer.text)"),
        ],
        "CLI": ["bash", "-c", texts["CLI"]],
    }
    for form, command in commands.items():
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
        )
        assert ran.returncode == 0, (form, ran.stderr)
        found = json.loads(ran.stdout)
        found = found["images"][0] if "images" in found else found
        assert found["results"]["detect_faces"]["data"] == answer, form


def test_a_photo_that_is_no_file_can_be_saved_for_the_snippets(page, rehearsed) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    page.get_by_role("button", name="A cat").click()
    card = done(page, "safe_search")
    card.get_by_text("Same request as").click()
    with page.expect_download() as download:
        card.get_by_role("link", name="Save it").click()
    assert download.value.suggested_filename == "cat.jpg"


def test_the_camera_gives_a_photo(page, rehearsed, photo) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a photo").click()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    chooser.value.set_files(photo)
    done(page, "safe_search")


def test_an_address_is_typed_and_a_refused_one_told(page, rehearsed) -> None:
    page.goto(f"{rehearsed}/")
    choose(page, "safe_search")
    page.get_by_label("or the address of one").fill("http://127.0.0.1:9/photo.jpg")
    page.get_by_role("button", name="Fetch").click()
    card = page.locator("section.card[aria-label='photo.jpg']")
    expect(card.locator(".result .error")).to_be_visible()


def test_a_key_that_is_revoked_in_between_is_asked_for_again(page, serve, tmp_path, photo) -> None:
    keys = KeyFile(tmp_path / "keys" / "keys.json")
    secret = keys.create("web", [KeyScope.ANALYZE])
    client = serve(keys_file=keys.path)
    page.goto(f"{client.base_url}/")
    page.get_by_label("Key", exact=True).fill(secret)
    page.get_by_role("button", name="Use it").click()
    choose(page, "detect_faces")
    give(page, photo)
    card = done(page, "detect_faces")
    keys.revoke("web")
    while client.get("/v1/operations", headers={"X-API-Key": secret}).status_code != 401:
        page.wait_for_timeout(100)
    card.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator(".photos .card")).to_have_count(1), "the photo stays"
    other = keys.create("other", [KeyScope.ANALYZE])
    while client.get("/v1/operations", headers={"X-API-Key": other}).status_code != 200:
        page.wait_for_timeout(100)
    page.get_by_label("Key", exact=True).fill(other)
    page.get_by_role("button", name="Use it").click()


def test_a_server_that_refuses_for_its_rate_is_asked_again_in_time(page, serve, photo) -> None:
    client = serve(rate_limits=("/v1/analyze=1/4 seconds",))
    page.goto(f"{client.base_url}/")
    choose(page, "detect_faces")
    client.post("/v1/analyze")
    give(page, photo)
    again = result(page, "detect_faces").locator(".error button")
    expect(again).to_contain_text("Try again")
    expect(again).to_be_enabled()
    again.click()
    done(page, "detect_faces")


SLOW = """
import time
from sightline.capabilities import Capability
from sightline.imaging import View

SLOW: Capability[View, float] = Capability("slow", "A level, after a while.")
CAPABILITIES = (SLOW,)
"""
SLOW_MODEL = """
import time
from sightline.models import ModelCard, ModelDefinition
from sightline_plugins.capabilities.slow import SLOW

class Model:
    def prepare(self, view):
        return 1.0

    def infer(self, items):
        time.sleep(2)
        return items

MODELS = (
    ModelDefinition(
        ModelCard(
            name="slow", capabilities=frozenset({SLOW}), description="d", licence="CC0-1.0", max_batch=1,
            homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0,
        ),
        lambda files, graphs: Model(),
    ),
)
"""
SLOW_OPERATION = """
from sightline.imaging import View
from sightline.operations import Answer, Operation, Params, Result, TimingGroup
from sightline_plugins.capabilities.slow import SLOW

class Waited(Result):
    level: float

class WaitOperation(Operation):
    name = "wait"
    description = "Takes its time."
    needs = (SLOW,)
    Params = Params
    Result = Waited
    example = {}
    timing_group = TimingGroup.DETECTION

    async def run(self, scene, params, models):
        found = await scene.infer(SLOW, View(scene.picture))
        return Answer(Waited(level=found.output), found.model)

OPERATIONS = (WaitOperation(),)
"""


def test_a_server_with_a_full_queue_is_asked_again_in_time(page, serve, tmp_path, photo) -> None:
    folder = tmp_path / "plugins"
    for kind, text in (("capabilities", SLOW), ("models", SLOW_MODEL), ("operations", SLOW_OPERATION)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "slow.py").write_text(text)
    client = serve(plugins_dir=folder, queue_items=1)
    page.goto(f"{client.base_url}/")
    choose(page, "wait")
    give(page, photo, photo, photo)
    again = page.locator(".result .error button")
    expect(again.first).to_contain_text("Try again in")
    while again.count():
        expect(again.first).to_be_enabled()
        again.first.click()
        page.wait_for_timeout(200)
    expect(page.locator(".result pre").filter(has_text="level")).to_have_count(3)


def test_a_server_that_is_gone_is_told_and_the_photo_stays(page, server_at, models_dir, photo) -> None:
    from tests.conftest import settings_with

    with server_at(settings_with(models_dir)) as url:
        page.goto(f"{url}/")
        choose(page, "detect_faces")
    give(page, photo)
    expect(result(page, "detect_faces").locator(".error")).to_contain_text("sightline serve")
    expect(page.locator(".canvas img")).to_be_visible()


# -- Models and collections ----------------------------------------------------------------------------------


def test_a_download_shows_how_far_it_is(page, serve, hub, tmp_path) -> None:
    address, go_on = hub
    folder = tmp_path / "plugins" / "models"
    folder.mkdir(parents=True)
    (folder / "slow.py").write_text(MODEL % (len(NUMBERS), hashlib.sha256(NUMBERS).hexdigest()))
    client = serve(
        plugins_dir=tmp_path / "plugins", models_dir=tmp_path / "store", hub_endpoint=address, offline=False
    )
    page.goto(f"{client.base_url}/models")
    row = page.locator("tbody tr", has=page.locator("strong", has_text="slow-one"))
    row.get_by_role("button", name="Download slow-one").click()
    expect(row.locator("progress")).to_have_attribute("aria-label", re.compile(r"\d+ kB of 160 kB"))
    go_on.set()
    expect(row.locator(".state-ready")).to_have_text("in memory")


def test_a_download_that_fails_says_why_and_can_be_tried_again(page, serve, tmp_path) -> None:
    folder = tmp_path / "plugins" / "models"
    folder.mkdir(parents=True)
    (folder / "slow.py").write_text(MODEL % (len(NUMBERS), hashlib.sha256(NUMBERS).hexdigest()))
    client = serve(
        plugins_dir=tmp_path / "plugins", models_dir=tmp_path / "store", hub_endpoint="http://127.0.0.1:9",
        offline=False,
    )  # fmt: skip
    page.goto(f"{client.base_url}/models")
    row = page.locator("tbody tr", has=page.locator("strong", has_text="slow-one"))
    row.get_by_role("button", name="Download slow-one").click()
    expect(row.get_by_role("button", name=re.compile("Try again|Download"))).to_be_visible()
    expect(row).to_contain_text("127.0.0.1")


def tab_to(page: Page, label: str) -> None:
    """Press Tab until the element with this text or label has the focus."""
    for _ in range(200):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "[document.activeElement.getAttribute('aria-label'), document.activeElement.innerText, "
            "document.activeElement.id].join(' ')"
        )
        if label in focused:
            return
    pytest.fail(f"Tab does not reach {label}")


def test_models_are_loaded_with_the_keyboard(page, rehearsed) -> None:
    page.goto(f"{rehearsed}/models")
    page.locator("tbody tr").first.wait_for()
    tab_to(page, "clip-vit-l-14-text")
    page.keyboard.press("Enter")
    row = page.locator("tbody tr", has=page.locator("strong", has_text=re.compile("^clip-vit-l-14-text$")))
    expect(row.locator(".state-ready")).to_have_text("in memory")


def drop(page: Page, where: str, files: list[Path]) -> None:
    page.evaluate(
        """([where, files]) => {
            const transfer = new DataTransfer();
            for (const [name, bytes] of files) {
              transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
            }
            document.querySelector(where).dispatchEvent(
              new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [where, [[file.name, list(file.read_bytes())] for file in files]],
    )


def painted(folder: Path, name: str, colour: tuple[int, int, int], count: int) -> list[Path]:
    rng = np.random.default_rng(sum(colour))
    files = []
    for number in range(count):
        pixels = np.clip(np.array(colour) + rng.integers(-25, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
        files.append(folder / f"{name}{number}.png")
        files[-1].write_bytes(encode_png(pixels))
    return files


def test_photos_are_dropped_into_both_areas_and_doubtful_ones_shown(
    page, seen, serve, with_colours, tmp_path
) -> None:
    """All with the keyboard but for the drops."""
    client = serve(plugins_dir=with_colours(tmp_path / "plugins"))
    red = painted(tmp_path, "red", (200, 40, 30), 12)
    blue = painted(tmp_path, "blue", (30, 60, 200), 13)
    page.goto(f"{client.base_url}/collections")
    page.get_by_label("Name").wait_for()
    drop(page, "section[aria-label='Belongs to it']", [*red, blue[-1]])  # one on the wrong side
    drop(page, "section[aria-label='Does not']", blue[:-1])
    expect(page.locator("section[aria-label='Belongs to it'] .thumbs img")).to_have_count(13)
    expect(page.locator("section[aria-label='Does not'] .thumbs img")).to_have_count(12)
    tab_to(page, "collection-name")
    page.keyboard.type("reds")
    tab_to(page, "Train")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Trained.")).to_be_visible()
    doubtful = page.locator("section", has=page.locator("h3", has_text="Doubtful examples")).last
    expect(doubtful.locator("img[alt='blue12.png']")).to_be_visible()
    tab_to(page, "Versions (1)")
    page.keyboard.press("Enter")
    expect(page.locator("section[aria-label='reds'] tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Train").focus()
    page.keyboard.press("Enter")
    card = page.locator("section[aria-label='reds']")
    rows = card.locator("tbody tr")
    expect(rows).to_have_count(2)
    served = card.locator("tbody tr:has(strong) td").first
    before = served.inner_text()
    tab_to(page, "Promote")
    page.keyboard.press("Enter")
    expect(served).not_to_have_text(before)
    tab_to(page, "Roll back")
    page.keyboard.press("Enter")
    expect(served).to_have_text(before)
    assert complaints(seen) == []


# -- Every page ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "models", "collections", "library"])
def test_the_head_takes_two_rows_on_a_phone(browser: Browser, rehearsed, path: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.goto(f"{rehearsed}/{path}")
    page.locator("#top nav").wait_for()
    assert page.locator("#top").evaluate("each => each.getBoundingClientRect().height") < 110
    if path == "models":
        page.locator("tbody tr").first.wait_for()
        cells = page.locator("tbody tr").first.locator("td").all()
        assert all((cell.bounding_box() or {"x": 999})["x"] < 360 for cell in cells)
    page.close()
