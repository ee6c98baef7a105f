"""Outlines out of a shapefile."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from sightline.models.places.land import build_land, read_land
from sightline.weights.sources import silent

SQUARE = [(0, 0), (0, 10), (10, 10), (10, 0), (0, 0)]
HOLE = [(2, 2), (4, 2), (4, 4), (2, 2)]
ISLAND = [(-180, 70), (-170, 72), (-175, 65), (-180, 70)]


def shapefile(*shapes: list[list[tuple[float, float]]], kind: int = 5) -> bytes:
    records = b""
    for number, rings in enumerate(shapes, start=1):
        starts = np.cumsum([0, *(len(ring) for ring in rings[:-1])]).astype("<i4")
        points = np.concatenate(rings).astype("<f8")
        content = struct.pack("<i4d2i", kind, 0, 0, 0, 0, len(rings), len(points))
        content += starts.tobytes() + points.tobytes()
        records += struct.pack(">2i", number, len(content) // 2) + content
    return struct.pack(">7i", 9994, 0, 0, 0, 0, 0, (100 + len(records)) // 2).ljust(100, b"\0") + records


def built(tmp_path, data: bytes) -> list[np.ndarray]:
    (tmp_path / "land.shp").write_bytes(data)
    build_land({"land.shp": tmp_path / "land.shp"}, tmp_path / "land.npz", silent)
    return read_land(tmp_path / "land.npz")


def test_every_ring_of_every_shape_comes_out(tmp_path) -> None:
    rings = built(tmp_path, shapefile([SQUARE, HOLE], [ISLAND]))
    assert [ring.tolist() for ring in rings] == [
        [list(map(float, point)) for point in ring] for ring in (SQUARE, HOLE, ISLAND)
    ]


def test_what_is_no_shapefile_of_polygons_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="not a shapefile"):
        built(tmp_path, b"\0" * 200)
    with pytest.raises(ValueError, match="type 3"):
        built(tmp_path, shapefile([SQUARE], kind=3))


def test_the_worlds_outlines_are_closed_and_on_earth(installed_places) -> None:
    rings = read_land(installed_places.files["land.npz"])
    assert len(rings) > 200
    for ring in rings:
        np.testing.assert_array_equal(ring[0], ring[-1])
        assert np.abs(ring[:, 0]).max() <= 180.001
        assert np.abs(ring[:, 1]).max() <= 90.001
        assert np.abs(np.diff(ring[:, 0])).max() < 180 or np.abs(ring[:, 1]).max() > 85  # Antarctica's foot
