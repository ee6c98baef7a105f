"""The atlas-backend's routes: which animal a photo shows, and questions to a vision-language model.

Differences from ``/v1``, all the contract's: one image of 5 MB per ``file``, refusals as ``detail``, names of
animals as ``genus_species``, and answers about several images grouped by what the model calls them. Its
``GET /`` is the server's own. What limits, CORS, host names and HTTPS do is in ``middleware``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, Response

from sightline.capabilities.question import ANSWER
from sightline.errors import (
    ImageTooLarge,
    InvalidImage,
    InvalidParameters,
    InvalidRequest,
    UnsupportedContent,
    UnsupportedImage,
)
from sightline.imaging import Picture
from sightline.runtime.analyzer import Analyzer, Outcome, Task
from sightline.runtime.engine import Engine
from sightline.runtime.resident import ModelState
from sightline.server.answers import json_response
from sightline.server.bodies import read_truncated
from sightline.server.connections import while_connected
from sightline.server.contract import Contract, Origins, Rates
from sightline.server.exposure import only_loopback_protects
from sightline.server.forms import read_form
from sightline.server.request_facts import note_outcomes, note_picture
from sightline.server.routes.compat import atlas_schemas
from sightline.server.routes.compat.atlas_questions import answer_questions
from sightline.server.routes.compat.warnings import warning_headers
from sightline.server.state import analyzer_of, state_of
from sightline.server.temp_folder import temp_folder_state
from sightline.settings import AUTO, Settings
from sightline.taxa import Taxon

HEALTH = "/healthz"
PREFIXES = ("/uploadfile", "/analyze", "/gemini")

MIB = 1024 * 1024
# The contract's "5 MB", read as its framework's users write it: 5 * 1024 * 1024.
MAX_IMAGE_BYTES = 5 * MIB
# A prompt, a file name and the form's own lines come on top.
MAX_BODY_BYTES_BY_PREFIX: Mapping[str, int] = {"/uploadfile": 6 * MIB, "/analyze": 6 * MIB}
router = APIRouter(tags=["atlas-backend"])


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form as it came."""

    filename: str
    content_type: str
    data: bytes


@router.head(HEALTH, include_in_schema=False)
@router.get(HEALTH, openapi_extra=atlas_schemas.HEALTH)
async def healthz(request: Request) -> Response:
    """``{"status": "ok"}`` when uploads can be buffered and a vision-language model is configured.

    Otherwise what is missing, also with 200, as the replaced service: a container's probe would else end a
    server of which only one route cannot be used. ``/readyz`` is for balancers.
    """
    analyzer = analyzer_of(request)
    checks = {
        "temp_directory": await state_of(request).lookout.look(temp_folder_state),
        "vision_language_model": await state_of(request).lookout.look(_answering_state, analyzer.engine),
    }
    if all(found == "ok" for found in checks.values()):
        return JSONResponse({"status": "ok"})
    return JSONResponse(
        {
            "status": "degraded",
            "temp_dir_ready": checks["temp_directory"] == "ok",
            "gemini_api_configured": checks["vision_language_model"] == "ok",
            "checks": checks,
        }
    )


def _answering_state(engine: Engine) -> str:
    """Return "ok", or what has to be set or downloaded before a question is answered. Looks at the disk."""
    if lacking := engine.directory.lacking(ANSWER):
        return lacking
    name = engine.directory.find(ANSWER)
    if engine.residency.state(name) is ModelState.MISSING:
        return f"{name} is not installed; the first question downloads it. Run: sightline models pull {name}"
    return "ok"


@router.post("/uploadfile/", openapi_extra=atlas_schemas.UPLOAD)
async def uploadfile(request: Request) -> Response:
    """Which animal a photo shows, by SpeciesNet."""
    async with read_form(request, max_files=1) as form:
        upload = await _file(form, "file")
    return await while_connected(request, _answer(request, upload))


@router.post("/analyze/", openapi_extra=atlas_schemas.ANALYZE)
async def analyze(request: Request) -> Response:
    """The same, with the caller's prompt beside it. The prompt is not judged: nobody here reads it."""
    async with read_form(request, max_files=1) as form:
        prompt = _text(form, "prompt")
        upload = await _file(form, "file")
    return await while_connected(request, _answer(request, upload, prompt=prompt))


@router.post("/gemini/analyze/", openapi_extra=atlas_schemas.QUESTIONS)
async def gemini_analyze(request: Request) -> Response:
    """A question about one or many images, to the configured vision-language model, in groups.

    The name is the contract's: any model with the capability answers.
    """
    analyzer = analyzer_of(request)
    async with read_form(request, max_files=analyzer.settings.request_max_images) as form:
        prompt = _text(form, "prompt")
        schema_json = _schema_json(form)
        uploads = [await _upload(file) for file in _files(form, "files")]
    if not uploads:
        raise _missing("files", "one or more images")

    fill_truncated = read_truncated(request)

    async def opened(index: int) -> Picture:
        picture = await _opened(analyzer, uploads[index], fill_truncated=fill_truncated)
        note_picture(request, picture)
        return picture

    files = [(upload.filename, len(upload.data)) for upload in uploads]
    body, outcomes = await while_connected(
        request, answer_questions(analyzer, prompt, schema_json, files, opened)
    )
    note_outcomes(request, outcomes)
    return json_response(body, headers=warning_headers(outcomes))


# -- reading -----------------------------------------------------------------------------------------------


