"""The image-embed service's routes: a thin view of the operations in that contract's words.

Differences from ``/v1``, all the contract's: refusals are 400 with ``detail``, ids may repeat (the last one
wins), unknown operations and targets are skipped tasks, parameters an operation does not know are ignored,
and a crop always comes with the answer that was made from it, save for ``classify``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from sightline.errors import (
    ImageError,
    InputError,
    InvalidParameters,
    InvalidRequest,
    ModelUnavailable,
    SightlineError,
    TargetNotFound,
    UnknownCollection,
    UnknownOperation,
)
from sightline.imaging import Picture
from sightline.runtime.analyzer import Analyzer, BoundTask, Outcome, Status, Task
from sightline.server.answers import json_response, raise_shared_failure
from sightline.server.bodies import is_data_uri
from sightline.server.connections import while_connected
from sightline.server.contract import Contract
from sightline.server.forms import read_form
from sightline.server.json_bodies import parse_json, read_json
from sightline.server.request_facts import note_outcomes, note_picture
from sightline.server.routes.compat import schemas
from sightline.server.routes.compat.known_boxes import KnownBoxes
from sightline.server.routes.compat.warnings import warning_headers
from sightline.server.state import analyzer_of
from sightline.settings import ImageEmbedModels

router = APIRouter(tags=["image-embed"])

# What that service ran where we run something smaller by default. Their vectors cannot be compared.
MODELS: Mapping[str, Mapping[str, Any]] = {
    "embed_dino_v2": {"size": 518},
    "describe_image": {"model": "blip-large"},
}
# Answers without a crop, and with the box of any person or face that is known by then.
CLASSIFY = "classify"


class BadRequest(SightlineError):
    """A refusal in this contract's words; always a 400."""


@router.post("/analyze_image/", openapi_extra=schemas.IMAGE_EMBED_URL)
async def analyze_image(request: Request) -> Response:
    """Tasks on the image at a URL."""
    analyzer = analyzer_of(request)
    try:
        url, tasks = await read_json(request, lambda body: _read_url_request(body, analyzer))
    except InputError as error:
        return _refusal(str(error))
    return await while_connected(request, _answer(request, tasks, url, url=url))


@router.post("/analyze_image_upload/", openapi_extra=schemas.IMAGE_EMBED_UPLOAD)
async def analyze_image_upload(request: Request) -> Response:
    """Tasks on an uploaded image."""
    analyzer = analyzer_of(request)
    try:
        async with read_form(request, max_files=1) as form:
            file, tasks_json = form.get("image_file"), form.get("tasks_json")
            if not isinstance(file, UploadFile) or not isinstance(tasks_json, str):
                raise InvalidRequest("the form needs a file 'image_file' and a text field 'tasks_json'")
            label, data = f"uploaded:{file.filename or 'unnamed'}", await file.read()
    except InputError as error:
        return _refusal(str(error))
    try:
        tasks = _read_tasks(parse_json(tasks_json), analyzer)
    except InputError as error:
        return _refusal(f"Invalid tasks JSON format or structure: {error}")
    return await while_connected(request, _answer(request, tasks, label, data=data))


@router.get("/available_operations/")
async def available_operations(request: Request) -> Response:
    """Every operation that works on a part of a picture, with its targets."""
    operations = {
        operation.name: {
            "description": operation.description,
            "allowed_targets": [target.value for target in operation.targets],
            "default_target": operation.default_target.value if operation.default_target else None,
        }
        for operation in analyzer_of(request).operations.values()
        if operation.targets
    }
    return JSONResponse({"operations": operations})


# -- reading -----------------------------------------------------------------------------------------------


def _read_url_request(body: Any, analyzer: Analyzer) -> tuple[str, list[Task]]:
    if not isinstance(body, dict) or not isinstance(body.get("image_url"), str):
        raise InvalidRequest("the body must be an object with 'image_url', a string, and 'tasks', a list")
    return body["image_url"], _read_tasks(body.get("tasks"), analyzer)


def _read_tasks(value: Any, analyzer: Analyzer) -> list[Task]:
    if not isinstance(value, list):
        raise InvalidRequest("'tasks' must be a list of objects {operation_id, type, params}")
    limit = analyzer.settings.request_max_tasks
    if len(value) > limit:
        raise InvalidRequest(f"{len(value)} tasks; one request takes {limit}")
    tasks: dict[str, Task] = {}
    for number, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise InvalidRequest(f"tasks[{number}] must be an object")
        identity, kind, params = entry.get("operation_id"), entry.get("type"), entry.get("params") or {}
        if not isinstance(identity, str) or not isinstance(kind, str) or not isinstance(params, dict):
            raise InvalidRequest(
                f"tasks[{number}] needs 'operation_id' and 'type', strings, and 'params', an object"
            )
        tasks[identity] = Task(identity, kind, params)
    return list(tasks.values())


