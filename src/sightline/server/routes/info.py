"""What runs here: ``GET /v1/info``."""

from __future__ import annotations

import platform
import sys
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from sightline import __version__
from sightline.imaging.isolation import is_supported
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.graphs import Graphs
from sightline.server.answers import json_response
from sightline.server.state import analyzer_of
from sightline.settings import described

router = APIRouter(prefix="/v1", tags=["v1"])


@router.get("/info", summary="Versions, device, limits and settings in force")
async def info(request: Request) -> Response:
    """For support and monitoring. Secrets are only said to be set."""
    analyzer = analyzer_of(request)
    return json_response(await analyzer.engine.work(_info, analyzer))


def _info(analyzer: Analyzer) -> dict[str, Any]:
    settings, limits, graphs = analyzer.settings, analyzer.limits, Graphs(analyzer.settings)
    runtime, device = graphs.usual_place
    precision = graphs.computes_in()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": sys.platform,
        "device": device,
        "runtime": runtime.value,
        "arithmetic": graphs.arithmetic,
        "precision": precision.value if precision else None,
        "threads": graphs.threads,
        "decode_workers": limits.decode_workers if is_supported() else 0,
        "limits": {
            "image_bytes": limits.max_bytes,
            "image_pixels": limits.max_pixels,
            "image_side": limits.max_side,
            "request_bytes": settings.request_max_bytes,
            "request_images": settings.request_max_images,
            "request_tasks": settings.request_max_tasks,
            "request_seconds": settings.request_timeout_s,
            "queued_items_per_model": settings.queue_items,
        },
        "settings": {each.variables[0]: each.value for each in described(settings)},
    }
