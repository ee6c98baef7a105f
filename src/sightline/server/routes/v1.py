"""The native API: ``/v1``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sightline.errors import InvalidRequest, SightlineError, UnknownModel
from sightline.operations import Operation
from sightline.runtime.analyzer import Analyzer, BoundTask, takes_together
from sightline.runtime.readiness import download_bytes, readiness_of
from sightline.runtime.report import error_report, operation_report, picture_report
from sightline.runtime.residency import wanted
from sightline.server import problems, schemas
from sightline.server.answers import json_response, open_source, raise_shared_failure
from sightline.server.bodies import AnalyzeBody, ImageSource, read_analyze
from sightline.server.connections import while_connected
from sightline.server.contract import Contract, Operations, Origins
from sightline.server.keys import KeyScope
from sightline.server.middleware.api_key import ScopeRule
from sightline.server.request_facts import note_outcomes, note_picture
from sightline.server.routes import collections, info, libraries, places, previews
from sightline.server.state import analyzer_of
from sightline.server.streaming import event_response, wants_events
from sightline.settings import Settings

PREFIX = "/v1"
router = APIRouter(prefix=PREFIX, tags=["v1"])


@router.post("/analyze", summary="Ask questions about images", openapi_extra=schemas.ANALYZE)
async def analyze(request: Request) -> Response:
    """Runs tasks on one or many images. See the request body's forms; without tasks a default set runs.

    An image that fails and a task that fails are entries of the answer; they disturb nothing else. A request
    with a single image that cannot be read is refused as a whole, as is one whose tasks do not exist.
    """
    return await _analyze(request)


def operation_router(operations: Mapping[str, Operation[Any, Any]]) -> APIRouter:
    """``POST /v1/operations/<name>`` for each operation: ``/v1/analyze`` with that one task."""
    router = APIRouter(prefix="/v1/operations", tags=["operations"])
    for operation in operations.values():
        router.add_api_route(
            f"/{operation.name}",
            _answering(operation.name),
            methods=["POST"],
            name=operation.name,
            summary=operation.description,
            openapi_extra=schemas.operation_route(operation),
        )
    return router


def _answering(operation: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await _analyze(request, operation)

    return answer


async def _analyze(request: Request, operation: str | None = None) -> Response:
    analyzer = analyzer_of(request)
    body = await read_analyze(request, analyzer.settings, operation)
    tasks = [analyzer.bind(task) for task in (body.tasks or analyzer.default_tasks())]
    if not body.images and any(task.operation.needs_picture for task in tasks):
        raise InvalidRequest("the request has no image; send one as a file 'image', a 'url', or 'base64'")
    together = takes_together(tasks, len(body.images))
    if wants_events(request):
        if len(body.images) > 1 and not together:
            raise InvalidRequest("too many images for an event stream; expected one, or 'together': true")
        return event_response(request, _body(analyzer, request, body, tasks, together))
    return json_response(await while_connected(request, _body(analyzer, request, body, tasks, together)))


async def _body(
    analyzer: Analyzer, request: Request, body: AnalyzeBody, tasks: Sequence[BoundTask], together: bool
) -> dict[str, Any]:
    answer = _analyze_together if together else _analyze_all
    entries = await answer(analyzer, request, body, tasks)
    return {"request_id": problems.request_id_of(request), "images": entries}


async def _analyze_together(
    analyzer: Analyzer, request: Request, body: AnalyzeBody, tasks: Sequence[BoundTask]
) -> list[dict[str, Any]]:
    """One entry, about all images. An image that cannot be read fails the request."""
    opened = (open_source(analyzer, each, fill_truncated=body.fill_truncated) for each in body.images)
    pictures = await asyncio.gather(*opened)
    for picture in pictures:
        note_picture(request, picture)
    outcomes = await analyzer.analyze(pictures[0], tasks, crops=body.crops, others=pictures[1:])
    note_outcomes(request, outcomes)
    raise_shared_failure(outcomes)
    sources = [source.label for source in body.images]
    return [{"index": 0, "source": sources[0], "sources": sources, **picture_report(pictures[0], outcomes)}]


async def _analyze_all(
    analyzer: Analyzer, request: Request, body: AnalyzeBody, tasks: Sequence[BoundTask]
) -> list[dict[str, Any]]:
    context = analyzer.context(tasks)
    if not body.images:
        outcomes = await analyzer.analyze(None, tasks, context)
        note_outcomes(request, outcomes)
        raise_shared_failure(outcomes)
        return [{"index": 0, "source": None, **picture_report(None, outcomes)}]
    alone = len(body.images) == 1

    async def entry(index: int, source: ImageSource) -> dict[str, Any]:
        about = {"index": index, "source": source.label}
        try:
            picture = await open_source(analyzer, source, fill_truncated=body.fill_truncated)
            note_picture(request, picture)
            outcomes = await analyzer.analyze(picture, tasks, context, crops=body.crops)
            note_outcomes(request, outcomes)
            raise_shared_failure(outcomes)
        except SightlineError as error:
            if alone:
                raise
            return {**about, "image": None, "results": {}, "error": error_report(error)}
        return {**about, **picture_report(picture, outcomes)}

    return await asyncio.gather(*(entry(index, source) for index, source in enumerate(body.images)))


@router.get("/operations", summary="What can be asked")
async def operations(request: Request) -> Response:
    """Every operation with its parameters, targets and an example, and what it needs before it can answer."""
    analyzer = analyzer_of(request)
    entries = await analyzer.engine.work(_readiness, analyzer)
    return json_response(
        {"operations": [operation_report(each) | entries[each.name] for each in analyzer.operations.values()]}
    )


def _readiness(analyzer: Analyzer) -> dict[str, dict[str, Any]]:
    """What each operation needs before it answers. Looks at the disk."""
    found = readiness_of(analyzer)
    made_up = analyzer.settings.rehearse  # a rehearsal makes what is missing, without a download
    entries = {}
    for each in found:
        missing = () if made_up else each.missing
        entries[each.operation] = {
            "needs_params": analyzer.needs_params(each.operation),
            "ready": each.ready or made_up,
            "models": each.models,
            "missing": missing,
            "download": each.download if missing else None,
            "download_bytes": each.download_bytes if missing else None,
            "lacking": each.lacking,
        }
    return entries


@router.get("/models", summary="What answers, and how it stands")
async def models(request: Request) -> Response:
    """Every model: its card, state, size, provenance, fingerprint, and why its last load failed, if so."""
    analyzer = analyzer_of(request)
    return json_response({"models": await analyzer.engine.work(_models, analyzer)})


def _models(analyzer: Analyzer) -> list[dict[str, Any]]:
    return [_model(analyzer, name) for name in analyzer.models]


def _model(analyzer: Analyzer, name: str) -> dict[str, Any]:
    card = analyzer.models[name].card
    residency = analyzer.engine.residency
    installed = analyzer.store.installed(wanted(analyzer.models[name])) if card.artifacts else None
    ref = analyzer.engine.ref(name)
    return {
        "name": name,
        "description": card.description,
        "capabilities": sorted(capability.name for capability in card.capabilities),
        "space": card.space,
        "state": residency.state(name).value,
        "problem": residency.failure(name),
        "download": asdict(progress) if (progress := residency.progress(name)) else None,
        "licence": card.licence,
        "homepage": card.homepage,
        "parameters": card.parameters,
        "multiply_adds": card.multiply_adds,
        "disk_bytes": analyzer.store.disk_bytes(name),
        "download_bytes": None
        if installed or not card.artifacts
        else download_bytes(analyzer.models, [name]),
        "memory_bytes": resident.num_bytes if (resident := residency.residents.get(name)) else 0,
        "provenance": (ref.provenance.value if ref else installed.provenance.value if installed else None),
        "fingerprint": (ref.fingerprint if ref else installed.fingerprint if installed else None),
    }


@router.post(
    "/models/{name}/load", summary="Download a model and load it", status_code=202, responses=schemas.MODEL
)
async def load_model(request: Request, name: str) -> Response:
    """Starts in the background, if it has not started. ``GET /v1/models`` shows how far it is."""
    analyzer = analyzer_of(request)
    if name not in analyzer.models:
        raise UnknownModel(f"unknown model: {name[:100]!r}; expected one of GET /v1/models")
    analyzer.engine.residency.begin(name)
    return json_response({"model": await analyzer.engine.work(_model, analyzer, name)}, 202)


@router.get("/problems/{code}", summary="What an error code means", responses=schemas.PROBLEM_PAGE)
async def problem(code: str) -> Response:
    """The page a problem's ``type`` points to."""
    described = problems.described_codes().get(code)
    if described is None:
        raise HTTPException(404, "there is no such error code")
    return json_response(described)


def _operation_routers(operations: Operations) -> tuple[APIRouter, ...]:
    return (operation_router(operations),)


def _origins(settings: Settings) -> Origins:
    return Origins(settings.v1_origins, "SIGHTLINE_V1_ORIGINS", may_be_any=True)


CONTRACT = Contract(
    name="v1",
    routers=(router, places.router, info.router, previews.router, collections.router, libraries.router),
    operation_routers=_operation_routers,
    prefixes=(PREFIX,),
    scope_rules=(
        ScopeRule("/v1/collections", KeyScope.COLLECTIONS),
        ScopeRule("/v1/libraries", KeyScope.LIBRARIES),
        ScopeRule("/v1/info", KeyScope.ADMIN),
        ScopeRule("/v1/models", KeyScope.ADMIN, frozenset({"POST"})),
    ),
    origins=_origins,
    write_error=problems.write_problem,
)
