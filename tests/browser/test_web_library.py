"""The page Library: search by words, by example, filters, duplicates, and what it says without one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from tests.browser.driving import complaints, screenshot
from tests.jobs.libraries.conftest import COLOURS, OPERATION

COLOUR = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
MARKUP = "<img src=x onerror=alert(1)>"


def painted(colour: tuple[int, int, int], seed: int, quality: int = 90) -> bytes:
    pattern = np.random.default_rng(seed).integers(-20, 21, (6, 8, 1))
    pixels = np.clip(np.array(colour) + pattern, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((320, 240)).save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.fixture
def client(serve, tmp_path: Path):
    plugins = tmp_path / "plugins"
    for kind, text in (("models", COLOURS), ("operations", OPERATION)):
        (plugins / kind).mkdir(parents=True)
        (plugins / kind / "colours.py").write_text(text)
    return serve(libraries_dir=tmp_path / "libraries", library_space="colours", plugins_dir=plugins)


@pytest.fixture
def stocked(client):
    photos = [painted(colour, seed) for seed, colour in enumerate(COLOUR.values())]
    photos.append(painted(COLOUR["red"], 0, quality=60))
    files = [("image", (f"{number}.jpg", data, "image/jpeg")) for number, data in enumerate(photos)]
    assert client.post("/v1/libraries/photos/items", files=files).status_code == 201
    return client


def test_without_a_library_the_page_says_how_to_make_one(page, seen, client) -> None:
    page.goto(f"{client.base_url}/library")
    expect(page.locator("pre")).to_have_text("sightline index ~/Pictures")
    assert complaints(seen) == []


def test_words_examples_conditions_and_duplicates(page, seen, stocked, tmp_path: Path) -> None:
    page.goto(f"{stocked.base_url}/library")
    page.get_by_label("What the photos show").fill("green")
    page.keyboard.press("Enter")
    expect(page.locator(".found")).to_have_count(4)
    first = page.locator(".found img").first
    expect(first).to_have_js_property("naturalWidth", 320)
    screenshot(page, "library")
    page.get_by_text("More conditions").click()
    page.get_by_label("Condition").fill("width > 1000")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#page")).to_contain_text("None of 0 photos")
    page.get_by_label("Condition").fill("width >")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".error")).to_contain_text("where")
    page.get_by_label("Condition").fill("")
    page.get_by_label("What the photos show").fill("")
    (tmp_path / "blue.jpg").write_bytes(painted(COLOUR["blue"], 9))
    page.locator("#like").set_input_files(tmp_path / "blue.jpg")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".found")).to_have_count(4)
    page.locator(".found").first.get_by_role("button", name="More like it").click()
    expect(page.locator(".found")).to_have_count(4)
    page.locator(".found").first.get_by_text("Details").click()
    expect(page.locator(".found").first.locator("dd").first).to_be_visible()
    page.get_by_role("button", name="Duplicates").click()
    group = page.locator("section[aria-label='The same picture']")
    expect(group.locator(".found")).to_have_count(2)
    assert complaints(seen) == []


def test_markup_in_a_name_is_text(page, seen, client, tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / f"{MARKUP}.jpg").write_bytes(painted(COLOUR["red"], 1))
    environment = {
        **os.environ,
        "SIGHTLINE_MODELS_DIR": str(tmp_path / "models"),
        "SIGHTLINE_LIBRARIES_DIR": str(tmp_path / "libraries"),
        "SIGHTLINE_LIBRARY_SPACE": "colours",
        "SIGHTLINE_PLUGINS_DIR": str(tmp_path / "plugins"),
        "SIGHTLINE_OFFLINE": "true",
    }
    command = [sys.executable, "-m", "sightline", "index", str(folder)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)
    page.goto(f"{client.base_url}/library")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".found strong")).to_have_text(f"{MARKUP}.jpg")
    assert page.locator("img[src='x']").count() == 0
    assert complaints(seen) == []
