from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.sphere import EARTH_RADIUS_KM, coordinate_of, distances_km, unit_vectors

Point = tuple[float, float]

points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
ONE_DEGREE_KM = math.radians(1) * EARTH_RADIUS_KM


def distance(first: Point, second: Point) -> float:
    return float(distances_km(unit_vectors(np.array([first])), unit_vectors(np.array(second)))[0])


@pytest.mark.parametrize(
    ("first", "second", "km"),
    [
        pytest.param((48.8566, 2.3522), (51.5074, -0.1278), 343.6, id="Paris to London"),
        pytest.param((40.6413, -73.7781), (35.5494, 139.7798), 10860, id="New York to Tokyo"),
        pytest.param((0, 179.5), (0, -179.5), ONE_DEGREE_KM, id="across the antimeridian"),
        pytest.param((-16.8, 179.99), (-16.8, -179.99), 2.13, id="across it on Taveuni, Fiji"),
        pytest.param((89.5, 10), (89.5, -170), ONE_DEGREE_KM, id="across the north pole"),
        pytest.param((-90, 0), (-90, 123), 0, id="the south pole has every longitude"),
        pytest.param((10, 20), (-10, -160), math.pi * EARTH_RADIUS_KM, id="the other side"),
        pytest.param((10, 180), (10, -180), 0, id="two names of one meridian"),
    ],
)
def test_known_distances(first: Point, second: Point, km: float) -> None:
    assert distance(first, second) == pytest.approx(km, rel=2e-3, abs=2e-4)


def test_small_distances_are_exact_to_a_metre() -> None:
    north = 1e-4  # degrees
    assert distance((45, 7), (45 + north, 7)) == pytest.approx(north * ONE_DEGREE_KM, abs=1e-3)


@given(points, points)
def test_the_way_back_is_as_long(first: Point, second: Point) -> None:
    assert distance(first, second) == pytest.approx(distance(second, first), abs=1e-3)
    assert distance(first, first) < 3e-4


@given(points, points, points)
def test_no_detour_is_shorter(first: Point, second: Point, third: Point) -> None:
    assert distance(first, third) <= distance(first, second) + distance(second, third) + 1e-3


@given(points, st.floats(0.1, 1000))
def test_a_vector_leads_back_to_its_point(point: Point, length: float) -> None:
    found = coordinate_of(unit_vectors(np.array(point)) * length)
    assert -90 <= found.latitude <= 90
    assert -180 <= found.longitude <= 180
    assert distance((found.latitude, found.longitude), point) < 1e-3
