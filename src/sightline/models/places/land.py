"""Outlines of all land, for drawing maps: read from a shapefile at install, kept as two arrays."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.weights.sources import Report

LAND_FILE = "land.npz"

# ESRI Shapefile Technical Description (1998): big-endian record headers, little-endian shapes.
_MAGIC, _POLYGON, _FILE_HEADER_BYTES = 9994, 5, 100


def build_land(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """``land.shp``, polygons in degrees, as ``points`` float32 [n, 2] (longitude, latitude) and ``starts``.

    Holes are kept as outlines like any other: each of them is another country, and land as well.
    """
    rings = list(_rings(inputs["land.shp"].read_bytes()))
    write_land(output, rings)
    report(LAND_FILE, len(rings), len(rings))


def write_land(output: Path, rings: Sequence[NDArray[np.floating]]) -> None:
    """Write closed outlines, each [points, 2] in degrees (longitude, latitude), for :func:`read_land`."""
    starts = np.cumsum([0, *(len(ring) for ring in rings[:-1])]).astype(np.int32)
    np.savez(output, points=np.concatenate(rings).astype(np.float32), starts=starts)


def read_land(path: Path) -> list[NDArray[np.float32]]:
    """Closed outlines, each float32 [points, 2]: longitude and latitude in degrees. None crosses ±180°."""
    with np.load(path, allow_pickle=False) as arrays:
        return list(np.split(arrays["points"], arrays["starts"][1:]))


def _rings(shapefile: bytes) -> Iterator[NDArray[np.float64]]:
    if struct.unpack_from(">i", shapefile)[0] != _MAGIC:
        raise ValueError("not a shapefile")
    at = _FILE_HEADER_BYTES
    while at < len(shapefile):
        _, words = struct.unpack_from(">2i", shapefile, at)
        at += 8
        (kind,) = struct.unpack_from("<i", shapefile, at)
        if kind != _POLYGON:
            raise ValueError(f"a shape of type {kind} where polygons are expected")
        num_parts, num_points = struct.unpack_from("<2i", shapefile, at + 36)  # past the bounding box
        parts = np.frombuffer(shapefile, "<i4", num_parts, at + 44)
        points = np.frombuffer(shapefile, "<f8", 2 * num_points, at + 44 + 4 * num_parts).reshape(-1, 2)
        yield from np.split(points, parts[1:])
        at += 2 * words
