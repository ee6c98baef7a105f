"""Where a coordinate is, in words: ``GET /v1/places``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from sightline.capabilities.places import PLACES, Place
from sightline.runtime.engine import Context
from sightline.server import schemas
from sightline.server.answers import json_response
from sightline.server.connections import while_connected
from sightline.server.state import analyzer_of
from sightline.types import Coordinate

router = APIRouter(prefix="/v1", tags=["v1"])

Latitude = Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False, description="Degrees, north positive.")]
Longitude = Annotated[
    float, Query(ge=-180, le=180, allow_inf_nan=False, description="Degrees, east positive.")
]


@router.get("/places", summary="The town nearest to a coordinate", responses=schemas.PLACES)
async def places(request: Request, lat: Latitude, lon: Longitude) -> Response:
    """The nearest town along the surface of the Earth, however far: ``distance_km`` says how far.

    ``label`` is "City, Region, CC". Nearest is not inside: close to a border it can be the other side's town.
    The data's licence comes along because it asks to be named wherever the data is shown.
    """
    analyzer = analyzer_of(request)
    context = Context.lasting(analyzer.settings.request_timeout_s)
    found = await while_connected(request, analyzer.engine.infer_with(PLACES, Coordinate(lat, lon), context))
    card = analyzer.models[found.model.name].card
    return json_response(
        {
            "latitude": lat,
            "longitude": lon,
            "place": _place(found.output),
            "model": {
                "name": found.model.name,
                "fingerprint": found.model.fingerprint,
                "provenance": found.model.provenance.value,
            },
            "licence": card.licence,
            "source": card.homepage,
        }
    )


def _place(place: Place) -> dict[str, Any]:
    return {
        "label": place.label,
        "name": place.name,
        "region": place.region,
        "country_code": place.country_code,
        "distance_km": round(place.distance_km, 3),
    }
