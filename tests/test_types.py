from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.capabilities.places import Place
from sightline.types import Box, Coordinate, PixelBox

coordinate = st.floats(-1e6, 1e6)


def test_a_box_measures_itself() -> None:
    box = Box(1.5, 2.0, 4.0, 7.5)
    assert (box.width, box.height) == (2.5, 5.5)


@given(coordinate, coordinate, coordinate, coordinate)
def test_truncating_cuts_toward_zero_as_int_does(a: float, b: float, c: float, d: float) -> None:
    assert Box(a, b, c, d).truncated().as_list() == [int(a), int(b), int(c), int(d)]


@given(coordinate, st.integers(0, 10_000))
def test_a_shifted_corner_is_truncated_after_the_shift(x: float, offset: int) -> None:
    """int(x + offset), not int(x) + offset: they differ for corners left of the crop they were found in."""
    shifted = Box(x, x, x + 1, x + 1).shifted(offset, offset).truncated()
    assert shifted.x_min == int(x + offset)


def test_a_corner_left_of_the_crop_moves_by_the_offset() -> None:
    assert Box(-0.5, -0.5, 3, 3).shifted(10, 20).truncated() == PixelBox(9, 19, 13, 23)


def test_a_pixel_box_measures_itself() -> None:
    box = PixelBox(1, 2, 4, 9)
    assert (box.width, box.height, box.as_list()) == (3, 7, [1, 2, 4, 9])


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        PixelBox(0, 0, 1, 1).x_min = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("place", "label"),
    [
        (Place("Suva", "Central", "FJ", 1.0), "Suva, Central, FJ"),
        (Place("Vatican City", "", "VA", 0.0), "Vatican City, VA"),
    ],
)
def test_a_places_label_leaves_out_a_missing_region(place: Place, label: str) -> None:
    assert place.label == label


def test_equal_coordinates_are_one_key() -> None:
    assert len({Coordinate(1.0, 2.0), Coordinate(1.0, 2.0), Coordinate(2.0, 1.0)}) == 2