def _files(form: FormData, field: str) -> list[UploadFile]:
    """Empty ones count as not sent: browsers send them for inputs left alone."""
    files = [file for file in form.getlist(field) if isinstance(file, UploadFile)]
    return [file for file in files if file.filename or file.size]


async def _file(form: FormData, field: str) -> Upload:
    files = _files(form, field)
    if not files:
        raise _missing(field, "an image")
    return await _upload(files[0])


async def _upload(file: UploadFile) -> Upload:
    return Upload(file.filename or "unnamed", file.content_type or "", await file.read())


def _text(form: FormData, field: str) -> str:
    value = form.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _missing(field, "text")
    return value


def _schema_json(form: FormData) -> str | None:
    value = form.get("schema_json")
    if isinstance(value, UploadFile):  # passing over it would answer in another shape than was asked for
        raise InvalidParameters("schema_json is text, not a file; with curl: -F 'schema_json=<FILE'")
    return value if value and value.strip() else None


def _missing(field: str, kind: str) -> InvalidParameters:
    return InvalidParameters(f"the form needs {kind} in the field {field!r}")


async def _opened(analyzer: Analyzer, upload: Upload, *, fill_truncated: bool = False) -> Picture:
    """The picture of a file that says it is an image, is one, and is no larger than the contract allows.

    Raises:
        UnsupportedContent: its media type is not an image's.
        ImageTooLarge: more than 5 MB, or a limit of ``imaging``.
        InvalidRequest: what is in it is not what the type promises.
    """
    kind = upload.content_type.partition(";")[0].strip().lower()
    if kind and not kind.startswith("image/"):
        raise UnsupportedContent(
            f"{kind[:100]!r} is not an image's media type; send image/jpeg, image/png, …"
        )
    if len(upload.data) > MAX_IMAGE_BYTES:
        raise ImageTooLarge(
            f"the image has {len(upload.data)} bytes; at most {MAX_IMAGE_BYTES} (5 MB) are taken"
        )
    try:
        opened = partial(analyzer.open, fill_truncated=fill_truncated)
        picture: Picture = await analyzer.engine.work(opened, upload.data)
    except (UnsupportedImage, InvalidImage) as error:
        raise InvalidRequest(str(error)) from None
    return picture


# -- answering ---------------------------------------------------------------------------------------------


async def _answer(request: Request, upload: Upload, **beside: str) -> Response:
    analyzer = analyzer_of(request)
    picture = await _opened(analyzer, upload, fill_truncated=read_truncated(request))
    note_picture(request, picture)
    outcomes = await analyzer.analyze(picture, [analyzer.bind(_task(analyzer.settings))])
    note_outcomes(request, outcomes)
    (outcome,) = outcomes
    if isinstance(outcome.error, InvalidImage):  # damaged past its header
        raise InvalidRequest(str(outcome.error))
    if outcome.error is not None:
        raise outcome.error
    body = {
        **beside,
        "filename": upload.filename,
        "content_size": len(upload.data),
        "speciesnet": _written(outcome),
    }
    return json_response(body, headers=warning_headers(outcomes))


def _task(settings: Settings) -> Task:
    """The contract's ``speciesnet`` is what that package gave up to 5.0.5: one prediction per photo."""
    params = {"format": "speciesnet-4"}
    if settings.speciesnet_version:
        params["version"] = settings.speciesnet_version
    return Task("speciesnet", "identify_species", params)


def _written(outcome: Outcome) -> dict[str, Any]:
    assert outcome.answer is not None
    assert outcome.answer.data is not None
    found = outcome.answer.data.model_dump(mode="json")
    name = display_name(found["prediction"])
    return {
        "prediction": name,
        "prediction_display_name": name,
        "prediction_score": found["prediction_score"],
        "top_classes": _top_classes(found["classifications"]),
        "detections": [
            {key: each[key] for key in ("label", "conf", "bbox", "category")} for each in found["detections"]
        ],
        "prediction_source": found["prediction_source"],
        "model_version": found["model_version"],
    }


def _top_classes(classifications: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    classes = []
    for label, score in zip(classifications["classes"], classifications["scores"], strict=True):
        name = display_name(label)
        classes.append({"label_raw": name, "display_name": name, "score": score})
    return classes


def display_name(label: str) -> str:
    """A release's label as the contract writes it: "odocoileus_virginianus", "cervidae", "blank"."""
    taxon = Taxon.parse(label)
    if taxon.scientific_name is None:
        return taxon.common_name.replace(" ", "_")
    return taxon.scientific_name.lower().replace(" ", "_")


def _max_body_bytes(settings: Settings) -> dict[str, int]:
    return {
        prefix: min(settings.request_max_bytes, max_bytes)
        for prefix, max_bytes in MAX_BODY_BYTES_BY_PREFIX.items()
    }


def _rates(settings: Settings) -> Rates:
    """Return the rate of one client on these routes together."""
    if settings.rate_limit_requests == 0:
        return {}
    return {PREFIXES: (f"{settings.rate_limit_requests}/{settings.rate_limit_window_s} seconds",)}


def _origins(settings: Settings) -> Origins:
    origins = settings.allowed_origins
    if origins == AUTO:
        origins = () if only_loopback_protects(settings) else ("*",)
    return Origins(origins, "SIGHTLINE_ALLOWED_ORIGINS (ALLOWED_ORIGINS)", may_be_any=True)


CONTRACT = Contract(
    name="atlas-backend",
    routers=(router,),
    prefixes=PREFIXES,
    pages_paths=("/", HEALTH),
    probes=frozenset({HEALTH}),
    max_body_bytes=_max_body_bytes,
    rates=_rates,
    origins=_origins,
)
