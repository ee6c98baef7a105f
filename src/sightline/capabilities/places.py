"""Names of places."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.capabilities import Capability
from sightline.types import Coordinate


@dataclass(frozen=True, slots=True)
class Place:
    """The town nearest to a coordinate, and how far away its centre is along the surface of the Earth.

    ``region`` is the first-level division, such as a state, and "" where there is none; ``country_code`` is
    ISO 3166-1 alpha-2 (and XK for Kosovo). Nearest is not inside: near a border it can be the other side's.
    """

    name: str
    region: str
    country_code: str
    distance_km: float

    @property
    def label(self) -> str:
        """ "City, Region, CC", without the region where there is none."""
        return ", ".join(part for part in (self.name, self.region, self.country_code) if part)


PLACES: Capability[Coordinate, Place] = Capability("places", "The town nearest to a coordinate.")

CAPABILITIES = (PLACES,)
