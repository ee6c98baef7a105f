"""A picture's probable places, from a probability for each point of a gallery.

The gallery's points lie where many photos were taken, so neighbours share the probability of a place, and the
best point alone says little. Two summaries say more: how far around the best point half (and nine tenths) of
the probability lies, and which regions hold it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.geolocation import Geolocation, LocationCandidate, LocationCluster
from sightline.sphere import EARTH_RADIUS_KM, Vectors, coordinate_of, distances_km, unit_vectors
from sightline.types import Coordinate

MOST_CANDIDATES = 100

# What evaluations of geolocation call "region level" (Im2GPS and after: 1, 25, 200, 750, 2500 km).
CLUSTER_RADIUS_KM = 200.0
MOST_CLUSTERS = 10
LEAST_MASS = 0.01
# The part of a cluster's mass that its own radius holds.
_CLUSTER_SHARE = 0.9

# Parts that the way to the farthest point is cut into.
_RINGS = 1024

_MOST_MOVES = 10
_STILL_KM = 1.0
_UP = np.array([0, 0, 1])
# Nine columns of three cubes each: a cube and all its neighbours.
_COLUMNS = np.array([(x, y, 0) for x in (-1, 0, 1) for y in (-1, 0, 1)])

Probabilities = NDArray[np.float64]


class Points:
    """The places a picture can be said to be from: float64 degrees [M, 2], latitude and longitude."""

    def __init__(self, degrees: NDArray[np.float64]) -> None:
        self._degrees = degrees
        self._vectors = unit_vectors(degrees)
        self._regions = _Regions(self._vectors)

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
            clusters=self._regions.clusters(masses),
            radius_50_km=radius_50_km,
            radius_90_km=radius_90_km,
        )

    def coordinate(self, index: int) -> Coordinate:
        latitude, longitude = self._degrees[index]
        return Coordinate(float(latitude), float(longitude))


class _Regions:
    """Points by where they are, so that the neighbours of a place are found without looking at all.

    They are sorted into cubes of space, not squares of a map: none is cut by the antimeridian or squeezed at
    a pole. A cube is as wide as a cluster's radius, so its neighbours are in the 27 around it.
    """

    def __init__(self, vectors: Vectors) -> None:
        cubes = _cubes(vectors)
        # One empty layer around all, so that no neighbour's key is that of a cube on the other side.
        self._lowest = cubes.min(axis=0) - 1
        self._span = int(np.ptp(cubes)) + 3
        keys = self._keys_of(cubes)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._vectors = vectors[self._order]
        self._cells: NDArray[np.intp] = np.unique(self._keys, return_inverse=True)[1]

    def clusters(self, masses: Probabilities) -> tuple[LocationCluster, ...]:
        """Greedy: the heaviest neighbourhood first, then the heaviest of what is left; by mass."""
        left = masses[self._order]
        found: list[LocationCluster] = []
        while len(found) < MOST_CLUSTERS:
            heaviest = np.bincount(self._cells, weights=left).argmax()
            first, end = np.searchsorted(self._cells, (heaviest, heaviest + 1))
            centre, members = self._settled(np.arange(first, end), left)
            mass = float(left[members].sum())
            if mass < LEAST_MASS:
                break
            distances = distances_km(self._vectors[members], centre)
            (radius_km,) = radii_km(distances, left[members], (_CLUSTER_SHARE,))
            found.append(LocationCluster(coordinate_of(centre), mass, radius_km))
            left[members] = 0.0
        return tuple(sorted(found, key=lambda cluster: -cluster.mass))

    def _settled(self, members: NDArray[np.intp], masses: Probabilities) -> tuple[Vectors, NDArray[np.intp]]:
        """Move from some points to the middle of the mass around them, until it stays (mean shift)."""
        centre = self._middle(members, masses)
        for _ in range(_MOST_MOVES):
            members = self._near(centre)
            if not masses[members].any():
                break
            before, centre = centre, self._middle(members, masses)
            if before @ centre >= np.cos(_STILL_KM / EARTH_RADIUS_KM):
                break
        return centre, members

    def _near(self, centre: Vectors) -> NDArray[np.intp]:
        """All points within a cluster's radius."""
        columns = _cubes(centre) + _COLUMNS
        firsts = np.searchsorted(self._keys, self._keys_of(columns - _UP), side="left")
        ends = np.searchsorted(self._keys, self._keys_of(columns + _UP), side="right")
        around = np.concatenate([np.arange(first, end) for first, end in zip(firsts, ends, strict=True)])
        near: NDArray[np.bool_] = self._vectors[around] @ centre >= np.cos(
            CLUSTER_RADIUS_KM / EARTH_RADIUS_KM
        )
        return around[near]

    def _middle(self, members: NDArray[np.intp], masses: Probabilities) -> Vectors:
        weighted: Vectors = masses[members] @ self._vectors[members]
        length = float(np.linalg.norm(weighted))
        return weighted / length if length else self._vectors[members[0]]

    def _keys_of(self, cubes: NDArray[np.int64]) -> NDArray[np.int64]:
        keys: NDArray[np.int64] = (cubes - self._lowest) @ np.array([self._span**2, self._span, 1])
        return keys


def _cubes(vectors: Vectors) -> NDArray[np.int64]:
    cubes: NDArray[np.int64] = np.floor(vectors * (EARTH_RADIUS_KM / CLUSTER_RADIUS_KM)).astype(np.int64)
    return cubes


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
    # Only the ring that the answer lies in has to be put in order: sorting 100,000 distances takes 7 ms.
    width = float(distances.max()) / _RINGS or 1.0
    rings = np.minimum((distances / width).astype(np.intp), _RINGS - 1)
    reached = np.cumsum(np.bincount(rings, weights=masses, minlength=_RINGS))
    found = []
    for share in shares:
        wanted = share * reached[-1]
        ring = min(int(np.searchsorted(reached, wanted)), _RINGS - 1)
        inside = np.flatnonzero(rings == ring)
        inside = inside[np.argsort(distances[inside])]
        before = reached[ring - 1] if ring else 0.0
        index = int(np.searchsorted(before + np.cumsum(masses[inside]), wanted))
        found.append(float(distances[inside[min(index, len(inside) - 1)]]))
    return tuple(found)
