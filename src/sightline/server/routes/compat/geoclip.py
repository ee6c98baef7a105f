"""The geoclip-service's routes: where a photo was taken, in that contract's words.

Differences from ``/v1``, all the contract's: a CSRF token besides the key, 5 MB, PNG, JPEG and WebP only, and
no statuses but 400, 401, 403, 413, 429 and 500. What limits and CORS do is in ``middleware``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, Response

from sightline.errors import (
    ImageError,
    ImageTooLarge,
    InvalidRequest,
    Overloaded,
    PayloadTooLarge,
    SightlineError,
    UnsupportedImage,
)
from sightline.imaging import Picture
from sightline.runtime.analyzer import Analyzer, Outcome, Task
from sightline.runtime.engine import Context
from sightline.server.answers import json_response
from sightline.server.bodies import decode_base64, media_type
from sightline.server.connections import while_connected
from sightline.server.contract import Contract, Origins, Rates
from sightline.server.forms import MAX_FORM_FIELDS, read_form
from sightline.server.middleware.api_key import given_key, key_name
from sightline.server.middleware.scopes import header_values
from sightline.server.problems import headers_of
from sightline.server.request_facts import note_outcomes, note_picture
from sightline.server.routes.compat import schemas
from sightline.server.routes.compat.warnings import warning_headers
from sightline.server.state import analyzer_of, state_of
from sightline.settings import Settings

PREFIX = "/api"
ROUTE = f"{PREFIX}/geolocate"
HEALTH = f"{PREFIX}/health"
TASK = Task("geolocate", "geolocate", {"top_k": 3})

MIB = 1024 * 1024
# The contract's "5 MB", read as its framework's users write it: 5 * 1024 * 1024.
MAX_IMAGE_BYTES = 5 * MIB
# Base64 makes 6.7 MiB of that, a form that is not multipart writes each + and / of it as three characters
# (6 % more), and the form's own lines come on top.
MAX_BODY_BYTES = 8 * MIB
# What an image may be, and the types that a data URI may declare it as.
TYPES_BY_FORMAT = {"jpeg": ("image/jpeg", "image/jpg"), "png": ("image/png",), "webp": ("image/webp",)}
_ACCEPTED = "PNG, JPEG and WebP are accepted"
_DATA_URI_HEAD = re.compile(r"data:([A-Za-z0-9.+/-]+)(?:;[A-Za-z0-9-]+=[^;,]*)*;base64", re.IGNORECASE)
# Longer than any head of a data URI that declares a type and a few parameters.
_MAX_HEAD_CHARS = 200

_log = logging.getLogger(__name__)
router = APIRouter(prefix=PREFIX, tags=["geoclip-service"])


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it came in: a file's bytes, or a data URI."""

    data: bytes | None = None
    uri: str | None = None


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> Response:
    """Open to everybody, counted against no limit."""
    return JSONResponse({"status": "healthy"})


@router.head("/get-csrf-token", include_in_schema=False)
@router.get("/get-csrf-token", openapi_extra=schemas.GEOCLIP_TOKEN)
async def get_csrf_token(request: Request) -> Response:
    """A token that ``/api/geolocate`` takes for 30 minutes from whoever has the same API key."""
    return JSONResponse({"csrf_token": state_of(request).csrf.issue(_key_of(request))})


@router.post("/geolocate", openapi_extra=schemas.GEOCLIP_GEOLOCATE)
async def geolocate(request: Request) -> Response:
    """The three places where a photo was most likely taken, the likeliest first."""
    if not _has_token(request):
        return _refusal(403, "the header X-CSRF-Token is missing, invalid or expired; get a token first")
    analyzer = analyzer_of(request)
    try:
        upload = await _read(request, analyzer)
        return await while_connected(request, _answer(request, analyzer, upload))
    except SightlineError as error:
        status = _status(error)
        if status == 500:
            _log.error("geolocate: %s", error)
        return _refusal(status, str(error), headers_of(error))


@router.options("/health", include_in_schema=False)
@router.options("/get-csrf-token", include_in_schema=False)
@router.options("/geolocate", include_in_schema=False)
async def options(request: Request) -> Response:
    """The methods of a route, as Flask answers by itself. Preflights are answered before."""
    methods = "OPTIONS, POST" if request.url.path.endswith("/geolocate") else "GET, HEAD, OPTIONS"
    return Response(headers={"Allow": methods})


# -- who asks ----------------------------------------------------------------------------------------------


def _key_of(request: Request) -> bytes:
    """The caller's API key, which the middleware has judged; one and the same where none is asked for."""
    return (given_key(request.scope) or b"") if key_name(request.scope) else b""


def _has_token(request: Request) -> bool:
    given = header_values(request.scope, b"x-csrf-token")
    return len(given) == 1 and state_of(request).csrf.accepts(given[0], _key_of(request))


# -- reading -----------------------------------------------------------------------------------------------


async def _read(request: Request, analyzer: Analyzer) -> Upload:
    """The one image of a form. Empty fields count as not sent: browsers send them for inputs left alone.

    Raises:
        InvalidRequest: no image, more than one, or no form at all.
    """
    if media_type(request) == "application/x-www-form-urlencoded":
        # A quarter of a second for the largest body: not on the event loop.
        uploads = await analyzer.engine.work(_in_query_form, await request.body())
    else:
        async with read_form(request, max_files=1, max_field_bytes=MAX_BODY_BYTES) as form:
            uploads = await _in_multipart_form(form)
    if len(uploads) != 1:
        count = "more than one" if uploads else "none"
        raise InvalidRequest(
            "send one image as a form's file 'image' or as a data URI in its field 'image_data'; "
            f"the request has {count}"
        )
    upload: Upload = uploads[0]
    return upload


