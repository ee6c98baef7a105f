"""The answer in the JSON of the ``speciesnet`` package: an entry of its ``predictions``, of both generations.

What is not known is left out, not null. Numbers keep all their digits, as its server gives them; four
decimals are for files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ConfigDict, Field

from sightline.capabilities.species import SpeciesScores
from sightline.operations import Result
from sightline.operations.boxes import kinds
from sightline.operations.identify_species.evidence import Found, Overall, parts_of
from sightline.operations.identify_species.origin import Origin
from sightline.types import Coordinate, Detection

# The numbers of MegaDetector's categories, as text.
CATEGORIES = {"animal": "1", "human": "2", "vehicle": "3"}
# How many of a crop's classes speciesnet 5.0.6 writes; five of them were weighed.
RAW_CLASSES = 2

ValueT = TypeVar("ValueT")


def _if_known(description: str) -> ValueT | None:
    """A field that is left out of the JSON when there is nothing to say."""
    absent: ValueT | None = Field(None, description=description, exclude_if=lambda value: value is None)
    return absent


class SpeciesNetClasses(Result):
    """Labels of the release and their scores, likeliest first."""

    classes: list[str]
    scores: list[float]


class SpeciesNetDetection(Result):
    """One detection, the surest first."""

    category: str = Field(description="1 animal, 2 human, 3 vehicle.")
    label: str
    conf: float
    bbox: list[float] = Field(
        description="[x_min, y_min, width, height] as parts of the picture's width and height.",
        min_length=4,
        max_length=4,
    )


class SpeciesNetProcessed(Result):
    """The verdict on one detection."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    label: str = Field(alias="class")
    score: float
    source: str


class SpeciesNetClassifiedDetection(SpeciesNetDetection):
    """A detection of 5.0.6; without the last two where it was not to be classified."""

    raw_classifications: SpeciesNetClasses | None = _if_known("The classifier's first two.")
    processed_classification: SpeciesNetProcessed | None = _if_known("What the rules made of it.")


class SpeciesNetPlace(Result):
    """Return the fields that begin both generations' records."""

    filepath: str
    country: str | None = _if_known("ISO 3166-1 alpha-3.")
    admin1_region: str | None = _if_known("Two letters.")
    latitude: float | None = _if_known("Degrees.")
    longitude: float | None = _if_known("Degrees.")


class SpeciesNet4Prediction(SpeciesNetPlace):
    """An entry as ``speciesnet`` 5.0.0 to 5.0.5 writes it: one prediction per photo."""

    classifications: SpeciesNetClasses = Field(description="The classifier's first five.")
    detections: list[SpeciesNetDetection] = Field(description="All that the detector reports.")
    prediction: str
    prediction_score: float
    prediction_source: str
    model_version: str

    def in_words(self) -> str:
        """Return the prediction, and what the detector found how often."""
        found = kinds((each.label, each.conf) for each in self.detections)
        name = _common_name(self.prediction)
        return f"{name} {self.prediction_score:.0%}, by {self.prediction_source}\nfound: {found}"


class SpeciesNet5Prediction(SpeciesNetPlace):
    """An entry as ``speciesnet`` 5.0.6 writes it (format_version 20261015): one verdict per detection."""

    detections: list[SpeciesNetClassifiedDetection] = Field(description="All that the detector reports.")
    model_version: str

    def in_words(self) -> str:
        """Return what was found how often; detections that were not classified have the detector's label."""
        return kinds(
            (_common_name(made.label), made.score)
            if (made := each.processed_classification)
            else (each.label, each.conf)
            for each in self.detections
        )


def _common_name(label: str) -> str:
    """Return the last part of a label that is not empty."""
    return next((part for part in reversed(label.split(";")) if part), label)


def place_fields(filepath: str, origin: Origin, here: Coordinate | None) -> SpeciesNetPlace:
    return SpeciesNetPlace(
        filepath=filepath,
        country=origin.country,
        admin1_region=origin.admin1_region,
        latitude=here.latitude if here else None,
        longitude=here.longitude if here else None,
    )


def speciesnet_4(
    place: SpeciesNetPlace, version: str, found: Sequence[Found], overall: Overall, size: tuple[int, int]
) -> SpeciesNet4Prediction:
    """``size`` is the picture's width and height in pixels."""
    return SpeciesNet4Prediction(
        **dict(place),
        classifications=_classes(overall.scores),
        detections=[SpeciesNetDetection(**_detection(each.detection, size)) for each in found],
        prediction=overall.verdict.label,
        prediction_score=overall.verdict.score,
        prediction_source=overall.verdict.source,
        model_version=version.removeprefix("v"),
    )


def speciesnet_5(
    place: SpeciesNetPlace, version: str, found: Sequence[Found], size: tuple[int, int]
) -> SpeciesNet5Prediction:
    """``size`` is the picture's width and height in pixels."""
    return SpeciesNet5Prediction(
        **dict(place),
        detections=[
            SpeciesNetClassifiedDetection(
                **_detection(each.detection, size),
                raw_classifications=_classes(each.scores, RAW_CLASSES) if each.scores else None,
                processed_classification=SpeciesNetProcessed(
                    label=each.verdict.label, score=each.verdict.score, source=each.verdict.source
                )
                if each.verdict
                else None,
            )
            for each in found
        ],
        model_version=version.removeprefix("v"),
    )


def _classes(scores: SpeciesScores, most: int | None = None) -> SpeciesNetClasses:
    return SpeciesNetClasses(classes=list(scores.labels[:most]), scores=list(scores.scores[:most]))


def _detection(found: Detection, size: tuple[int, int]) -> dict[str, object]:
    return {
        "category": CATEGORIES[found.label],
        "label": found.label,
        "conf": found.score,
        "bbox": list(parts_of(found, *size)),
    }
