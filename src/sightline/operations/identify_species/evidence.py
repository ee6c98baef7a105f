"""The findings in a photo: detections, and a classification for each requested crop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.capabilities import Capability
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.capabilities.species import (
    SPECIES,
    SPECIES_ENSEMBLE,
    Sighting,
    SightingsRequest,
    SpeciesScores,
    SpeciesVerdict,
)
from sightline.imaging import View
from sightline.operations import Models, Scene
from sightline.operations.identify_species.params import GivenDetection
from sightline.types import Box, Detection, ModelRef, PixelBox

# Crops of one photo in the classifier's lane at a time: enough for full batches, and a herd leaves places
# in the queue to others.
MOST_CROPS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Given(Detection):
    """A detection that came with the question. ``parts`` are its box as it was written."""

    parts: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


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


def parts_of(detection: Detection, width: int, height: int) -> tuple[float, float, float, float]:
    """(x_min, y_min, width, height) as parts of the picture: as given, or else :func:`normalised`."""
    return detection.parts if isinstance(detection, Given) else normalised(detection.box, width, height)


def given_detections(detections: Sequence[GivenDetection], width: int, height: int) -> list[Detection]:
    """Return the detections of the request, the highest score first."""
    found: list[Detection] = []
    for each in sorted(detections, key=lambda each: -each.conf):
        x_min, y_min, box_width, box_height = each.bbox
        box = Box(
            x_min * width,
            y_min * height,
            min(x_min + box_width, 1.0) * width,
            min(y_min + box_height, 1.0) * height,
        )
        found.append(Given(box, each.conf, each.label, parts=each.bbox))
    return found


def crop_of(parts: tuple[float, float, float, float], width: int, height: int) -> PixelBox:
    """The pixels that are classified: the normalised box times the size, cut to whole numbers.

    Rounding can lose a pixel on the way, and does so in the reference too. A box that would lose its last one
    keeps it here, where the reference fails.
    """
    x_min, y_min, box_width, box_height = parts
    left, top = min(int(x_min * width), width - 1), min(int(y_min * height), height - 1)
    right = min(left + max(int(box_width * width), 1), width)
    return PixelBox(left, top, right, min(top + max(int(box_height * height), 1), height))


class Looking:
    """Asks the models of one release about one photo, and remembers which of them answered."""

    def __init__(self, scene: Scene, models: Models, version: str) -> None:
        """Raises UnknownModel when there is no such release, ModelUnavailable when there is none at all."""
        self._scene = scene
        for capability in (SPECIES, SPECIES_ENSEMBLE):
            models.find(capability, version)
        self._version = version
        self._crops = asyncio.Semaphore(MOST_CROPS_AT_ONCE)
        self.used: dict[Capability[Any, Any], ModelRef] = {}

    async def detect(self, given: Sequence[GivenDetection] | None) -> list[Detection]:
        """Return the given detections, or all of the detector, the highest score first.

        Raises:
            ModelUnavailable: nothing is given and there is no detector.
        """
        if given is not None:
            return given_detections(given, self._scene.picture.width, self._scene.picture.height)
        inference = await self._scene.infer(ANIMAL_BOXES, View(self._scene.picture))
        self.used[ANIMAL_BOXES] = inference.model
        return sorted(inference.output, key=lambda each: -each.score)

    async def classify(self, detections: Sequence[Detection]) -> list[SpeciesScores]:
        """Classify the crops of all detections at once, so that they share batches."""
        crops = [asyncio.create_task(self._classify_crop(each)) for each in detections]
        try:
            return list(await asyncio.gather(*crops))
        finally:
            for crop in crops:  # when one fails the others have no reader any more
                crop.cancel()

    async def _classify_crop(self, detection: Detection) -> SpeciesScores:
        picture = self._scene.picture
        size = picture.width, picture.height
        crop = crop_of(parts_of(detection, *size), *size)
        async with self._crops:
            return await self._classify(View(picture, crop))

    async def classify_overall(self, detections: Sequence[Detection]) -> Sighting:
        """Return the crop of speciesnet before 5.0.6: the best detection of any score and any kind,
        or the whole picture as an "animal" of confidence 0 where nothing was detected."""
        if detections:
            top = detections[0]
            return Sighting(top.label, top.score, await self._classify_crop(top))
        return Sighting("animal", 0.0, await self._classify(View(self._scene.picture)))

    async def _classify(self, view: View) -> SpeciesScores:
        inference = await self._scene.infer(SPECIES, view, self._version)
        self.used[SPECIES] = inference.model
        return inference.output

    async def decide(
        self, sightings: Sequence[Sighting], country: str | None, admin1_region: str | None
    ) -> list[SpeciesVerdict]:
        """A verdict for each sighting."""
        if not sightings:
            return []
        asked = SightingsRequest(tuple(sightings), country, admin1_region)
        inference = await self._scene.infer(SPECIES_ENSEMBLE, asked, self._version)
        self.used[SPECIES_ENSEMBLE] = inference.model
        return inference.output
