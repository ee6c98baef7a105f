"""The nearest town, against what is known of the world and against looking at every town."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.capabilities.places import Place
from sightline.errors import InvalidParameters
from sightline.models.places.gazetteer import Gazetteer
from sightline.models.places.towns import Towns
from sightline.sphere import EARTH_RADIUS_KM, unit_vectors
from sightline.types import Coordinate

# Coordinate, nearest town, and the kilometres to it that an atlas gives, roughly.
KNOWN = [
    # Fiji lies on both sides of the antimeridian.
    (-18.1416, 178.4419, "Suva, Central, FJ", 2),
    (-16.85, 179.97, "Labasa, Northern, FJ", 79),
    (-16.85, -179.97, "Labasa, Northern, FJ", 85),
    (-17.2, -179.0, "Tubou, Eastern, FJ", 117),
    # So does Chukotka; its east is nearer to its own towns than to Alaska's.
    (65.5, -171.0, "Lavrentiya, Chukotka, RU", 9),
    (66.17, -169.81, "Lavrentiya, Chukotka, RU", 85),
    (64.42, -173.23, "Provideniya, Chukotka, RU", 0),
    (66.3, -179.1, "Egvekinot, Chukotka, RU", 3),
    (69.7, 170.3, "Pevek, Chukotka, RU", 0),
    (71.0, 180.0, "Pevek, Chukotka, RU", 389),
    (71.0, -180.0, "Pevek, Chukotka, RU", 389),
    # American, but the nearest town of more than 1,000 is Russian.
    (52.9, 172.9, "Nikol’skoye, Kamchatka, RU", 518),
    # At the poles every longitude is the same place.
    (90.0, 0.0, "Longyearbyen, Svalbard, SJ", 1309),
    (90.0, -123.0, "Longyearbyen, Svalbard, SJ", 1309),
    (-90.0, 0.0, "Puerto Williams, Region of Magallanes, CL", 3899),
    (-90.0, 180.0, "Puerto Williams, Region of Magallanes, CL", 3899),
    (-77.85, 166.67, "Bluff, Southland, NZ", 3476),
    # Open ocean.
    (0.0, 0.0, "Takoradi, Western, GH", 579),
    (0.0, -30.0, "Fernando de Noronha (Distrito Estadual), Pernambuco, BR", 504),
    (30.0, -40.0, "Lajes das Flores, Azores, PT", 1317),
    (0.0, -160.0, "London Village, Line Islands, KI", 357),
    (-48.8767, -123.3933, "Hanga Roa, Valparaíso, CL", 2698),
    # Enclaves, exclaves and the very small.
    (41.9022, 12.4533, "Vatican City, VA", 0),
    (43.9367, 12.4464, "San Marino, San Marino, SM", 0),
    (-29.3167, 27.4833, "Maseru, Maseru District, LS", 0),
    (-29.6, 28.6, "Thaba-Tseka, Thaba-Tseka, LS", 9),
    (43.7384, 7.4246, "Monte-Carlo, Municipality of Monaco, MC", 0),
    (47.141, 9.5209, "Vaduz, Vaduz, LI", 0),
    (-26.3054, 31.1367, "Mbabane, Hhohho Region, SZ", 1),
    (36.1408, -5.3536, "Gibraltar, GI", 0),
    (35.8894, -5.3213, "Ceuta, Ceuta, ES", 0),
    (54.7104, 20.4522, "Kaliningrad, Kaliningrad Oblast, RU", 4),
    # Islands, high latitudes, and cities.
    (-37.0681, -12.3107, "Edinburgh of the Seven Seas, Tristan da Cunha, SH", 0),
    (78.2232, 15.6469, "Longyearbyen, Svalbard, SJ", 0),
    (71.2906, -156.7886, "Utqiagvik, Alaska, US", 0),
    (-54.8019, -68.3030, "Ushuaia, Tierra del Fuego, AR", 1),
    (-13.8333, -171.7667, "Apia, Tuamasaga, WS", 0),
    (64.1466, -21.9426, "Reykjavík, Capital Region, IS", 3),
    (-1.2921, 36.8219, "Nairobi, Nairobi County, KE", 1),
    (59.3293, 18.0686, "Stockholm, Stockholm, SE", 0),
    (19.4326, -99.1332, "Mexico City, Mexico City, MX", 1),
    (28.6139, 77.2090, "New Delhi, Delhi, IN", 1),
    (42.6629, 21.1655, "Pristina, Pristina, XK", 1),
]


@pytest.fixture(scope="module")
def towns(installed_places) -> Towns:
    return Towns.read(installed_places.files["towns.npz"])


@pytest.fixture(scope="module")
def world(towns: Towns) -> Gazetteer:
    return Gazetteer(towns)


def place(gazetteer: Gazetteer, latitude: float, longitude: float) -> Place:
    (found,) = gazetteer.infer([gazetteer.prepare(Coordinate(latitude, longitude))])
    return found


def haversine_km(latitude: float, longitude: float, towns: Towns) -> np.ndarray:
    """To every town, by the formula of the textbooks on angles, not by vectors."""
    x, y, z = towns.vectors.T
    phi, lam = np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)
    here_phi, here_lam = math.radians(latitude), math.radians(longitude)
    root = (
        np.sin((phi - here_phi) / 2) ** 2
        + math.cos(here_phi) * np.cos(phi) * np.sin((lam - here_lam) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(root, 1)))


@pytest.mark.parametrize(("latitude", "longitude", "label", "distance_km"), KNOWN)
def test_known_coordinates(world, latitude, longitude, label, distance_km) -> None:
    found = place(world, latitude, longitude)
    assert found.label == label
    assert found.distance_km == pytest.approx(distance_km, abs=0.7)


@settings(max_examples=150, deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180))
def test_no_town_is_nearer_anywhere(world, towns, latitude: float, longitude: float) -> None:
    distances = haversine_km(latitude, longitude, towns)
    found = place(world, latitude, longitude)
    assert found.distance_km == pytest.approx(distances.min(), abs=1e-3)
    nearest = np.flatnonzero(distances <= distances.min() + 1e-6)
    assert found.name in [towns.names[town] for town in nearest]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 155_209), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05))
def test_no_town_is_nearer_where_towns_are_dense(world, towns, town: int, north: float, east: float) -> None:
    x, y, z = towns.vectors[town]
    latitude = max(-90.0, min(90.0, math.degrees(math.asin(z)) + north))
    longitude = max(-180.0, min(180.0, math.degrees(math.atan2(y, x)) + east))
    distances = haversine_km(latitude, longitude, towns)
    assert place(world, latitude, longitude).distance_km == pytest.approx(distances.min(), abs=1e-6)


coordinates = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@settings(max_examples=200, deadline=None)
@given(st.lists(coordinates, min_size=1, max_size=200), coordinates)
def test_no_town_is_nearer_however_few_there_are(points, here) -> None:
    vectors = unit_vectors(np.array(points))
    order = np.argsort(vectors[:, 2], kind="stable")
    few = Towns(vectors[order], [str(i) for i in order], [("", "XX")], np.zeros(len(order), np.uint16))
    found = place(Gazetteer(few), *here)
    # Haversine loses half its digits at the antipode.
    assert found.distance_km == pytest.approx(haversine_km(*here, few).min(), abs=1e-3)


def test_every_town_is_nearest_to_itself(world, towns) -> None:
    for town in range(0, len(towns.names), 997):
        (found,) = world.infer([towns.vectors[town]])
        assert found.distance_km == 0


def test_of_two_towns_at_one_point_the_first_answers() -> None:
    vectors = np.repeat(unit_vectors(np.array([[10.0, 20.0]])), 3, axis=0)
    twins = Towns(vectors, ["big", "middle", "small"], [("", "XX")], np.zeros(3, np.uint16))
    assert place(Gazetteer(twins), 10.0, 20.0).name == "big"


def test_a_batch_is_answered_in_its_order(world) -> None:
    coordinates = [Coordinate(latitude, longitude) for latitude, longitude, _, _ in KNOWN]
    found = world.infer([world.prepare(coordinate) for coordinate in coordinates])
    assert [each.label for each in found] == [label for _, _, label, _ in KNOWN]


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(90.1, 0), (-90.1, 0), (0, 180.1), (0, -180.1), (math.nan, 0), (0, math.nan), (math.inf, 0)],
)
def test_what_is_no_coordinate_is_refused(world, latitude: float, longitude: float) -> None:
    with pytest.raises(InvalidParameters, match="-90 to 90"):
        world.prepare(Coordinate(latitude, longitude))
