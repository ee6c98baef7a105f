"""Towns and land that do not exist, in the format of the built files. Country codes are real."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightline.models.places.land import write_land
from sightline.models.places.towns import write_towns
from sightline.weights.sources import Recipe

_NUM_TOWNS = {"tiny": 1_000, "full": 150_000}
_REGIONS_PER_COUNTRY = 5
# South, west, north and east in degrees of a box inside a country.
_COUNTRIES = {
    "AU": (-33, 118, -20, 148),
    "BR": (-20, -60, -3, -42),
    "CA": (50, -122, 60, -75),
    "CD": (-10, 16, 4, 28),
    "CN": (24, 100, 42, 117),
    "DE": (48, 8, 54, 14),
    "DZ": (22, -2, 35, 8),
    "ES": (38, -6, 43, -1),
    "IN": (10, 76, 27, 84),
    "JP": (35, 136, 38, 140),
    "MX": (17, -104, 30, -98),
    "RU": (52, 40, 66, 130),
    "SE": (58, 13, 66, 18),
    "US": (31, -118, 48, -80),
    "ZA": (-33, 19, -24, 30),
}


def make_up_towns(output: Path, recipe: Recipe) -> None:
    """Write ``towns.npz``: towns that take turns between the countries and their regions."""
    generator = np.random.default_rng(recipe.seed)
    number = np.arange(_NUM_TOWNS[recipe.size])
    codes = list(_COUNTRIES)
    boxes = np.array([_COUNTRIES[code] for code in codes], np.float64)[number % len(codes)]
    degrees = boxes[:, :2] + generator.random((len(number), 2)) * (boxes[:, 2:] - boxes[:, :2])
    regions = number // len(codes) % _REGIONS_PER_COUNTRY + 1
    write_towns(
        output,
        np.round(degrees, 5),
        generator.integers(1_000, 1_000_000, len(number)),
        [f"Made-up town {town + 1}" for town in number],
        [
            (f"Made-up region {region}", codes[town % len(codes)])
            for town, region in zip(number, regions, strict=True)
        ],
    )


def make_up_land(output: Path, recipe: Recipe) -> None:
    """Write ``land.npz``: the countries as boxes."""
    write_land(
        output,
        [
            np.array([(west, south), (west, north), (east, north), (east, south), (west, south)], np.float32)
            for south, west, north, east in _COUNTRIES.values()
        ],
    )
