"""Country and state, given or told by coordinates."""

from __future__ import annotations

from typing import Any

import pytest

from sightline.capabilities.places import Place
from sightline.errors import DeadlineExceeded, ModelUnavailable, Overloaded, SightlineError
from sightline.operations import Inference
from sightline.operations.identify_species.origin import Origin, find_origin
from sightline.operations.identify_species.params import IdentifySpeciesParams
from sightline.types import Coordinate, ModelRef, Provenance

HERE = {"latitude": 1.5, "longitude": -2.5}


class World:
    """A scene and its models, in which every coordinate is near ``place``, or fails."""

    def __init__(self, place: Place | SightlineError) -> None:
        self._place = place
        self.asked: list[Any] = []

    async def infer(self, capability: Any, subject: Any) -> Inference[Any]:
        self.asked.append(subject)
        if isinstance(self._place, SightlineError):
            raise self._place
        return Inference(self._place, ModelRef(capability.name, "0" * 16, Provenance.PULLED))


async def origin(place: Place | SightlineError, **params: Any) -> Origin:
    world: Any = World(place)
    return await find_origin(world, IdentifySpeciesParams.model_validate(params))


def town(country_code: str, region: str = "", distance_km: float = 3.0) -> Place:
    return Place("Town", region, country_code, distance_km)


def known(found: Origin) -> tuple[str | None, str, str | None, str]:
    return found.country, found.country_source, found.admin1_region, found.admin1_source


async def test_without_anything_nothing_is_known() -> None:
    found = await origin(town("KE"))
    assert found == Origin()
    assert known(found) == (None, "none", None, "none")


async def test_without_coordinates_no_place_is_looked_up() -> None:
    world: Any = World(town("KE"))
    params = IdentifySpeciesParams.model_validate({"country": "USA", "admin1_region": "CA"})
    found = await find_origin(world, params)
    assert known(found) == ("USA", "given", "CA", "given")
    assert world.asked == []


async def test_the_place_is_asked_for_the_coordinates() -> None:
    world: Any = World(town("KE"))
    await find_origin(world, IdentifySpeciesParams.model_validate(HERE))
    assert world.asked == [Coordinate(1.5, -2.5)]


# (place's country and region, given, what is known)
CASES = [
    # Coordinates alone
    (("KE", "Nairobi Area"), {}, ("KEN", "from_coordinates", None, "none")),
    (("US", "California"), {}, ("USA", "from_coordinates", "CA", "from_coordinates")),
    (("US", "District of Columbia"), {}, ("USA", "from_coordinates", "DC", "from_coordinates")),
    (("US", "Cascadia"), {}, ("USA", "from_coordinates", None, "none")),
    (("PR", "San Juan"), {}, ("PRI", "from_coordinates", None, "none")),
    (("CA", "British Columbia"), {}, ("CAN", "from_coordinates", None, "none")),
    # Beside a country that agrees
    (("KE", "Nairobi Area"), {"country": "KEN"}, ("KEN", "given", None, "none")),
    (("US", "California"), {"country": "USA"}, ("USA", "given", "CA", "from_coordinates")),
    (("US", "California"), {"country": "USA", "admin1_region": "CA"}, ("USA", "given", "CA", "given")),
    (("US", "Cascadia"), {"country": "USA", "admin1_region": "CA"}, ("USA", "given", "CA", "given")),
    (("US", "Cascadia"), {"country": "USA"}, ("USA", "given", None, "none")),
    (("PR", "San Juan"), {"country": "USA"}, ("USA", "given", "PR", "from_coordinates")),
    (("PR", "San Juan"), {"country": "PRI"}, ("PRI", "given", None, "none")),
]


@pytest.mark.parametrize(("place", "given", "expected"), CASES)
async def test_what_is_known(place, given, expected) -> None:
    found = await origin(town(*place), **HERE, **given)
    assert known(found) == expected
    assert found.warnings == ()
    assert found.place == town(*place)


CONFLICTS = [
    (("KE", "Nairobi Area"), {"country": "NOR"}, ("NOR", "given", None, "none"), "Norway: NOR was used"),
    (("CA", "Ontario"), {"country": "USA"}, ("USA", "given", None, "none"), "States: USA was used"),
    (("US", "California"), {"country": "CAN"}, ("CAN", "given", None, "none"), "Canada: CAN was used"),
    (("US", "Texas"), {"country": "PRI"}, ("PRI", "given", None, "none"), "Puerto Rico: PRI was used"),
    (("XK", "Pristina"), {"country": "SRB"}, ("SRB", "given", None, "none"), "Serbia: SRB was used"),
    (
        ("US", "California"),
        {"country": "USA", "admin1_region": "TX"},
        ("USA", "given", "TX", "given"),
        "TX: TX was used",
    ),
    (
        ("PR", "San Juan"),
        {"country": "USA", "admin1_region": "TX"},
        ("USA", "given", "TX", "given"),
        "TX: TX was used",
    ),
]


@pytest.mark.parametrize(("place", "given", "expected", "warning"), CONFLICTS)
async def test_what_is_given_wins_with_a_warning(place, given, expected, warning) -> None:
    found = await origin(town(*place), **HERE, **given)
    assert known(found) == expected
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("the coordinates are near Town")
    assert warning in found.warnings[0]


async def test_a_country_without_a_code_of_three_letters_is_not_guessed() -> None:
    found = await origin(town("XK"), **HERE)
    assert known(found) == (None, "none", None, "none")
    assert "XK, which has no ISO 3166-1 alpha-3 code" in found.warnings[0]


@pytest.mark.parametrize(
    ("distance_km", "given", "expected"),
    [
        (100.0, {}, ("USA", "from_coordinates", "CA", "from_coordinates")),
        (100.1, {}, (None, "none", None, "none")),
        (3000.0, {}, (None, "none", None, "none")),
        (100.1, {"country": "USA"}, ("USA", "given", None, "none")),
        (3000.0, {"country": "NOR"}, ("NOR", "given", None, "none")),
        (3000.0, {"country": "USA", "admin1_region": "TX"}, ("USA", "given", "TX", "given")),
    ],
)
async def test_a_town_over_100_km_away_tells_neither_country_nor_state(
    distance_km: float, given: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    place = town("US", "California", distance_km)
    found = await origin(place, **HERE, **given)
    assert known(found) == expected
    assert found.place == place
    assert len(found.warnings) == (distance_km > 100)


@pytest.mark.parametrize("failure", [ModelUnavailable("no towns here"), Overloaded("busy", 1)])
async def test_without_towns_the_given_stands_and_the_lack_is_said(failure: SightlineError) -> None:
    given = await origin(failure, country="KEN", **HERE)
    assert known(given) == ("KEN", "given", None, "none")
    assert given.warnings == (f"coordinates were not looked up: {failure}",)
    nothing = await origin(failure, **HERE)
    assert known(nothing) == (None, "none", None, "none")
    assert "no country is known and none was ruled out" in nothing.warnings[0]


async def test_a_request_out_of_time_is_not_answered_without() -> None:
    with pytest.raises(DeadlineExceeded):
        await origin(DeadlineExceeded("the request's time ran out"), **HERE)
