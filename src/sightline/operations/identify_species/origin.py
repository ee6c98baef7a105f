"""In which country a photo was taken: as given, or as coordinates tell, offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sightline.capabilities.places import PLACES, Place
from sightline.errors import ModelError, Overloaded
from sightline.operations import Scene
from sightline.operations.identify_species.countries import (
    TERRITORIES_OF_USA,
    USA,
    alpha_3,
    country_name,
    state_code,
)
from sightline.operations.identify_species.params import IdentifySpeciesParams
from sightline.types import Coordinate

Source = Literal["given", "from_coordinates", "none"]

# Farther from the nearest town than this, the town does not tell the country: it may be across a sea.
FARTHEST_KM = 100.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Country (alpha-3) and two-letter division, and where each is known from; warnings for the answer."""

    country: str | None = None
    country_source: Source = "none"
    admin1_region: str | None = None
    admin1_source: Source = "none"
    place: Place | None = None
    warnings: tuple[str, ...] = ()


async def find_origin(scene: Scene, params: IdentifySpeciesParams) -> Origin:
    """Return the given origin, else that of the coordinates; warn if they differ.

    Without the model of places coordinates tell nothing, which is a warning too.
    """
    if params.latitude is None or params.longitude is None:
        return _given(params)
    here = Coordinate(params.latitude, params.longitude)
    try:
        place = (await scene.infer(PLACES, here)).output
    except (ModelError, Overloaded) as error:
        without = "" if params.country else ", so no country is known and none was ruled out"
        return _given(params, warnings=(f"coordinates were not looked up{without}: {error}",))
    if place.distance_km > FARTHEST_KM:
        return _given(params, place, (_too_far(params, place),))
    return _located(params, place) if params.country is None else _compared(params, params.country, place)


def _given(
    params: IdentifySpeciesParams, place: Place | None = None, warnings: tuple[str, ...] = ()
) -> Origin:
    return Origin(
        country=params.country,
        country_source="given" if params.country else "none",
        admin1_region=params.admin1_region,
        admin1_source="given" if params.admin1_region else "none",
        place=place,
        warnings=warnings,
    )


def _too_far(params: IdentifySpeciesParams, place: Place) -> str:
    used = f"{params.country} was used unchecked" if params.country else "no country was used"
    return f"the nearest town, {place.label}, is {place.distance_km:.0f} km from the coordinates: {used}"


def _located(params: IdentifySpeciesParams, place: Place) -> Origin:
    country = alpha_3(place.country_code)
    if country is None:
        warning = (
            f"the coordinates are in {place.country_code}, which has no ISO 3166-1 alpha-3 code: "
            "no country was used"
        )
        return _given(params, place, (warning,))
    state = state_code(place.region) if country == USA else None
    return Origin(
        country=country,
        country_source="from_coordinates",
        admin1_region=state,
        admin1_source="from_coordinates" if state else "none",
        place=place,
    )


def _compared(params: IdentifySpeciesParams, country: str, place: Place) -> Origin:
    """A territory of the USA is one of its divisions when the country given is the USA, as in speciesnet."""
    in_usa = place.country_code == "US" or place.country_code in TERRITORIES_OF_USA
    state: str | None = None
    if country == USA and in_usa:
        state = state_code(place.region) if place.country_code == "US" else place.country_code
    elif alpha_3(place.country_code) != country:
        conflict = (
            f"the coordinates are near {place.label}, not in {country_name(country)}: {country} was used"
        )
        return _given(params, place, (conflict,))
    if params.admin1_region is None:
        source: Source = "from_coordinates" if state else "none"
        return Origin(country, "given", state, source, place)
    if state is None or state == params.admin1_region:
        return _given(params, place)
    region = params.admin1_region
    return _given(
        params, place, (f"the coordinates are near {place.label}, not in {region}: {region} was used",)
    )
