"""What the networks found in a photo: detections, and a classification for each crop that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightline.imaging import View
from sightline.operations import Models, Scene
from sightline.subjects import Sighting, SightingsRequest
from sightline.types import (
    Box,
    Capability,
    Detection,
    ModelRef,
    PixelBox,
    SpeciesScores,
    SpeciesVerdict,
)

# Crops of one photo in the classifier's lane at a time: enough for full batches, and a herd leaves places
# in the queue to others.
MOST_CROPS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Found:
    """One thing: its detection, and once it was classified its scores and the verdict on it."""

    detection: Detection
    scores: SpeciesScores | None = None
    verdict: SpeciesVerdict | None = None


@dataclass(frozen=True, slots=True)
class Overall:
    """One verdict on the whole photo, and the scores it rests on."""

    scores: SpeciesScores
    verdict: SpeciesVerdict


def normalised(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    """(x_min, y_min, width, height) as parts of the picture, bit for bit as ``speciesnet`` has them.

    It goes by way of the middle, in float32, and from there on in float64.
    """
    middle_x = float(np.float32((box.x_min + box.x_max) / 2) / np.float32(width))
    middle_y = float(np.float32((box.y_min + box.y_max) / 2) / np.float32(height))
    box_width = float(np.float32(box.width) / np.float32(width))
    box_height = float(np.float32(box.height) / np.float32(height))
    return middle_x - box_width / 2.0, middle_y - box_height / 2.0, box_width, box_height


def crop_of(box: Box, width: int, height: int) -> PixelBox:
    """The pixels that are classified: the normalised box times the size, cut to whole numbers.

    Rounding can lose a pixel on the way, and does so in the reference too. A box that would lose its last one
    keeps it here, where the reference fails.
    """
    x_min, y_min, box_width, box_height = normalised(box, width, height)
    left, top = min(int(x_min * width), width - 1), min(int(y_min * height), height - 1)
    return PixelBox(left, top, left + max(int(box_width * width), 1), top + max(int(box_height * height), 1))


class Looking:
    """Asks the models of one release about one photo, and remembers which of them answered."""

    def __init__(self, scene: Scene, models: Models, version: str) -> None:
        """Raises UnknownModel when there is no such release, ModelUnavailable when there is none at all."""
        self._scene = scene
        self._detector = models.find(Capability.ANIMAL_BOXES)
        self._classifier = models.find(Capability.SPECIES, version)
        self._ensemble = models.find(Capability.SPECIES_ENSEMBLE, version)
        self._crops = asyncio.Semaphore(MOST_CROPS_AT_ONCE)
        self.used: dict[Capability, ModelRef] = {}

    async def detect(self) -> list[Detection]:
        """Everything the detector reports, the surest first."""
        inference = await self._scene.infer(self._detector, View(self._scene.picture))
        self.used[Capability.ANIMAL_BOXES] = inference.model
        found: list[Detection] = inference.output
        return sorted(found, key=lambda each: -each.score)

    async def classify(self, detections: Sequence[Detection]) -> list[SpeciesScores]:
        """What each detection's crop shows, all at once so that they share batches."""
        crops = [asyncio.create_task(self._classify_crop(each)) for each in detections]
        try:
            return list(await asyncio.gather(*crops))
        finally:
            for crop in crops:  # when one fails the others have no reader any more
                crop.cancel()

    async def _classify_crop(self, detection: Detection) -> SpeciesScores:
        picture = self._scene.picture
        crop = crop_of(detection.box, picture.width, picture.height)
        async with self._crops:
            return await self._classify(View(picture, crop))

    async def classify_overall(self, detections: Sequence[Detection]) -> Sighting:
        """What speciesnet before 5.0.6 looked at: the surest detection, however unsure and of whatever kind,
        or the whole picture as an "animal" of confidence 0 where nothing was detected."""
        if detections:
            top = detections[0]
            return Sighting(top.label, top.score, await self._classify_crop(top))
        return Sighting("animal", 0.0, await self._classify(View(self._scene.picture)))

    async def _classify(self, view: View) -> SpeciesScores:
        inference = await self._scene.infer(self._classifier, view)
        self.used[Capability.SPECIES] = inference.model
        scores: SpeciesScores = inference.output
        return scores

    async def decide(
        self, sightings: Sequence[Sighting], country: str | None, admin1_region: str | None
    ) -> list[SpeciesVerdict]:
        """A verdict for each sighting."""
        if not sightings:
            return []
        asked = SightingsRequest(tuple(sightings), country, admin1_region)
        inference = await self._scene.infer(self._ensemble, asked)
        self.used[Capability.SPECIES_ENSEMBLE] = inference.model
        verdicts: list[SpeciesVerdict] = inference.output
        return verdicts
