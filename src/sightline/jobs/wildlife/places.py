"""Where photos were taken: one place for all, or a place of its own for each that a file names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True)
class Place:
    """As ``identify_species`` wants it: ISO 3166-1 alpha-3, two letters of a state, degrees."""

    country: str | None = None
    admin1_region: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def has_coordinates(self) -> bool:
        return self.latitude is not None or self.longitude is not None

    def known(self) -> dict[str, str | float]:
        """What is known of it, by the names that parameters and files have for it."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in values if value is not None}


@dataclass(frozen=True, slots=True)
class Places:
    """The place of each photo, by its name below the folder. One that has a place of its own has nothing of
    ``usual``."""

    usual: Place = Place()
    own: Mapping[str, Place] = field(default_factory=dict)

    def of(self, photo: str) -> Place:
        return self.own.get(photo, self.usual)

    @property
    def has_coordinates(self) -> bool:
        return self.usual.has_coordinates or any(place.has_coordinates for place in self.own.values())
