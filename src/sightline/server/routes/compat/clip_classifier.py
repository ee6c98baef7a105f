"""The clip-image-classifier's routes: map, picture from above or something else, in that contract's words.

The contract names no statuses; those of ``/v1`` are given. JPG, PNG, GIF, BMP and TIFF only, told by content,
and a larger file than elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.capabilities.label_sets import LABEL_SETS
from sightline.errors import InvalidRequest, PayloadTooLarge, UnsupportedImage
from sightline.imaging import Picture
from sightline.imaging.formats import UnknownFormat
from sightline.runtime.analyzer import Analyzer, Outcome, Task
from sightline.runtime.engine import Context
from sightline.runtime.residency import ModelState, Residency
from sightline.server.answers import json_response
from sightline.server.connections import while_connected
from sightline.server.contract import Contract
from sightline.server.forms import read_form
from sightline.server.request_facts import note_outcomes, note_picture
from sightline.server.routes.compat import schemas
from sightline.server.routes.compat.warnings import warning_headers
from sightline.server.state import analyzer_of, state_of
from sightline.settings import Settings

ROUTE = "/classify"
HEALTH = "/health"
TASK = Task("classify", "classify_zero_shot", {"label_set": "map-or-aerial"})
RULE = "is_map_or_aerial"
WANTED = ("maps", "aerial_satellite")
FORMATS = frozenset({"jpeg", "png", "gif", "bmp", "tiff"})
_ACCEPTED = "JPG, PNG, GIF, BMP and TIFF are accepted"

# The lines of the form around the file.
_FORM_BYTES = 64 * 1024

router = APIRouter(tags=["clip-image-classifier"])


@router.head(HEALTH, include_in_schema=False)
@router.get(HEALTH, openapi_extra=schemas.CLASSIFIER_HEALTH)
async def health(request: Request) -> Response:
    """200 while pictures can be classified, perhaps after a model has been loaded or downloaded; else 503."""
    analyzer = analyzer_of(request)
    draining = state_of(request).draining
    halves, keeper = _needed(analyzer)
    states, within_reach = await state_of(request).lookout.look(
        _standing, analyzer.engine.residency, (*halves, keeper)
    )
    able = analyzer.engine.alive and not draining and within_reach
    body = {
        "status": "healthy" if able else "unhealthy",
        "model_loaded": all(states[name] is ModelState.READY for name in halves),
        "models": {name: state.value for name, state in states.items()},
        "timestamp": _now(),
    }
    return JSONResponse(body, 200 if able else 503)


def _needed(analyzer: Analyzer) -> tuple[list[str], str]:
    """Names of the two halves of CLIP, and of the model that keeps the label set."""
    space = analyzer.bind(TASK).params.model_dump()["model"]
    halves = (IMAGE_EMBEDDING, TEXT_EMBEDDING)
    return (
        [analyzer.engine.find(capability, space) for capability in halves],
        analyzer.engine.find(LABEL_SETS),
    )


def _standing(residency: Residency, names: Sequence[str]) -> tuple[dict[str, ModelState], bool]:
    """Where each of these models stands, and whether a request would get them all. Looks at the disk."""
    return {name: residency.state(name) for name in names}, all(map(residency.within_reach, names))


@router.post(ROUTE, openapi_extra=schemas.CLASSIFIER_CLASSIFY)
async def classify(request: Request) -> Response:
    """Which of maps, aerial_satellite and miscellaneous a picture is, and whether to download it."""
    analyzer = analyzer_of(request)
    name, data = await _read(request, analyzer.settings)
    return await while_connected(request, _answer(request, analyzer, name, data))


async def _read(request: Request, settings: Settings) -> tuple[str, bytes]:
    """Name and bytes of the file.

    Raises:
        InvalidRequest: no form, no file, or more than one.
        PayloadTooLarge: more bytes than the settings allow.
    """
    async with read_form(request, max_files=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidRequest(
                "send one image as the file 'file' of a multipart form; the request has none"
            )
        if (file.size or 0) > settings.classify_max_bytes:
            raise PayloadTooLarge(
                f"the image has {file.size} bytes; at most {settings.classify_max_bytes} are accepted here"
            )
        return file.filename or "", await file.read()


def _opened(analyzer: Analyzer, data: bytes) -> Picture:
    """The picture, its type judged by content. Runs on a worker thread.

    Raises:
        UnsupportedImage, ImageTooLarge, InvalidImage: see ``imaging.open_picture``.
    """
    try:
        picture = analyzer.open(data, max_bytes=analyzer.settings.classify_max_bytes)
    except UnknownFormat:  # it names the formats of other routes
        raise UnsupportedImage(f"This is not an image in an accepted format; {_ACCEPTED}.") from None
    if picture.facts.format not in FORMATS:
        raise UnsupportedImage(f"This is a {picture.facts.format.upper()} image; {_ACCEPTED}.")
    return picture


async def _answer(request: Request, analyzer: Analyzer, name: str, data: bytes) -> Response:
    picture: Picture = await analyzer.engine.work(_opened, analyzer, data)
    note_picture(request, picture)
    context = Context.lasting(analyzer.settings.request_timeout_s)
    outcomes = await analyzer.analyze(picture, [analyzer.bind(TASK)], context)
    note_outcomes(request, outcomes)
    (outcome,) = outcomes
    if outcome.error is not None:
        raise outcome.error
    body = {"filename": name, "file_size_bytes": len(data), **_written(outcome), "timestamp": _now()}
    return json_response(body, headers=warning_headers(outcomes))


def _written(outcome: Outcome) -> dict[str, Any]:
    assert outcome.answer is not None
    assert outcome.answer.data is not None
    found = outcome.answer.data.model_dump(mode="json")
    is_map_or_aerial = found["verdicts"][RULE]
    return {
        "is_map_or_aerial": is_map_or_aerial,
        # As that service: how sure it is of the kinds it downloads, also where neither won.
        "confidence": max(found["probabilities"][label] for label in WANTED),
        "classification": found["label"],
        "probabilities": found["probabilities"],
        # The service that the contract is of downloads what is a map or from above, and nothing else.
        "would_download": is_map_or_aerial,
    }


def _now() -> str:
    """ISO 8601 in UTC, such as 2026-05-01T12:00:00.123+00:00."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _max_body_bytes(settings: Settings) -> dict[str, int]:
    """Return the limit for one image and its form, whatever other routes take."""
    return {ROUTE: settings.classify_max_bytes + _FORM_BYTES}


CONTRACT = Contract(
    name="clip-image-classifier",
    routers=(router,),
    prefixes=(ROUTE,),
    probes=frozenset({HEALTH}),
    max_body_bytes=_max_body_bytes,
)