# -- answering ---------------------------------------------------------------------------------------------


async def _answer(
    request: Request, tasks: list[Task], label: str, *, data: bytes | None = None, url: str | None = None
) -> Response:
    analyzer = analyzer_of(request)
    try:
        picture = await _picture(analyzer, data, url)
    except BadRequest as error:
        return _refusal(str(error))
    note_picture(request, picture)
    results: dict[str, dict[str, Any]] = {}
    bound: list[BoundTask] = []
    for task in tasks:
        results[task.id] = {}  # keeps the request's order
        try:
            bound.append(_bind(analyzer, task))
        except (UnknownOperation, InvalidParameters) as error:
            results[task.id] = _result("skipped", error_message=str(error))
    context = analyzer.context(bound)
    with_crop = {task.id for task in bound if task.operation.name != CLASSIFY}
    outcomes = await analyzer.analyze(picture, bound, context, crops=with_crop)
    note_outcomes(request, outcomes)
    try:
        raise_shared_failure(outcomes)
    except ImageError as error:
        return _refusal(f"Could not process image: {error}")
    except ModelUnavailable:
        pass  # the contract has a place for it: each task's own error
    known = KnownBoxes()
    for question, outcome in zip(bound, outcomes, strict=True):
        known.note(question, outcome)
        results[outcome.id] = _written(outcome, known)
    return json_response({"image_url": label, "results": results}, headers=warning_headers(outcomes))


async def _picture(analyzer: Analyzer, data: bytes | None, url: str | None) -> Picture:
    try:
        if url is not None and is_data_uri(url):
            raise InvalidRequest("a data URI is not fetched; send the image to /analyze_image_upload/")
        if url is not None:
            return await analyzer.fetch(url)
        picture: Picture = await analyzer.engine.work(analyzer.open, data)
        return picture
    except ImageError as error:
        raise BadRequest(f"Could not process image: {error}") from error
    except InputError as error:
        raise BadRequest(f"Could not download image from URL: {error}") from error


def _bind(analyzer: Analyzer, task: Task) -> BoundTask:
    operation = analyzer.operations.get(task.operation)
    if operation is None:
        raise UnknownOperation(f"Unsupported operation type: {task.operation[:100]!r}")
    fields = operation.Params.model_fields
    known = {name: value for name, value in task.params.items() if name in fields and value is not None}
    if analyzer.settings.image_embed_models is ImageEmbedModels.CONTRACT:
        known = {**MODELS.get(task.operation, {}), **known}
    for name, field in fields.items():
        if field.is_required() and name not in known:
            raise InvalidParameters(f"'{name}' param is required for '{task.operation}' operation.")
    return analyzer.bind(Task(task.id, task.operation, known))


def _written(outcome: Outcome, known: KnownBoxes) -> dict[str, Any]:
    if outcome.status is Status.SKIPPED:
        return _result("skipped", error_message=_skip_message(outcome))
    if outcome.status is Status.ERROR:
        return _result("error", error_message=f"Internal error processing task: {outcome.error}")
    answer = outcome.answer
    assert answer is not None
    box = answer.region.box if answer.region else None
    if outcome.operation.name == CLASSIFY:
        return _result(
            "success",
            data=outcome.operation.plain(answer.data),
            cropped_image_bbox=known.face or known.person,
        )
    return _result(
        "success",
        data=outcome.operation.plain(answer.data) if answer.data is not None else None,
        cropped_image_bbox=box.as_list() if box else None,
        cropped_image_base64=base64.b64encode(outcome.crop_png).decode("ascii") if outcome.crop_png else None,
    )


def _skip_message(outcome: Outcome) -> str:
    if isinstance(outcome.error, UnknownCollection):
        return f"Classifier not found for collection_id {outcome.error.collection}."
    if isinstance(outcome.error, TargetNotFound):
        return f"No prominent face found for operation '{outcome.id}'."
    return str(outcome.error)


def _result(status: str, **fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("data", "cropped_image_bbox", "cropped_image_base64", "error_message"))
    return {"status": status, **empty, **fields}


def _refusal(detail: str) -> Response:
    return JSONResponse({"detail": detail}, 400)


CONTRACT = Contract(
    name="image-embed",
    routers=(router,),
    prefixes=("/analyze_image", "/analyze_image_upload", "/available_operations"),
)
