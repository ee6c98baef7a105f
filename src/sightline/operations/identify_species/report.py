"""The answer of ``identify_species`` in Sightline's own words."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from sightline.capabilities.species import SpeciesScores, SpeciesVerdict
from sightline.operations import Result
from sightline.operations.boxes import kinds
from sightline.operations.identify_species.countries import country_name
from sightline.operations.identify_species.evidence import Found, Overall
from sightline.operations.identify_species.origin import Origin, Source
from sightline.taxa import LEVELS, Taxon


class SpeciesChoice(Result):
    """A taxon, or something a camera sees that is none: a blank picture, a vehicle."""

    name: str = Field(description="Scientific name, such as Panthera leo or Felidae; else the common name.")
    common_name: str = Field(description="In English, as the release has it; empty where it has none.")
    score: float = Field(description="0 to 1.")
    release_label: str = Field(
        description="The label of the release: uuid;class;order;family;genus;species;common name."
    )


class SpeciesPrediction(SpeciesChoice):
    """A verdict. The score is the classifier's, or the detector's where the reason says so."""

    level: str | None = Field(
        description="How fine the name is: species, genus, family, order or class; null for what is no taxon "
        "or only known to be an animal."
    )
    taxonomy: dict[str, str] = Field(description="Class, order, family, genus and species, as far as known.")
    reason: str = Field(
        description="What decided: detector, classifier, classifier+rollup_to_genus, "
        "classifier+geofence+rollup_to_family and so on."
    )


class SpeciesDetection(Result):
    """One thing in the photo."""

    box: list[int] = Field(
        description="[x_min, y_min, x_max, y_max] in whole pixels of the upright picture.",
        min_length=4,
        max_length=4,
    )
    label: str = Field(description="What the detector takes it for: animal, human or vehicle.")
    confidence: float = Field(description="The detector's, 0 to 1.")
    prediction: SpeciesPrediction = Field(description="What it is, by detector, classifier and rules.")
    classifications: list[SpeciesChoice] = Field(description="The classifier's first five, likeliest first.")


class SpeciesOrigin(Result):
    """Where the photo was taken, for the rules on where taxa live."""

    country: str | None = Field(description="ISO 3166-1 alpha-3; null: nothing was ruled out.")
    country_name: str | None
    country_source: Source
    admin1_region: str | None = Field(description="Two letters; so far only of the USA.")
    admin1_source: Source
    nearest_town: str | None = Field(description="To the coordinates: 'City, Region, CC'.")
    nearest_town_km: float | None


class SpeciesReport(Result):
    """Every detection that was classified, the surest first, and one verdict on the whole photo."""

    version: str = Field(description="Release of SpeciesNet.")
    detections: list[SpeciesDetection]
    prediction: SpeciesPrediction = Field(
        description="On the whole photo: by the surest detection, or by all of the picture without one."
    )
    classifications: list[SpeciesChoice] = Field(description="What the classifier said for it.")
    origin: SpeciesOrigin


def species_report(version: str, found: Sequence[Found], overall: Overall, origin: Origin) -> SpeciesReport:
    """Detections without a verdict were not to be classified and are left out."""
    return SpeciesReport(
        version=version,
        detections=[
            SpeciesDetection(
                box=each.detection.box.truncated().as_list(),
                label=each.detection.label,
                confidence=each.detection.score,
                prediction=_prediction(each.verdict),
                classifications=_choices(each.scores),
            )
            for each in found
            if each.verdict is not None and each.scores is not None
        ],
        prediction=_prediction(overall.verdict),
        classifications=_choices(overall.scores),
        origin=_origin(origin),
    )


def _choices(scores: SpeciesScores) -> list[SpeciesChoice]:
    return [
        SpeciesChoice(
            name=_name(taxon := Taxon.parse(label)),
            common_name=taxon.common_name,
            score=score,
            release_label=label,
        )
        for label, score in zip(scores.labels, scores.scores, strict=True)
    ]


def _prediction(verdict: SpeciesVerdict) -> SpeciesPrediction:
    taxon = Taxon.parse(verdict.label)
    levels = zip(LEVELS, taxon.levels, strict=True) if taxon.level else ()
    return SpeciesPrediction(
        name=_name(taxon),
        common_name=taxon.common_name,
        score=verdict.score,
        release_label=verdict.label,
        level=taxon.level,
        taxonomy={level: name for level, name in levels if name},
        reason=verdict.source,
    )


def _name(taxon: Taxon) -> str:
    return taxon.scientific_name or taxon.common_name


def _origin(origin: Origin) -> SpeciesOrigin:
    place = origin.place
    return SpeciesOrigin(
        country=origin.country,
        country_name=country_name(origin.country) if origin.country else None,
        country_source=origin.country_source,
        admin1_region=origin.admin1_region,
        admin1_source=origin.admin1_source,
        nearest_town=place.label if place else None,
        nearest_town_km=round(place.distance_km, 1) if place else None,
    )


def in_words(report: SpeciesReport) -> str:
    """Return the prediction for the photo, and what was found how often."""
    best = report.prediction
    common = best.common_name
    name = f"{common} ({best.name})" if common and common != best.name else best.name
    predictions = [each.prediction for each in report.detections]
    found = kinds((each.common_name or each.name, each.score) for each in predictions)
    return f"{name} {best.score:.0%}, by {best.reason}\nfound: {found}"
