"""Steps of a person on the pages, and what the tests of them share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

# Set it to a folder to have a picture of every view written there.
SCREENSHOTS = os.environ.get("SIGHTLINE_TEST_SCREENSHOTS")
# Training begins with the import of scikit-learn. pytest's own time limit ends what never comes.
expect.set_options(timeout=60_000)


def give(page: Page, *paths: Path) -> None:
    page.locator("#files").set_input_files(list(paths))


def choose(page: Page, *operations: str) -> None:
    """Tick these operations and no others."""
    page.locator(".choice").first.wait_for()
    for box in page.locator("input[id^=op-]").all():
        name = (box.get_attribute("id") or "").removeprefix("op-")
        if box.is_checked() != (name in operations):
            box.click()


def result(page: Page, operation: str) -> Any:
    return page.locator(f".result[aria-label='{operation}']").first


def done(page: Page, operation: str) -> Any:
    """The card of an answer, when the answer is there."""
    card = result(page, operation)
    card.locator("summary", has_text=" ms").wait_for()
    return card


def complaints(seen: Any) -> list[str]:
    """Errors of the console. The browser reports refused requests there by itself."""
    return [error for error in seen.errors if not error.startswith("Failed to load resource")]


def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))
