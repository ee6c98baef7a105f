"""Towns as arrays: made once from GeoNames' records, read in milliseconds ever after."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.sphere import unit_vectors
from sightline.weights.sources import Report

# No name holds these: building makes one blank of any white space.
_BETWEEN_NAMES, _BETWEEN_REGION_AND_COUNTRY = "\n", "\t"


@dataclass(frozen=True)
class Towns:
    """Sorted from south to north, and of two at one point the more populous first.

    Attributes:
        vectors: float64 [towns, 3], each of length 1: x to 0° E on the equator, y to 90° E, z to the north
            pole. In float32 neighbours closer than about 2 km could not be told apart.
        names: one per town.
        areas: distinct (region, country code); region is "" where a town has none.
        area_of: index into ``areas`` per town.
    """

    vectors: NDArray[np.float64]
    names: Sequence[str]
    areas: Sequence[tuple[str, str]]
    area_of: NDArray[np.uint16]

    @classmethod
    def read(cls, path: Path) -> Towns:
        """The towns that :func:`build_towns` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            areas = (area.split(_BETWEEN_REGION_AND_COUNTRY) for area in _texts(arrays["areas"]))
            return cls(
                vectors=arrays["vectors"],
                names=_texts(arrays["names"]),
                areas=[(region, country_code) for region, country_code in areas],
                area_of=arrays["area_of"],
            )


def build_towns(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """``geocode.gz``, a JSON list of GeoNames records, as the arrays of :class:`Towns`."""
    with gzip.open(inputs["geocode.gz"]) as file:
        records = json.load(file)
    report("towns.npz", 0, len(records))
    write_towns(
        output,
        np.array([(record["latitude"], record["longitude"]) for record in records], np.float64),
        np.array([record["population"] for record in records], np.int64),
        [_tidy(record["city"]) for record in records],
        [(_tidy(record.get("state", "")), record["country_code"]) for record in records],
    )
    report("towns.npz", len(records), len(records))


def write_towns(
    output: Path,
    degrees: NDArray[np.float64],
    populations: NDArray[np.int64],
    names: Sequence[str],
    places: Sequence[tuple[str, str]],
) -> None:
    """Write towns for :meth:`Towns.read`, in any order. ``places`` are (region, country code).

    Raises:
        ValueError: a latitude or longitude is out of range.
    """
    if not np.all(np.abs(degrees) <= (90, 180)):
        raise ValueError("a town is at no place on Earth")
    vectors = unit_vectors(degrees)
    order = np.lexsort((-populations, vectors[:, 2]))
    areas: dict[str, int] = {}
    area_of = np.empty(len(names), np.uint16)
    for town, index in enumerate(order):
        area = _BETWEEN_REGION_AND_COUNTRY.join(places[index])
        area_of[town] = areas.setdefault(area, len(areas))
    np.savez(
        output,
        vectors=vectors[order],
        names=_packed([names[index] for index in order]),
        areas=_packed(list(areas)),
        area_of=area_of,
    )


def _tidy(name: str) -> str:
    return " ".join(name.split())


def _packed(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(_BETWEEN_NAMES.join(texts).encode(), np.uint8)


def _texts(packed: NDArray[np.uint8]) -> list[str]:
    return packed.tobytes().decode().split(_BETWEEN_NAMES)
