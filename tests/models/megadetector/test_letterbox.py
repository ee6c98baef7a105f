from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models.megadetector.letterbox import GREY, Letterboxed, letterbox, placed_back
from sightline.types import Box, PixelBox


def view_of(pixels: np.ndarray, box: PixelBox | None = None) -> View:
    return View(open_picture(encode_png(pixels), ImageLimits(10**8, 10**8, 10**5)), box)


def plain(width: int, height: int, level: int = 200) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "shape", "rows"),
    [
        (640, 480, (960, 1280), (0, 960)),  # enlarged; nothing to fill
        (4000, 3000, (960, 1280), (0, 960)),
        (1920, 1080, (768, 1280), (24, 744)),
        (480, 640, (1280, 960), (0, 1280)),
        (1280, 1280, (1280, 1280), (0, 1280)),
        (1280, 961, (1024, 1280), (31, 992)),  # of 63 rows the odd one goes below
        (3, 1, (448, 1280), (10, 437)),  # 426.67 rounded to 427
        (1300, 1, (64, 1280), (31, 32)),  # below one pixel: one stays
    ],
)
def test_the_longer_side_becomes_1280(
    width: int, height: int, shape: tuple[int, int], rows: tuple[int, int]
) -> None:
    boxed = letterbox(view_of(plain(width, height)))
    assert boxed.image.shape == (*shape, 3)
    assert (boxed.width, boxed.height) == (width, height)
    first, last = rows
    assert not (boxed.image[first:last] == GREY).all(axis=2).any()
    assert (boxed.image[:first] == GREY).all()
    assert (boxed.image[last:] == GREY).all()


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (100, 100), (1, 500)])
def test_a_square_is_filled_up(width: int, height: int) -> None:
    boxed = letterbox(view_of(plain(width, height)), square=640)
    assert boxed.image.shape == (640, 640, 3)
    filled = (boxed.image != GREY).any(axis=2)
    columns, rows = filled.any(axis=0).sum(), filled.any(axis=1).sum()
    assert (columns, rows) == (
        max(round(width * 640 / max(width, height)), 1),
        640 * height // max(width, height),
    )
    assert abs(int(filled.any(axis=0).argmax()) - (640 - columns) // 2) <= 1


def test_a_part_of_a_picture_is_a_picture() -> None:
    pixels = plain(100, 100, 10)
    pixels[20:60, 30:90] = 250
    boxed = letterbox(view_of(pixels, PixelBox(30, 20, 90, 60)))
    assert (boxed.width, boxed.height) == (60, 40)
    assert not (boxed.image == 10).any()


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([None, 640, 1280]), st.data())
def test_boxes_come_back_where_they_were(
    width: int, height: int, square: int | None, data: st.DataObject
) -> None:
    x = sorted(data.draw(st.tuples(*(st.integers(0, width),) * 2)))
    y = sorted(data.draw(st.tuples(*(st.integers(0, height),) * 2)))
    side = square or 1280
    ratio = min(side / width, side / height)
    sizes = max(round(width * ratio), 1), max(round(height * ratio), 1)
    step = square or 64
    filled = [-(-size // step) * step for size in sizes]
    margins = [(whole - size) / 2 for whole, size in zip(filled, sizes, strict=True)]
    boxed = Letterboxed(np.empty((filled[1], filled[0], 3), np.uint8), width, height)
    corners = np.array(
        [
            [
                x[0] * ratio + margins[0],
                y[0] * ratio + margins[1],
                x[1] * ratio + margins[0],
                y[1] * ratio + margins[1],
            ]
        ],
        np.float32,
    )
    (found,) = placed_back(corners, boxed)
    # Half for the answer's own rounding, and what the reference gets wrong: its scale is that of the filled
    # image, which differs where the side that decides it was rounded and not filled up.
    scale = min(filled[0] / width, filled[1] / height)
    slack = 1 + 1 / ratio + abs(1 / scale - 1 / ratio) * max(filled) / 2
    assert found.x_min == pytest.approx(x[0], abs=slack)
    assert found.y_min == pytest.approx(y[0], abs=slack)
    assert found.x_max == pytest.approx(x[1], abs=slack)
    assert found.y_max == pytest.approx(y[1], abs=slack)
    assert 0 <= found.x_min <= found.x_max <= width
    assert 0 <= found.y_min <= found.y_max <= height
    assert all(float(value).is_integer() for value in (found.x_min, found.y_min, found.x_max, found.y_max))


def test_halves_go_to_the_even_number_and_corners_inside() -> None:
    boxed = Letterboxed(np.empty((1280, 1280, 3), np.uint8), 1280, 1280)
    corners = np.array([[0.5, 1.5, 2.5, 3.5], [-7, -0.4, 1290, 1280.4]], np.float32)
    assert placed_back(corners, boxed) == [Box(0, 2, 2, 4), Box(0, 0, 1280, 1280)]


def test_no_boxes_are_no_boxes() -> None:
    assert placed_back(np.empty((0, 4), np.float32), letterbox(view_of(plain(64, 64)))) == []
