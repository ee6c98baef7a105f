"""Parameters of ``identify_species``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sightline.operations import Params
from sightline.operations.identify_species.countries import checked_country, checked_region

NEWEST = "v4.0.3a"
# The least confidence of a detection that speciesnet 5.0.6 classifies.
CLASSIFIED_CONFIDENCE = 0.1
# Detectors report 300 at most: the limit of MegaDetector's non-maximum suppression. Twice that, and some.
MOST_DETECTIONS = 1000


class Format(StrEnum):
    """How the answer is written. See ``docs/wildlife.md``."""

    SIGHTLINE = "sightline"
    SPECIESNET_4 = "speciesnet-4"
    SPECIESNET_5 = "speciesnet-5"


Part = Annotated[float, Field(ge=0, le=1)]


class GivenDetection(Params):
    """One thing that another detector found."""

    label: Literal["animal", "human", "vehicle"]
    conf: float = Field(ge=0, le=1, description="That detector's confidence.")
    bbox: tuple[Part, Part, Part, Part] = Field(
        description="[x_min, y_min, width, height] as parts of the upright picture's width and height."
    )


class IdentifySpeciesParams(Params):
    """Parameters of ``identify_species``."""

    version: str = Field(
        NEWEST, max_length=100, description="Release of SpeciesNet: v4.0.1a, v4.0.2a or v4.0.3a."
    )
    country: Annotated[str, AfterValidator(checked_country)] | None = Field(
        None,
        max_length=100,
        description="Where the photo was taken, ISO 3166-1 alpha-3 such as KEN: what does not live there is "
        "not named.",
    )
    admin1_region: str | None = Field(
        None, max_length=100, description="State of the USA, two letters such as CA. Needs 'country'."
    )
    latitude: float | None = Field(
        None, ge=-90, le=90, description="Degrees. Tells country and state where they are not given."
    )
    longitude: float | None = Field(
        None, ge=-180, le=180, description="Degrees, east positive. Goes with 'latitude'."
    )
    min_confidence: float = Field(
        CLASSIFIED_CONFIDENCE,
        ge=0,
        le=1,
        description="Least confidence of the detector in what is classified; it gives nothing below 0.01.",
    )
    max_classifications: int | None = Field(
        None,
        ge=0,
        description="Most detections of a photo that are classified, the surest first. Null: all of them.",
    )
    detections: tuple[GivenDetection, ...] | None = Field(
        None,
        max_length=MOST_DETECTIONS,
        description="What another detector found in the picture. Null: the detector here looks for itself.",
    )
    format: Format = Field(
        Format.SIGHTLINE,
        description="sightline, or the JSON of the speciesnet package: before or since 5.0.6.",
    )
    filepath: str | None = Field(
        None,
        max_length=4096,
        description="What the formats of speciesnet call the photo; without it, the file's SHA-256.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude go together")
        if self.admin1_region is not None:
            if self.country is None:
                raise ValueError("admin1_region needs country, such as USA")
            checked_region(self.country, self.admin1_region)
        return self
