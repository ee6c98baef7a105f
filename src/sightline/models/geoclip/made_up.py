"""A head and a gallery of made-up numbers, in the format of the built ones.

The points lie in rough boxes of land. The vectors of a box are similar, so that a picture has one or a few
likely regions, as with trained weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.models.geoclip.location_encoder import DIMENSIONS, normalised
from sightline.networks.drawing import fan_in_std, generator
from sightline.weights.sources import Recipe

_NUM_POINTS = {"tiny": 2_000, "full": 100_000}
_CLIP_DIMENSIONS = 768
# exp() of the published logit_scale, rounded.
_SCALE = 39.7
# The vector of a point is its box's, and this much of its own.
_OWN = 0.7

# South, west, north, east, in degrees.
_LAND = (
    (-33, 18, -2, 38),
    (5, -12, 32, 38),
    (-38, -70, -3, -43),
    (17, -104, 30, -98),
    (31, -118, 49, -80),
    (50, -122, 62, -75),
    (38, -7, 43, -1),
    (44, 0, 55, 30),
    (58, 12, 66, 30),
    (10, 76, 27, 84),
    (23, 100, 42, 117),
    (35, 136, 38, 140),
    (50, 40, 68, 130),
    (-33, 118, -20, 148),
)


def make_up_head(output: Path, recipe: Recipe) -> None:
    """Write ``head.npz``: layers that keep the variance of what they read."""
    seed = recipe.seed
    shapes = {
        "first_weight": (_CLIP_DIMENSIONS, _CLIP_DIMENSIONS),
        "first_bias": (_CLIP_DIMENSIONS,),
        "second_weight": (DIMENSIONS, _CLIP_DIMENSIONS),
        "second_bias": (DIMENSIONS,),
    }
    layers: dict[str, Any] = {
        name: generator(seed, f"head.{name}").standard_normal(shape, np.float32)
        * np.float32(fan_in_std(shape) if len(shape) > 1 else 0.02)
        for name, shape in shapes.items()
    }
    np.savez(output, scale=np.float32(_SCALE), **layers)


def make_up_coordinates(output: Path, recipe: Recipe) -> None:
    """Write ``coordinates.npy``: points that take turns between the boxes."""
    boxes = np.array(_LAND, np.float64)[_boxes(recipe)]
    places = generator(recipe.seed, "coordinates").random((len(boxes), 2))
    np.save(output, np.round(boxes[:, :2] + places * (boxes[:, 2:] - boxes[:, :2]), 5))


def make_up_gallery(output: Path, recipe: Recipe) -> None:
    """Write ``gallery.npy``: a unit vector for each point."""
    boxes = _boxes(recipe)
    common = generator(recipe.seed, "boxes").standard_normal((len(_LAND), DIMENSIONS), np.float32)
    own = generator(recipe.seed, "points").standard_normal((len(boxes), DIMENSIONS), np.float32)
    own *= np.float32(_OWN)
    own += common[boxes]
    np.save(output, normalised(own))


def _boxes(recipe: Recipe) -> NDArray[np.int64]:
    """The box of each point."""
    return np.arange(_NUM_POINTS[recipe.size]) % len(_LAND)
