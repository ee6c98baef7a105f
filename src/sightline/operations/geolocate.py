"""Where a picture was taken, and how sure that is.

``docs/geolocation.md`` says what the numbers mean and what they do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator

from sightline.capabilities.geolocation import GEOLOCATION, Geolocation
from sightline.capabilities.places import PLACES
from sightline.errors import ModelError, Overloaded
from sightline.operations import Answer, Models, Operation, Params, Result, Scene, TimingGroup
from sightline.types import Coordinate, Region, Target

MOST_CANDIDATES = 100


class GeolocateParams(Params):
    """Parameters of ``geolocate``."""

    top_k: int = Field(
        5,
        description="How many places to list.",
        json_schema_extra={"minimum": 1, "maximum": MOST_CANDIDATES},
    )

    @field_validator("top_k")
    @classmethod
    def _in_range(cls, value: int) -> int:
        """In the words of geoclip 1.3.0."""
        if not 1 <= value <= MOST_CANDIDATES:
            raise ValueError(f"top_k must be between 1 and {MOST_CANDIDATES}, got {value}.")
        return value


class GeolocationCandidate(Result):
    """One of the model's fixed places."""

    lat: float = Field(description="Degrees, -90 to 90.")
    lon: float = Field(description="Degrees, -180 to 180, east positive.")
    probability: float = Field(description="The model's share for this place among all it knows.")
    place: str | None = Field(
        description="Nearest town as 'City, Region, CC'; null when names are not available."
    )


class GeolocationCluster(Result):
    """A region of places that are probable together."""

    lat: float
    lon: float
    mass: float = Field(description="Part of all probability that lies in the region.")
    radius_km: float = Field(description="Distance from the middle that holds 90 % of the region's mass.")


class GeolocationUncertainty(Result):
    """How the probability of all places lies on the globe, not only that of the listed ones."""

    clusters: list[GeolocationCluster] = Field(description="Heaviest first; at least 1 % of mass each.")
    radius_50_km: float = Field(description="Around the first candidate: half of all probability is nearer.")
    radius_90_km: float = Field(description="The same for nine tenths.")


class GeolocateResult(Result):
    """Candidates, the most probable first, and how far to trust the first of them."""

    candidates: list[GeolocationCandidate]
    uncertainty: GeolocationUncertainty


class Geolocate(Operation[GeolocateParams, GeolocateResult]):
    """The picture is looked at, never its metadata: a position in EXIF has no part in the answer."""

    name = "geolocate"
    description = "Estimates where on Earth the photo was taken, from its pixels alone."
    needs = (GEOLOCATION, PLACES)
    Params = GeolocateParams
    Result = GeolocateResult
    example = {"top_k": 5}
    timing_group = TimingGroup.CLASSIFICATION
    purposes = ("geolocation",)

    async def run(self, scene: Scene, params: GeolocateParams, models: Models) -> Answer[GeolocateResult]:
        inference = await scene.infer(GEOLOCATION, scene.view(Region(Target.WHOLE_IMAGE)))
        found = inference.output
        listed = found.candidates[: params.top_k]
        places, warnings = await _places(scene, [each.coordinate for each in listed])
        candidates = [
            GeolocationCandidate(
                lat=each.coordinate.latitude,
                lon=each.coordinate.longitude,
                probability=each.probability,
                place=place,
            )
            for each, place in zip(listed, places, strict=True)
        ]
        result = GeolocateResult(candidates=candidates, uncertainty=_uncertainty(found))
        return Answer(result, inference.model, warnings=warnings)

    def words(self, result: GeolocateResult) -> str:
        places = ", ".join(
            f"{each.place or f'{each.lat:.3f} {each.lon:.3f}'} ({each.probability:.0%})"
            for each in result.candidates[:3]
        )
        radius_km = result.uncertainty.radius_50_km
        return f"{places}\nhalf of the probability is within {radius_km:,.0f} km of the first"


async def _places(
    scene: Scene, coordinates: Sequence[Coordinate]
) -> tuple[list[str | None], tuple[str, ...]]:
    """The label of each coordinate. Without names the answer still stands, so their lack is a warning."""
    try:
        inferences = await scene.infer_all(PLACES, coordinates)
    except (ModelError, Overloaded) as error:
        return [None] * len(coordinates), (f"candidates have no place names: {error}",)
    return [inference.output.label for inference in inferences], ()


def _uncertainty(found: Geolocation) -> GeolocationUncertainty:
    return GeolocationUncertainty(
        clusters=[
            GeolocationCluster(
                lat=round(cluster.centre.latitude, 4),
                lon=round(cluster.centre.longitude, 4),
                mass=cluster.mass,
                radius_km=round(cluster.radius_km, 1),
            )
            for cluster in found.clusters
        ],
        radius_50_km=round(found.radius_50_km, 1),
        radius_90_km=round(found.radius_90_km, 1),
    )


OPERATIONS = (Geolocate(),)
