"""The nearest town, exactly, by looking at a few thousand of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.places import Place
from sightline.errors import InvalidParameters
from sightline.models.places.towns import Towns
from sightline.sphere import EARTH_RADIUS_KM, unit_vectors
from sightline.types import Coordinate

# Every so-many-th town, in the order of latitude and so at any longitude, bounds the distance beforehand.
_SAMPLE_STEP = 64
# More than rounding can move a dot product of two float64 unit vectors, or the sine of a latitude.
_ROUNDING = 1e-14


class Gazetteer:
    """Implements ``models.Model`` for coordinates: a ``Place`` for each.

    A town cannot be nearer than the difference in latitude. So the distance to the nearest of a sample
    bounds a band of latitudes, and the nearest town of all is in that band.
    """

    def __init__(self, towns: Towns) -> None:
        self._towns = towns
        self._sines = np.ascontiguousarray(towns.vectors[:, 2])
        self._sample = np.ascontiguousarray(towns.vectors[::_SAMPLE_STEP])

    def prepare(self, subject: Coordinate) -> NDArray[np.float64]:
        """The unit vector, float64 [3].

        Raises:
            InvalidParameters: latitude or longitude is out of range or not a number.
        """
        if not (abs(subject.latitude) <= 90 and abs(subject.longitude) <= 180):
            raise InvalidParameters("latitude is from -90 to 90 and longitude from -180 to 180 degrees")
        return unit_vectors(np.array([subject.latitude, subject.longitude]))

    def infer(self, items: Sequence[NDArray[np.float64]]) -> list[Place]:
        return [self._place(item) for item in items]

    def _place(self, here: NDArray[np.float64]) -> Place:
        vectors = self._towns.vectors
        near = self._sample[np.argmax(self._sample @ here)]
        first, last = self._band(float(here[2]), _angle(near, here))
        cosines = vectors[first:last] @ here
        # Dot products cannot tell towns a metre apart, chords can.
        close = first + np.flatnonzero(cosines >= cosines.max() - _ROUNDING)
        nearest = int(close[np.argmin(((vectors[close] - here) ** 2).sum(axis=1))])
        region, country_code = self._towns.areas[self._towns.area_of[nearest]]
        distance_km = EARTH_RADIUS_KM * _angle(vectors[nearest], here)
        return Place(self._towns.names[nearest], region, country_code, distance_km)

    def _band(self, sine: float, angle: float) -> tuple[int, int]:
        """Rows of the towns whose latitude differs by ``angle`` radians at most."""
        latitude = math.asin(max(-1.0, min(1.0, sine)))
        # asin near a pole turns the last bit of a sine into 1.5e-8 radians.
        south, north = latitude - angle - 1e-7, latitude + angle + 1e-7
        lowest = -2.0 if south <= -math.pi / 2 else math.sin(south) - _ROUNDING
        highest = 2.0 if north >= math.pi / 2 else math.sin(north) + _ROUNDING
        return int(np.searchsorted(self._sines, lowest)), int(np.searchsorted(self._sines, highest))


def _angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Radians between unit vectors, from the chord: exact to the millimetre however close they are."""
    return 2 * math.asin(min(1.0, float(np.linalg.norm(one - other)) / 2))
