"""Where on Earth a picture was taken."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.capabilities import Capability
from sightline.imaging import View
from sightline.types import Coordinate


@dataclass(frozen=True, slots=True)
class LocationCandidate:
    """One place a picture may have been taken at, and the probability a geolocation model gives it."""

    coordinate: Coordinate
    probability: float


@dataclass(frozen=True, slots=True)
class LocationCluster:
    """A region with ``mass`` of all probability; within ``radius_km`` of ``centre`` lie 90 % of it."""

    centre: Coordinate
    mass: float
    radius_km: float


@dataclass(frozen=True, slots=True)
class Geolocation:
    """A model's estimate of where a picture was taken.

    ``candidates`` (most probable first) and ``clusters`` (heaviest first) are the leading ones, not all. The
    radii are around the first candidate and hold 50 % and 90 % of the probability of all places.
    """

    candidates: tuple[LocationCandidate, ...]
    clusters: tuple[LocationCluster, ...]
    radius_50_km: float
    radius_90_km: float


GEOLOCATION: Capability[View, Geolocation] = Capability("geolocation", "Where on Earth a view was taken.")

CAPABILITIES = (GEOLOCATION,)
