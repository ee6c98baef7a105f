"""From a picture to the probability of each point of the gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.geolocation import Geolocation
from sightline.errors import ModelBroken
from sightline.imaging import View, middle_square
from sightline.models.clip_backbone import SQUARE
from sightline.models.embedders import ImageTower, Pixels
from sightline.models.geoclip.head import Head
from sightline.models.geoclip.posterior import Points

Floats = NDArray[np.float32]

# Points of the gallery that are compared at once: 2 MB of vectors.
_BLOCK = 1024


class GeoClip:
    """Pictures to ``types.Geolocation``. ``gallery`` float32 [M, D] has a unit vector per point.

    Raises:
        ModelBroken: the parts do not fit together.
    """

    def __init__(self, tower: ImageTower, head: Head, gallery: Floats, points: Points) -> None:
        if gallery.shape != (len(points), head.output_dimensions) or gallery.dtype != np.float32:
            raise ModelBroken(
                f"The gallery must be float32 [{len(points)}, {head.output_dimensions}]; "
                f"it is {gallery.dtype} {list(gallery.shape)}"
            )
        self._tower = tower
        self._head = head
        self._gallery = gallery
        self._points = points

    def prepare(self, subject: View) -> Pixels:
        """uint8 [224, 224, 3]: shorter side to 224 bicubic, middle square, as transformers' CLIP processor.

        Its square starts at ``(side - 224) // 2``, where torchvision's rounds. The picture is decoded whole:
        a JPEG decoded at half its size is close enough for a vector, but 39.7 times the difference stands in
        the exponent of a probability here. For the same reason it is resized to the last bit.
        """
        return middle_square(subject.pixels(), SQUARE.short_side, SQUARE.size, "bicubic", "down", exact=True)

    def infer(self, items: Sequence[Pixels]) -> list[Geolocation]:
        features = np.stack(self._tower.infer(items))
        if features.shape[1:] != (self._head.input_dimensions,):
            raise ModelBroken(f"The graph's vectors must have {self._head.input_dimensions} numbers")
        return [self._points.summarised(row) for row in self.probabilities(features)]

    def probabilities(self, features: NDArray[np.floating]) -> Floats:
        """Raw CLIP vectors [N, D] to float32 [N, M]: softmax of the scaled cosines over the whole gallery."""
        vectors = self._head.embedded(features) * self._head.scale
        # In blocks: each part of the gallery's 205 MB is read once for all pictures and stays in the cache.
        logits = np.empty((len(vectors), len(self._gallery)), np.float32)
        for first in range(0, len(self._gallery), _BLOCK):
            block = slice(first, first + _BLOCK)
            np.matmul(vectors, self._gallery[block].T, out=logits[:, block])
        logits -= logits.max(axis=1, keepdims=True)
        odds: Floats = np.exp(logits, out=logits)
        odds /= odds.sum(axis=1, keepdims=True, dtype=np.float64)
        return odds