def _in_query_form(body: bytes) -> list[Upload]:
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise InvalidRequest(f"the form has more than {MAX_FORM_FIELDS} fields") from None
    return [Upload(uri=value) for name, value in fields if name == "image_data"]


async def _in_multipart_form(form: FormData) -> list[Upload]:
    uploads = [
        Upload(data=await file.read())
        for file in form.getlist("image")
        if isinstance(file, UploadFile) and (file.filename or file.size)
    ]
    texts = [text for text in form.getlist("image_data") if isinstance(text, str) and text]
    return uploads + [Upload(uri=text) for text in texts]


def _opened(analyzer: Analyzer, upload: Upload) -> Picture:
    """The picture, its type judged by content. Runs on a worker thread.

    Raises:
        InvalidRequest: not a data URI of an image, broken base64, or a type that is not the content's.
        UnsupportedImage: neither PNG nor JPEG nor WebP.
        ImageTooLarge, InvalidImage: see ``imaging.open_picture``.
    """
    max_bytes = min(MAX_IMAGE_BYTES, analyzer.limits.max_bytes)
    declared = None
    data = upload.data
    if data is None:
        assert upload.uri is not None
        declared = _declared_type(upload.uri)
        data = decode_base64(upload.uri, max_bytes)
    try:
        picture = analyzer.open(data, max_bytes=max_bytes)
    except UnsupportedImage:  # it names the formats of other routes
        raise UnsupportedImage(f"This is not an image in an accepted format; {_ACCEPTED}.") from None
    image_format = picture.facts.format
    if image_format not in TYPES_BY_FORMAT:
        raise UnsupportedImage(f"This is a {image_format.upper()} image; {_ACCEPTED}.")
    if declared is not None and declared not in TYPES_BY_FORMAT[image_format]:
        raise InvalidRequest(f"the data URI says {declared} and holds {TYPES_BY_FORMAT[image_format][0]}")
    return picture


def _declared_type(uri: str) -> str:
    head = uri[: _MAX_HEAD_CHARS + 1].partition(",")
    found = _DATA_URI_HEAD.fullmatch(head[0]) if head[1] else None
    if found is None:
        raise InvalidRequest("'image_data' must be a data URI: data:image/jpeg;base64,…")
    declared = found[1].lower()
    if not any(declared in types for types in TYPES_BY_FORMAT.values()):
        raise InvalidRequest("the data URI must be of type image/png, image/jpeg or image/webp")
    return declared


# -- answering ---------------------------------------------------------------------------------------------


async def _answer(request: Request, analyzer: Analyzer, upload: Upload) -> Response:
    picture: Picture = await analyzer.engine.work(_opened, analyzer, upload)
    note_picture(request, picture)
    task = analyzer.bind(TASK)
    context = Context.lasting(analyzer.settings.request_timeout_s)
    outcomes = await analyzer.analyze(picture, [task], context)
    note_outcomes(request, outcomes)
    (outcome,) = outcomes
    if outcome.error is not None:
        raise outcome.error
    return json_response(_written(outcome), headers=warning_headers(outcomes))


def _written(outcome: Outcome) -> dict[str, Any]:
    assert outcome.answer is not None
    assert outcome.answer.data is not None
    candidates = outcome.answer.data.model_dump(mode="json")["candidates"]
    return {
        "predictions": [
            {"location": _location(candidate), "confidence": candidate["probability"]}
            for candidate in candidates
        ],
        "coordinates": [{"lat": candidate["lat"], "lon": candidate["lon"]} for candidate in candidates],
    }


def _location(candidate: dict[str, Any]) -> str:
    """The place's name; where none is known (the open sea), the coordinates, so that it is never empty."""
    name = candidate.get("place")
    return str(name) if name else f"{candidate['lat']:.4f}, {candidate['lon']:.4f}"


def _status(error: SightlineError) -> int:
    """The contract's status for an error. Missing weights or a time-out are its 500: it knows no 503, 504."""
    if isinstance(error, ImageTooLarge | PayloadTooLarge):
        return 413
    if isinstance(error, ImageError | InvalidRequest):
        return 400
    return 429 if isinstance(error, Overloaded) else 500


def _refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


# -- contract ----------------------------------------------------------------------------------------------


def _max_body_bytes(settings: Settings) -> dict[str, int]:
    return {ROUTE: min(settings.request_max_bytes, MAX_BODY_BYTES)}


def _rates(settings: Settings) -> Rates:
    return {PREFIX: settings.api_limits, ROUTE: settings.geolocate_limits}


def _origins(settings: Settings) -> Origins:
    return Origins(settings.cors_origins, "SIGHTLINE_CORS_ORIGINS (NEXTJS_DOMAIN)")


CONTRACT = Contract(
    name="geoclip-service",
    routers=(router,),
    prefixes=(PREFIX,),
    probes=frozenset({HEALTH}),
    max_body_bytes=_max_body_bytes,
    rates=_rates,
    origins=_origins,
)
