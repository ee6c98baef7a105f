"""What a probability for each point of a gallery says about where a picture was taken.

The gallery's points lie where many photos were taken, so neighbours share the probability of a place, and the
best point alone says little. Two summaries say more: how far around the best point half (and nine tenths) of
the probability lies, and which regions hold it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.sphere import EARTH_RADIUS_KM, coordinate_of, distances_km, unit_vectors
from sightline.types import Coordinate, Geolocation, LocationCandidate, LocationCluster

MOST_CANDIDATES = 100

# What evaluations of geolocation call "region level" (Im2GPS and after: 1, 25, 200, 750, 2500 km).
CLUSTER_RADIUS_KM = 200.0
MOST_CLUSTERS = 10
LEAST_MASS = 0.01
# The part of a cluster's mass that its own radius holds.
_CLUSTER_SHARE = 0.9

_MOST_MOVES = 10
_STILL_KM = 1.0

Probabilities = NDArray[np.float64]


class Points:
    """The places a picture can be said to be from: float64 degrees [M, 2], latitude and longitude."""

    def __init__(self, degrees: NDArray[np.float64]) -> None:
        self._degrees = degrees
        self._vectors = unit_vectors(degrees)
        # Cubes in space, not squares on a map: none is cut by the antimeridian or squeezed at a pole.
        cubes = np.floor(self._vectors * (EARTH_RADIUS_KM / CLUSTER_RADIUS_KM)).astype(np.int64)
        span = int(np.ptp(cubes)) + 1
        lowest = cubes.min()
        keys = (cubes - lowest) @ np.array([span * span, span, 1])
        self._cells: NDArray[np.intp] = np.unique(keys, return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self._degrees)

    def summarised(self, probabilities: NDArray[np.floating]) -> Geolocation:
        """``probabilities`` [M], which add up to 1, as candidates, clusters and radii.

        Of points that are equally probable, the first of the gallery comes first.
        """
        masses = probabilities.astype(np.float64)
        best = best_indices(masses, MOST_CANDIDATES)
        distances = distances_km(self._vectors, self._vectors[best[0]])
        radius_50_km, radius_90_km = radii_km(distances, masses, (0.5, 0.9))
        return Geolocation(
            candidates=tuple(
                LocationCandidate(self.coordinate(index), float(probabilities[index])) for index in best
            ),
            clusters=self._clusters(masses),
            radius_50_km=radius_50_km,
            radius_90_km=radius_90_km,
        )

    def coordinate(self, index: int) -> Coordinate:
        latitude, longitude = self._degrees[index]
        return Coordinate(float(latitude), float(longitude))

    def _clusters(self, masses: Probabilities) -> tuple[LocationCluster, ...]:
        """Greedy: the heaviest neighbourhood first, then the heaviest of what is left."""
        left = masses.copy()
        found: list[LocationCluster] = []
        while len(found) < MOST_CLUSTERS:
            heaviest = np.bincount(self._cells, weights=left).argmax()
            centre, members = self._settled(np.flatnonzero(self._cells == heaviest), left)
            mass = float(left[members].sum())
            if mass < LEAST_MASS:
                break
            distances = distances_km(self._vectors[members], centre)
            (radius_km,) = radii_km(distances, left[members], (_CLUSTER_SHARE,))
            found.append(LocationCluster(coordinate_of(centre), mass, radius_km))
            left[members] = 0.0
        return tuple(sorted(found, key=lambda cluster: -cluster.mass))

    def _settled(
        self, members: NDArray[np.intp], masses: Probabilities
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Move from some points to the middle of the mass around them, until it stays (mean shift)."""
        near, still = (np.cos(km / EARTH_RADIUS_KM) for km in (CLUSTER_RADIUS_KM, _STILL_KM))
        centre = self._middle(members, masses)
        for _ in range(_MOST_MOVES):
            members = np.flatnonzero(self._vectors @ centre >= near)
            if not masses[members].any():
                break
            before, centre = centre, self._middle(members, masses)
            if before @ centre >= still:
                break
        return centre, members

    def _middle(self, members: NDArray[np.intp], masses: Probabilities) -> NDArray[np.float64]:
        weighted: NDArray[np.float64] = masses[members] @ self._vectors[members]
        length = float(np.linalg.norm(weighted))
        return weighted / length if length else self._vectors[members[0]]


def best_indices(values: Probabilities, count: int) -> NDArray[np.intp]:
    """Where the ``count`` largest stand (all, if there are fewer), largest first, ties in their order."""
    count = min(count, len(values))
    least = np.partition(values, -count)[-count]
    found = np.flatnonzero(values >= least)
    return found[np.argsort(-values[found], kind="stable")][:count]


def radii_km(
    distances: NDArray[np.float64], masses: Probabilities, shares: tuple[float, ...]
) -> tuple[float, ...]:
    """For each share, the smallest of ``distances`` [M] within which that part of all ``masses`` [M] lies."""
    order = np.argsort(distances)
    within = np.cumsum(masses[order])
    indices = np.searchsorted(within, [share * within[-1] for share in shares])
    return tuple(float(distances[order[min(index, len(order) - 1)]]) for index in indices)
