"""Land, sea, candidates and circles are where they are on Earth."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.errors import ModelUnavailable
from sightline.jobs.worldmap import (
    BEST,
    HEIGHT,
    LAND,
    OTHER,
    RINGS,
    SEA,
    WIDTH,
    Circle,
    circle_points,
    draw_world_map,
    pieces,
    position,
    world_land,
)
from sightline.models.places.land import read_land
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings
from sightline.sphere import EARTH_RADIUS_KM
from sightline.types import Coordinate

PARIS = Coordinate(48.8566, 2.3522)


@pytest.fixture(scope="module")
def land(installed_places) -> list[np.ndarray]:
    return read_land(installed_places.files["land.npz"])


def drawn(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image)


def colour(pixels: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    return tuple(int(value) for value in pixels[min(int(y), HEIGHT - 1), int(x) % WIDTH])


def has_near(pixels: np.ndarray, where: Coordinate, wanted: tuple[int, ...], within: int = 2) -> bool:
    """Whether something of the colour, or nearly, was drawn at the coordinate."""
    x, y = position(where)
    left, top = max(0, round(x) - within), max(0, round(y) - within)
    patch = pixels[top : round(y) + within + 1, left : round(x) + within + 1].astype(int)
    return bool((np.abs(patch - wanted).max(axis=-1) < 60).any())


@pytest.fixture(scope="module")
def empty(land) -> np.ndarray:
    return drawn(draw_world_map(land, []))


def test_it_has_its_size(empty) -> None:
    assert empty.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        (47.0, 2.5), (-29.5, 28.3), (64.5, 100.3), (40.3, -100.3), (-25.2, 134.2), (72.3, -40.4),
        (-80.3, 50.3), (5.2, 20.3), (-10.3, -55.2), (66.2, 179.5), (66.6, -177.5), (-19.5, 47.3),
    ],
)  # fmt: skip
def test_land_is_land(empty, latitude: float, longitude: float) -> None:
    assert colour(empty, *position(Coordinate(latitude, longitude))) == LAND


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(33.3, -40.3), (-20.3, 80.3), (3.3, -157.3), (-55.3, 173.3), (43.3, 34.3), (38.4, 18.4), (86.3, 3.3),
     (42.0, 51.0), (-20.3, -179.8)],
)  # fmt: skip
def test_sea_is_sea(empty, latitude: float, longitude: float) -> None:
    assert colour(empty, *position(Coordinate(latitude, longitude))) == SEA


def test_no_borders_are_drawn(empty) -> None:
    """From France to Poland, across four of them."""
    y = round(position(Coordinate(50.0, 0))[1])
    left, right = (round(position(Coordinate(50.0, longitude))[0]) for longitude in (5.0, 22.0))
    assert np.all(empty[y, left:right] == LAND)


@pytest.mark.parametrize(
    "centre", [PARIS, Coordinate(-17.8, 179.2), Coordinate(66.0, -171.0), Coordinate(0.0, 0.0)]
)
@pytest.mark.parametrize("radius_km", [300.0, 1200.0])
def test_a_circle_passes_where_it_must(centre: Coordinate, radius_km: float) -> None:
    """North, south, east and west of the centre by the rules of navigation, also past the antimeridian."""
    pixels = drawn(draw_world_map([], [], [Circle(centre, radius_km, "")]))
    degrees = math.degrees(radius_km / EARTH_RADIUS_KM)
    for latitude in (centre.latitude + degrees, centre.latitude - degrees):
        assert has_near(pixels, Coordinate(latitude, centre.longitude), RINGS[0])
    widest = math.degrees(
        math.asin(math.sin(math.radians(degrees)) / math.cos(math.radians(centre.latitude)))
    )
    tangent = math.degrees(
        math.asin(math.sin(math.radians(centre.latitude)) / math.cos(math.radians(degrees)))
    )
    for longitude in (centre.longitude + widest, centre.longitude - widest):
        around = (longitude + 180) % 360 - 180
        assert has_near(pixels, Coordinate(tangent, around), RINGS[0])
    assert not has_near(pixels, centre, RINGS[0])


def test_a_circle_around_the_antimeridian_does_not_cross_the_map() -> None:
    pixels = drawn(draw_world_map([], [], [Circle(Coordinate(-17.8, 179.2), 1100, "")]))
    middle = pixels[:700, 100 : WIDTH - 100].astype(int)
    assert not (np.abs(middle - RINGS[0]).max(axis=-1) < 60).any()


def test_a_circle_past_the_pole_is_a_wave_over_all_longitudes() -> None:
    points = circle_points(Coordinate(80.0, 0.0), 2000)
    assert {round(point.longitude / 30) for point in points} >= set(range(-6, 7))
    xs = [x for piece in pieces(points) for x, _ in piece]
    assert min(xs) <= 1
    assert max(xs) >= WIDTH - 1


def angle_km(one: Coordinate, other: Coordinate) -> float:
    def vector(point: Coordinate) -> np.ndarray:
        phi, lam = math.radians(point.latitude), math.radians(point.longitude)
        return np.array([math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)])

    return EARTH_RADIUS_KM * 2 * math.asin(min(1, np.linalg.norm(vector(one) - vector(other)) / 2))


places = st.builds(Coordinate, st.floats(-90, 90), st.floats(-180, 180))


@given(places, st.floats(0, 20_000))
def test_every_point_of_a_circle_is_as_far_as_its_radius(centre: Coordinate, radius_km: float) -> None:
    points = circle_points(centre, radius_km)
    for point in points[::45]:
        assert angle_km(centre, point) == pytest.approx(radius_km, abs=1e-3)
        assert -180 <= point.longitude <= 180
    assert angle_km(points[0], points[-1]) == pytest.approx(0, abs=1e-6)


@given(st.lists(places, min_size=2, max_size=30))
def test_no_piece_of_a_line_goes_the_long_way_around(line: list[Coordinate]) -> None:
    for piece in pieces(line):
        for (before, _), (after, _) in pairwise(piece):
            assert abs(after - before) <= WIDTH / 2 + 1e-6


def test_candidates_are_dots_and_the_best_is_red() -> None:
    sydney, tokyo = Coordinate(-33.87, 151.2), Coordinate(35.7, 139.7)
    pixels = drawn(draw_world_map([], [PARIS, sydney, tokyo]))
    assert has_near(pixels, PARIS, BEST, within=1)
    for other in (sydney, tokyo):
        assert has_near(pixels, other, OTHER, within=1)
        assert not has_near(pixels, other, BEST, within=1)


def test_numbers_of_candidates_in_one_place_all_stay_readable() -> None:
    crowd = [Coordinate(48.85 + 0.01 * i, 2.35) for i in range(10)]
    pixels = drawn(draw_world_map([], crowd)).astype(int)
    labels = (np.abs(pixels - OTHER).max(axis=-1) < 10) | (np.abs(pixels - BEST).max(axis=-1) < 10)
    # A label's disc is some 250 pixels of its colour; ten that overlapped would have far fewer.
    assert np.count_nonzero(labels) > 10 * 200


@pytest.mark.parametrize("corner", [(90.0, 180.0), (90.0, -180.0), (-90.0, 180.0), (-90.0, -180.0)])
def test_candidates_in_the_corners_are_on_the_map(corner: tuple[float, float]) -> None:
    pixels = drawn(draw_world_map([], [Coordinate(*corner)])).astype(int)
    assert np.count_nonzero(np.abs(pixels - BEST).max(axis=-1) < 10) > 200


def test_the_outlines_come_from_the_store(models_dir, installed_places, land) -> None:
    analyzer = Analyzer.create(Settings(models_dir=models_dir, offline=True))
    assert len(world_land(analyzer)) == len(land)


def test_without_outlines_it_says_how_to_get_them(tmp_path) -> None:
    analyzer = Analyzer.create(Settings(models_dir=tmp_path, auto_pull=False))
    with pytest.raises(ModelUnavailable, match="sightline models pull places"):
        world_land(analyzer)
