"""The location encoder: coordinates to vectors in the space of GeoCLIP's pictures. Run once, when installed.

It takes sines of angles up to 5,554 radians, which half precision would turn into noise. Angles are computed
in float64 here, and the dense layers in float32 as in the reference: ``location_encoder.py`` and
``rff/functional.py`` of geoclip 1.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid
from sightline.weights.checkpoints import Arrays, read_arrays
from sightline.weights.sources import Report

DIMENSIONS = 512
ENCODER_FILE = "location_encoder_weights.pth"
COORDINATES_FILE = "coordinates_100K.csv"

# The Equal Earth projection (Šavrič, Patterson, Jenny 2018), and the reference's scale for it.
_A1, _A2, _A3, _A4 = 1.340264, -0.081106, 0.000893, 0.003796
_SCALE = 66.50336 / 180
# The reference's, which is rounded to float32 even where all else is float64; angles magnify the difference.
_ROOT_3 = float(np.sqrt(np.float32(3)))

_NUM_CAPSULES = 3
_LAYERS = ("capsule.1", "capsule.3", "capsule.5", "head.0")
# A block's activations stay below 20 MB while each product is still large enough to be fast.
_BLOCK_POINTS = 2000

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Capsule:
    """One scale of the encoder: frequencies [256, 2], then dense layers (weight [out, in], bias [out])."""

    frequencies: NDArray[np.float64]
    layers: tuple[tuple[Floats, Floats], ...]

    def encoded(self, points: NDArray[np.float64]) -> Floats:
        angles = 2 * np.pi * points @ self.frequencies.T
        hidden = np.concatenate((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)
        for weight, bias in self.layers[:-1]:
            hidden = hidden @ weight.T
            hidden += bias
            np.maximum(hidden, 0, out=hidden)
        weight, bias = self.layers[-1]
        result: Floats = hidden @ weight.T + bias
        return result


class LocationEncoder:
    """The encoder with the weights of one file.

    Raises:
        CheckpointInvalid: the file does not hold the weights of this encoder.
    """

    def __init__(self, weights: Arrays) -> None:
        try:
            self._capsules = tuple(_capsule(weights, number) for number in range(_NUM_CAPSULES))
        except KeyError as error:
            raise CheckpointInvalid(f"{ENCODER_FILE} does not hold a location encoder: no {error}") from error

    def encode(self, degrees: NDArray[np.float64]) -> Floats:
        """Latitude and longitude [M, 2] to float32 [M, 512], not normalised.

        Coordinates are rounded to float32 first: that is what the reference encodes.
        """
        points = equal_earth(degrees.astype(np.float32).astype(np.float64))
        total = np.zeros((len(points), DIMENSIONS), np.float32)
        for capsule in self._capsules:
            total += capsule.encoded(points)
        return total


def equal_earth(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Latitude and longitude [M, 2] to the plane [M, 2], each coordinate about -1 to 1."""
    latitude, longitude = np.radians(degrees).T
    theta = np.arcsin(_ROOT_3 / 2 * np.sin(latitude))
    slope = 3 * (9 * _A4 * theta**8 + 7 * _A3 * theta**6 + 3 * _A2 * theta**2 + _A1)
    x = 2 * _ROOT_3 * longitude * np.cos(theta) / slope
    y = _A4 * theta**9 + _A3 * theta**7 + _A2 * theta**3 + _A1 * theta
    return np.stack((x, y), axis=1) * _SCALE


def normalised(vectors: Floats) -> Floats:
    """Rows of length 1; 1e-12 is the epsilon of torch.nn.functional.normalize."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit


def build_coordinates(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """Write ``coordinates.npy``, float64 [M, 2], degrees of latitude and longitude, from the published table.

    Raises:
        CheckpointInvalid: the table is not one of coordinates.
    """
    coordinates = read_coordinates(inputs[COORDINATES_FILE])
    np.save(output, coordinates)
    report("gallery coordinates", len(coordinates), len(coordinates))


def build_gallery(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """Write ``gallery.npy``, float32 [M, 512]: the encoder's vector of each coordinate, of length 1.

    Raises:
        CheckpointInvalid: a file does not hold what it should.
    """
    encoder = LocationEncoder(read_arrays(inputs[ENCODER_FILE]))
    coordinates = read_coordinates(inputs[COORDINATES_FILE])
    total = len(coordinates)
    # On disk from the start: 205 MB that need not be in memory at once.
    gallery = np.lib.format.open_memmap(output, mode="w+", dtype=np.float32, shape=(total, DIMENSIONS))
    for start in range(0, total, _BLOCK_POINTS):
        report("gallery points", start, total)
        block = slice(start, start + _BLOCK_POINTS)
        gallery[block] = normalised(encoder.encode(coordinates[block]))
    gallery.flush()
    report("gallery points", total, total)


def read_coordinates(path: Path) -> NDArray[np.float64]:
    """The published table, float64 [M, 2]: a line ``LAT,LON``, then decimal degrees.

    Raises:
        CheckpointInvalid: it is something else.
    """
    with path.open(encoding="ascii", errors="replace") as lines:
        if lines.readline().strip() != "LAT,LON":
            raise CheckpointInvalid(
                f"{path.name} is not a table of coordinates: its first line is not LAT,LON"
            )
        try:
            coordinates = np.loadtxt(lines, delimiter=",", ndmin=2)
        except ValueError as error:
            raise CheckpointInvalid(f"{path.name} is not a table of coordinates: {error}") from error
    on_earth = coordinates.shape[1:] == (2,) and bool(np.all(np.abs(coordinates) <= (90, 180)))
    if not on_earth or not len(coordinates):
        raise CheckpointInvalid(f"{path.name} is not a table of coordinates: not all of it lies on Earth")
    return coordinates


def _capsule(weights: Arrays, number: int) -> _Capsule:
    prefix = f"LocEnc{number}."
    return _Capsule(
        weights[f"{prefix}capsule.0.b"].astype(np.float64),
        tuple((weights[f"{prefix}{layer}.weight"], weights[f"{prefix}{layer}.bias"]) for layer in _LAYERS),
    )
