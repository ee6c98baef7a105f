"""For whoever watches: liveness, readiness, metrics, and a page that says what this is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from sightline import __version__
from sightline.runtime.engine import Engine
from sightline.server.contract import Contract
from sightline.server.keys import KeyScope
from sightline.server.middleware.api_key import ScopeRule
from sightline.server.state import analyzer_of, state_of
from sightline.server.temp_folder import OK, temp_folder_state

router = APIRouter(tags=["health"])

_STATUS_BODY = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
# A refusal before the route, such as that of too many connections, has a ``detail`` instead.
_UNABLE = {
    "anyOf": [
        _STATUS_BODY,
        {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}},
    ]
}
_STATUS: dict[int | str, dict[str, Any]] = {
    200: {"description": "It is.", "content": {"application/json": {"schema": _STATUS_BODY}}},
    503: {"description": "It is not.", "content": {"application/json": {"schema": _UNABLE}}},
}
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All metrics.",
        "content": {
            media_type: {"schema": {"type": "string"}}
            for media_type in ("text/plain", "application/openmetrics-text")
        },
    }
}


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Is the process alive", responses=_STATUS)
async def livez(request: Request) -> Response:
    """200 while the event loop and the compute slots run; 503 asks for a restart."""
    alive = analyzer_of(request).engine.alive
    return JSONResponse({"status": "ok" if alive else "dead"}, 200 if alive else 503)


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Should it get traffic", responses=_STATUS)
async def readyz(request: Request) -> Response:
    """200 when work can be computed and every preloaded model is ready; 503 while starting or draining.

    It is also 503 while the temporary folder has no room for the largest request body, as uploads are stored
    there, and while the processes that decode images do not start. ``models`` has every model's state:
    missing, available, loading, ready or failed.
    """
    analyzer = analyzer_of(request)
    engine = analyzer.engine
    draining = state_of(request).draining
    able, states = await state_of(request).lookout.look(_standing, engine)
    temp_folder = await state_of(request).lookout.look(temp_folder_state, analyzer.settings.request_max_bytes)
    decoders = OK if analyzer.can_decode else "they do not start"
    ready = able and not draining and temp_folder == decoders == OK
    body = {
        "status": "ready" if ready else "draining" if draining else "not ready",
        "preload": list(engine.preload),
        "temp_directory": temp_folder,
        "decoders": decoders,
        "models": states,
    }
    return JSONResponse(body, 200 if ready else 503)


def _standing(engine: Engine) -> tuple[bool, dict[str, str]]:
    """Whether it is ready, and how every model stands. Looks at the disk."""
    return engine.ready, {name: engine.residency.state(name).value for name in engine.lanes}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=_METRICS)
async def metrics(request: Request) -> Response:
    """Text format, or OpenMetrics when asked for by ``Accept``."""
    body, content_type = state_of(request).metrics.render(request.headers.get("accept"))
    return Response(body, media_type=content_type)


@router.get("/", include_in_schema=False)
async def about(request: Request) -> Response:
    """Where to go from here. Clients of replaced services look whether this answers."""
    docs = analyzer_of(request).settings.enable_docs
    return JSONResponse(
        {
            "service": "sightline",
            "version": __version__,
            "status": "ok",
            "docs": "/docs" if docs else None,
            "analyze": "POST /v1/analyze",
            "operations": "/v1/operations",
            "models": "/v1/models",
        }
    )


CONTRACT = Contract(
    name="health",
    routers=(router,),
    probes=frozenset({"/livez", "/readyz"}),
    scope_rules=(ScopeRule("/metrics", KeyScope.METRICS),),
)
