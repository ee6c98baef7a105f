"""What the released networks read on drawn pages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from sightline.capabilities.text import PageText
from sightline.models import pp_ocr
from sightline.models.pp_ocr import recogniser

Pixels = NDArray[np.uint8]
Read = Callable[[Pixels], PageText]
LINES = ["Verkeersbesluit 2024-1187", "Gemeente Utrecht, Maliebaan", "ABC-123-D info@example.org"]


def _texts(found: PageText) -> list[str]:
    return [line.text for line in found.lines]


@pytest.mark.parametrize("dark", [False, True], ids=["black on white", "white on black"])
def test_lines_come_in_reading_order(read: Read, page: Callable[..., Pixels], dark: bool) -> None:
    found = read(page(LINES, dark=dark))
    assert _texts(found) == LINES
    assert found.unread == 0
    assert all(line.score > 0.9 for line in found.lines)
    tops = [line.quad[0][1] for line in found.lines]
    assert tops == sorted(tops)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_pages_may_lie_on_their_side_or_on_their_head(
    read: Read, page: Callable[..., Pixels], turns: int
) -> None:
    assert sorted(_texts(read(np.rot90(page(LINES), turns)))) == sorted(LINES)


def test_corners_are_pixels_of_the_picture_around_the_text(read: Read, page: Callable[..., Pixels]) -> None:
    pixels = page(LINES[:1], width=2600, size=60)  # reduced to 2000 pixels before it is looked at
    (line,) = read(pixels).lines
    y, x = np.nonzero(pixels[..., 0] < 128)
    (left, top), (right, _), (_, bottom), _ = line.quad
    assert left <= x.min() + 3
    assert right >= x.max() - 3
    assert top <= y.min() + 3
    assert bottom >= y.max() - 3
    assert right - left < 1.2 * (x.max() - x.min())


def test_a_line_may_be_two_thousand_pixels_wide(read: Read, page: Callable[..., Pixels]) -> None:
    words = "The quick brown fox jumps over the lazy dog while the long train of words goes on to the edge"
    (line,) = read(page([words], width=2000, size=30)).lines
    assert line.text == words


def test_a_strip_lower_than_the_network_s_step_is_read(read: Read, page: Callable[..., Pixels]) -> None:
    strip = page(["RECONYX 71F"], size=24, width=700)[8:44]
    assert _texts(read(strip)) == ["RECONYX 71F"]


def test_a_photo_without_text_has_none(read: Read) -> None:
    assert read(data.astronaut()) == PageText((), 0)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 700, 3), (700, 1, 3), (40, 3, 3), (1, 5000, 3)])
def test_tiny_and_thin_pictures_are_no_trouble(read: Read, shape: tuple[int, int, int]) -> None:
    assert read(np.full(shape, 200, np.uint8)).lines == ()


def test_what_is_too_much_is_counted_and_not_read(
    read: Read, page: Callable[..., Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser, "MOST_TOTAL_WIDTH", 1000)
    found = read(page(LINES))
    assert _texts(found) == LINES[:1]
    assert found.unread == 2
    monkeypatch.setattr(pp_ocr, "MOST_LINES", 0)
    assert read(page(LINES)) == PageText((), 3)
