"""The encoder with its released weights, beside the formulas written out in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid
from sightline.models.geoclip.location_encoder import (
    COORDINATES_FILE,
    ENCODER_FILE,
    LocationEncoder,
    build_coordinates,
    build_gallery,
    equal_earth,
    normalised,
    read_coordinates,
)
from sightline.weights.checkpoints import read_arrays

EDGES = np.array([[0, 0], [90, 0], [-90, 180], [51.5, -180.0], [-16.8, 179.99], [1e-9, -1e-9]])


@pytest.fixture(scope="module")
def encoder(released: Mapping[str, Path]) -> LocationEncoder:
    return LocationEncoder(read_arrays(released[ENCODER_FILE]))


def encoded_by_hand(weights: Mapping[str, NDArray[np.float32]], degrees: np.ndarray) -> np.ndarray:
    """One coordinate after the other, all in float64."""
    total = []
    for point in equal_earth(degrees.astype(np.float32).astype(np.float64)):
        vector = np.zeros(512)
        for capsule in range(3):
            part = {
                name.removeprefix(f"LocEnc{capsule}."): value.astype(np.float64)
                for name, value in weights.items()
            }
            angles = [2 * np.pi * float(frequency @ point) for frequency in part["capsule.0.b"]]
            hidden = np.array([np.cos(each) for each in angles] + [np.sin(each) for each in angles])
            for layer in ("capsule.1", "capsule.3", "capsule.5"):
                hidden = np.maximum(part[f"{layer}.weight"] @ hidden + part[f"{layer}.bias"], 0)
            vector += part["head.0.weight"] @ hidden + part["head.0.bias"]
        total.append(vector)
    return np.stack(total)


def test_the_formulas(encoder: LocationEncoder, released: Mapping[str, Path]) -> None:
    degrees = np.concatenate([EDGES, read_coordinates(released[COORDINATES_FILE])[:4]])
    found = encoder.encode(degrees)
    wanted = encoded_by_hand(read_arrays(released[ENCODER_FILE]), degrees)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


def test_the_finest_scale_tells_neighbours_apart(encoder: LocationEncoder) -> None:
    """A hundred metres: half precision in the angles would make noise of it."""
    here, near, far = normalised(
        encoder.encode(np.array([[48.8584, 2.2945], [48.8593, 2.2945], [-33.9, 151.2]]))
    )
    assert 0.9 < here @ near < 0.99999
    assert here @ far < here @ near


def test_the_projection_is_symmetric_and_ends_at_known_places() -> None:
    plane = equal_earth(np.array([[0, 0], [0, 180], [0, -180], [90, 0], [-90, 0]], float))
    # Equal Earth's own extent (2.7066 × 1.3173 for a sphere of radius 1) times the reference's scale.
    assert plane[0] == pytest.approx([0, 0])
    assert plane[1] == pytest.approx([2.7066 * 66.50336 / 180, 0], abs=1e-4)
    assert plane[2] == pytest.approx(-plane[1])
    assert plane[3] == pytest.approx([0, 1.3173 * 66.50336 / 180], abs=1e-4)
    assert plane[4] == pytest.approx(-plane[3])


def test_all_published_points_are_read(released: Mapping[str, Path], tmp_path: Path) -> None:
    build_coordinates(released, tmp_path / "coordinates.npy", lambda *_: None)
    coordinates = np.load(tmp_path / "coordinates.npy")
    assert coordinates.shape == (100_000, 2)
    assert coordinates.dtype == np.float64
    assert coordinates[0].tolist() == [-50.943392, -72.935664]


def test_a_gallery_of_unit_vectors_with_progress(
    released: Mapping[str, Path], encoder: LocationEncoder, tmp_path: Path
) -> None:
    lines = released[COORDINATES_FILE].read_text().splitlines(keepends=True)[:2102]
    table = tmp_path / COORDINATES_FILE
    table.write_text("".join(lines))
    told: list[tuple[str, int, int | None]] = []
    build_gallery(
        {**released, COORDINATES_FILE: table},
        tmp_path / "gallery.npy",
        lambda label, done, total: told.append((label, done, total)),
    )
    gallery = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    assert gallery.shape == (2101, 512)
    assert gallery.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(gallery, axis=1), 1, atol=1e-5)
    some = [0, 1999, 2000, 2100]  # both sides of a block's end
    np.testing.assert_allclose(
        gallery[some], normalised(encoder.encode(read_coordinates(table)[some])), atol=1e-6
    )
    assert [done for _, done, _ in told] == [0, 2000, 2101]
    assert {total for _, _, total in told} == {2101}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "LON,LAT\n1,2\n",
        "LAT,LON\n",
        "LAT,LON\n1,2,3\n",
        "LAT,LON\nx,2\n",
        "LAT,LON\n91,2\n",
        "LAT,LON\nnan,2\n",
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_what_is_no_table_of_coordinates_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / COORDINATES_FILE
    path.write_text(text)
    with pytest.raises(CheckpointInvalid, match="is not a table of coordinates"):
        read_coordinates(path)


def test_another_networks_weights_are_refused() -> None:
    with pytest.raises(CheckpointInvalid, match="does not hold a location encoder"):
        LocationEncoder({"0.weight": np.ones((2, 2), np.float32)})
