"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from skimage import data

from sightline.imaging import encode_jpeg
from sightline.settings import Settings

# As Debian, Fedora and Arch, Ubuntu, and Google call it.
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the session: Playwright keeps an event loop running, and tests elsewhere run their own."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            # CI runs as root, where Chromium refuses its own sandbox; it opens our pages alone.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


class Seen:
    """What a page asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.requested: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    yield page
    page.close()


@pytest.fixture
def seen(page: Page) -> Seen:
    return Seen(page)


@pytest.fixture(scope="module")
def rehearsed(
    tmp_path_factory: pytest.TempPathFactory, server_at: Callable[[Settings], AbstractContextManager[str]]
) -> Iterator[str]:
    """A server that answers every operation with made-up weights."""
    settings = Settings(
        _env_file=None, models_dir=tmp_path_factory.mktemp("models"), rehearse=True, threads=2
    )
    with server_at(settings) as url:
        yield url


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "astronaut.jpg"
    path.write_bytes(encode_jpeg(data.astronaut()))
    return path
