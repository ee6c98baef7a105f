"""GeoNames' records as arrays."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from sightline.models.places.towns import Towns, build_towns
from sightline.weights.sources import silent


def record(city: str, latitude: float, longitude: float, population: int = 1, **more: object) -> dict:
    facts = {"city": city, "latitude": latitude, "longitude": longitude, "population": population}
    return {"country_code": "XX", **facts, **more}


def built(tmp_path, *records: dict) -> Towns:
    source, output = tmp_path / "geocode.gz", tmp_path / "towns.npz"
    source.write_bytes(gzip.compress(json.dumps(records).encode()))
    build_towns({"geocode.gz": source}, output, silent)
    return Towns.read(output)


def test_towns_go_from_south_to_north_and_the_more_populous_first(tmp_path) -> None:
    towns = built(
        tmp_path,
        record("north", 60, 10),
        record("village", 50, 5, population=10),
        record("city", 50, 5, population=10_000),
        record("south", -60, 10),
    )
    assert towns.names == ["south", "city", "village", "north"]
    assert np.all(np.diff(towns.vectors[:, 2]) >= 0)


def test_vectors_are_float64_of_length_one(tmp_path) -> None:
    towns = built(tmp_path, record("pole", 90, 0), record("east", 0, 90), record("zero", 0, 0))
    assert towns.vectors.dtype == np.float64
    by_name = dict(zip(towns.names, towns.vectors, strict=True))
    np.testing.assert_allclose(by_name["pole"], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(by_name["east"], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(by_name["zero"], [1, 0, 0], atol=1e-15)


def test_regions_are_shared_and_may_be_missing(tmp_path) -> None:
    towns = built(
        tmp_path,
        record("a", 1, 0, state="Île-de-France", country_code="FR"),
        record("b", 2, 0, state="Île-de-France", country_code="FR"),
        record("c", 3, 0, country_code="VA"),
    )
    assert [towns.areas[area] for area in towns.area_of] == [
        ("Île-de-France", "FR"),
        ("Île-de-France", "FR"),
        ("", "VA"),
    ]
    assert len(towns.areas) == 2


def test_white_space_in_names_breaks_nothing(tmp_path) -> None:
    towns = built(tmp_path, record(" New\n\tTown ", 1, 0, state="A\tB"), record("Other", 2, 0))
    assert towns.names == ["New Town", "Other"]
    assert towns.areas == [("A B", "XX"), ("", "XX")]


@pytest.mark.parametrize("latitude", [90.5, float("nan")])
def test_a_town_at_no_place_on_earth_is_refused(tmp_path, latitude: float) -> None:
    with pytest.raises(ValueError, match="no place on Earth"):
        built(tmp_path, record("nowhere", latitude, 0))


def test_building_twice_gives_the_same_bytes(tmp_path) -> None:
    """The fingerprint of the model is made of them."""
    records = [record("a", 1, 2), record("b", 3, 4)]
    built(tmp_path, *records)
    first = (tmp_path / "towns.npz").read_bytes()
    built(tmp_path, *records)
    assert (tmp_path / "towns.npz").read_bytes() == first


def test_the_world_is_complete(installed_places) -> None:
    towns = Towns.read(installed_places.files["towns.npz"])
    assert len(towns.names) == len(towns.vectors) == len(towns.area_of) == 155_210
    assert len({country_code for _, country_code in towns.areas}) == 245
    assert all(towns.names)
    np.testing.assert_allclose(np.linalg.norm(towns.vectors, axis=1), 1, rtol=1e-15)


def test_only_what_is_served_is_kept(installed_places) -> None:
    assert installed_places.files.keys() == {"towns.npz", "land.npz"}
    assert sum(path.stat().st_size for path in installed_places.files.values()) < 6_500_000
