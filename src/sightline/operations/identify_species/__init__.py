"""Identify every animal in a photo, with box, name, score and reason.

``docs/wildlife.md`` says what the answer means. Three models work together: a detector, a classifier of crops
and the rules that weigh both; see ``models/speciesnet_ensemble``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import RootModel

from sightline.capabilities import Capability
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.capabilities.places import PLACES
from sightline.capabilities.species import SPECIES, SPECIES_ENSEMBLE, Sighting
from sightline.operations import Answer, Models, Operation, Result, Scene, TimingGroup
from sightline.operations.identify_species.evidence import Found, Looking, Overall
from sightline.operations.identify_species.formats import (
    SpeciesNet4Prediction,
    SpeciesNet5Prediction,
    place_fields,
    speciesnet_4,
    speciesnet_5,
)
from sightline.operations.identify_species.origin import Origin, find_origin
from sightline.operations.identify_species.params import NEWEST, Format, IdentifySpeciesParams
from sightline.operations.identify_species.report import SpeciesReport, in_words, species_report
from sightline.types import Coordinate, Detection, ModelRef, Provenance


class IdentifySpeciesResult(RootModel[SpeciesReport | SpeciesNet4Prediction | SpeciesNet5Prediction], Result):
    """The result in the requested ``format``, in ``root``."""


class IdentifySpecies(Operation[IdentifySpeciesParams, IdentifySpeciesResult]):
    """Each detection gets the verdict of speciesnet 5.0.6, the whole photo that of the releases before it."""

    name = "identify_species"
    description = "Finds every animal, human and vehicle in a photo and says which species each animal is."
    needs = (ANIMAL_BOXES, SPECIES, SPECIES_ENSEMBLE, PLACES)
    Params = IdentifySpeciesParams
    Result = IdentifySpeciesResult
    example = {"country": "KEN"}
    default_spaces = {SPECIES: NEWEST, SPECIES_ENSEMBLE: NEWEST}
    timing_group = TimingGroup.CLASSIFICATION
    purposes = ("wildlife", "animals")

    async def run(
        self, scene: Scene, params: IdentifySpeciesParams, models: Models
    ) -> Answer[IdentifySpeciesResult]:
        looking = Looking(scene, models, params.version)
        detections, origin = await asyncio.gather(
            looking.detect(params.detections), find_origin(scene, params)
        )
        result: SpeciesReport | SpeciesNet4Prediction | SpeciesNet5Prediction
        size = (scene.picture.width, scene.picture.height)
        place = place_fields(params.filepath or scene.picture.facts.sha256, origin, _coordinate(params))
        match params.format:
            case Format.SPECIESNET_4:
                found, overall = (
                    [Found(each) for each in detections],
                    await _overall(looking, detections, origin),
                )
                result = speciesnet_4(place, params.version, found, overall, size)
            case Format.SPECIESNET_5:
                found = await _each(looking, detections, origin, params)
                result = speciesnet_5(place, params.version, found, size)
            case Format.SIGHTLINE:
                found, overall = await asyncio.gather(
                    _each(looking, detections, origin, params),
                    _overall(looking, detections, origin),
                )
                result = species_report(params.version, found, overall, origin)
        model, warnings = _answering(looking.used)
        return Answer(IdentifySpeciesResult(result), model, warnings=(*origin.warnings, *warnings))

    def fields(self, result: IdentifySpeciesResult) -> dict[str, str | float] | None:
        """``species`` is the name of the finest level that is sure enough, such as a genus."""
        if not isinstance(result.root, SpeciesReport):
            return None
        found = result.root.prediction
        return {"species": found.name, "common_name": found.common_name, "score": found.score}

    def words(self, result: IdentifySpeciesResult) -> str:
        found = result.root
        return in_words(found) if isinstance(found, SpeciesReport) else found.in_words()


async def _each(
    looking: Looking, detections: list[Detection], origin: Origin, params: IdentifySpeciesParams
) -> list[Found]:
    """All detections, the surest first; the first that are sure enough with scores and verdict."""
    chosen = [each for each in detections if each.score >= params.min_confidence]
    chosen = chosen[: params.max_classifications]
    scores = await looking.classify(chosen)
    sightings = [Sighting(each.label, each.score, its) for each, its in zip(chosen, scores, strict=True)]
    verdicts = await looking.decide(sightings, origin.country, origin.admin1_region)
    known = {id(each): (its, verdict) for each, its, verdict in zip(chosen, scores, verdicts, strict=True)}
    return [Found(each, *known.get(id(each), (None, None))) for each in detections]


async def _overall(looking: Looking, detections: list[Detection], origin: Origin) -> Overall:
    sighting = await looking.classify_overall(detections)
    (verdict,) = await looking.decide([sighting], origin.country, origin.admin1_region)
    return Overall(sighting.scores, verdict)


def _answering(used: dict[Capability[Any, Any], ModelRef]) -> tuple[ModelRef | None, tuple[str, ...]]:
    """The model the answer is named for: the classifier, or the detector where nothing was classified. Random
    weights of the others are a warning; those of the answer's own model are told apart anyway."""
    model = used.get(SPECIES) or used.get(ANIMAL_BOXES)
    random = [each.name for each in used.values() if each.provenance is Provenance.RANDOM and each != model]
    return model, tuple(f"{name} has random weights: the answer means nothing" for name in random)


def _coordinate(params: IdentifySpeciesParams) -> Coordinate | None:
    if params.latitude is None or params.longitude is None:
        return None
    return Coordinate(params.latitude, params.longitude)


OPERATIONS = (IdentifySpecies(),)
