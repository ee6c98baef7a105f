"""Shapes end up where they were asked for, in the colour asked for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sightline.imaging.drawing import Canvas

WHITE, RED, BLUE = (255, 255, 255), (200, 0, 0), (0, 0, 200)


def pixels(canvas: Canvas) -> np.ndarray:
    image = Image.open(io.BytesIO(canvas.png()))
    assert image.format == "PNG"
    return np.asarray(image)


def at(canvas: Canvas, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in pixels(canvas)[y, x])


@pytest.fixture
def canvas() -> Canvas:
    return Canvas(40, 30, WHITE)


def test_an_empty_canvas_has_its_size_and_colour(canvas: Canvas) -> None:
    assert pixels(canvas).shape == (30, 40, 3)
    assert np.all(pixels(canvas) == 255)


def test_a_polygon_is_filled_and_nothing_around_it_is(canvas: Canvas) -> None:
    canvas.polygon([(10, 10), (20, 10), (20, 20), (10, 20)], RED)
    assert at(canvas, 15, 15) == RED
    assert at(canvas, 11, 18) == RED
    assert at(canvas, 22, 15) == WHITE
    assert at(canvas, 15, 8) == WHITE


def test_a_line_is_as_wide_as_it_was_asked_for(canvas: Canvas) -> None:
    canvas.line([(0, 15), (40, 15)], RED, 4)
    column = pixels(canvas)[:, 20, 1]
    assert 3 <= np.count_nonzero(column < 255) <= 5
    assert abs(np.average(np.arange(30), weights=255 - column.astype(float)) + 0.5 - 15) <= 0.5


def test_a_disc_has_an_outline_inside_its_radius(canvas: Canvas) -> None:
    canvas.disc((20, 15), 8, RED, outline=BLUE, width=2)
    assert at(canvas, 20, 15) == RED
    assert at(canvas, 27, 15) == BLUE
    assert at(canvas, 29, 15) == WHITE


def test_a_rectangle_is_filled_to_its_corners(canvas: Canvas) -> None:
    canvas.rectangle((5, 5), (10, 12), BLUE)
    assert at(canvas, 5, 5) == at(canvas, 9, 11) == BLUE
    assert at(canvas, 4, 5) == at(canvas, 12, 5) == WHITE


def test_text_has_its_middle_where_asked_and_the_width_it_says(canvas: Canvas) -> None:
    wide = Canvas(200, 40, WHITE)
    wide.text((100, 20), "90 % within 1,200 km", 16, BLUE)
    rows, columns = np.nonzero(pixels(wide)[:, :, 0] < 128)
    assert abs((columns.min() + columns.max()) / 2 - 100) <= 2
    assert abs((rows.min() + rows.max()) / 2 - 20) <= 4
    assert columns.max() - columns.min() == pytest.approx(wide.text_width("90 % within 1,200 km", 16), abs=4)


def test_what_reaches_past_an_edge_is_cut_off(canvas: Canvas) -> None:
    canvas.polygon([(-50, -50), (200, -50), (200, 200), (-50, 200)], RED)
    canvas.disc((0, 0), 5, BLUE, outline=BLUE, width=1)
    assert at(canvas, 39, 29) == RED
    assert at(canvas, 0, 0) == BLUE


def test_edges_are_smooth(canvas: Canvas) -> None:
    canvas.polygon([(5, 5), (35, 12), (12, 27)], RED)
    greens = np.unique(pixels(canvas)[:, :, 1])
    assert len(greens) > 2
