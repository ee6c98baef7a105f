"""A photo as any browser shows it: ``POST /v1/preview``."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from sightline.errors import InvalidRequest
from sightline.imaging import Picture, encode_jpeg, resize
from sightline.runtime.engine import Context
from sightline.server import schemas
from sightline.server.answers import open_source
from sightline.server.bodies import read_analyze
from sightline.server.connections import while_connected
from sightline.server.state import analyzer_of

router = APIRouter(prefix="/v1", tags=["v1"])

# Wide enough for a screen, and a few hundred kilobytes.
MAX_SIDE = 1600
_QUALITY = 85


@router.post("/preview", summary="A JPEG copy for browsers", openapi_extra=schemas.PREVIEW)
async def preview(request: Request) -> Response:
    """One image as a JPEG, upright, with its longer side reduced to 1600 pixels.

    For formats that browsers do not show, such as HEIC and TIFF. ``X-Image-Width`` and ``X-Image-Height``
    are the size of the upright original, in whose pixels boxes are given.
    """
    analyzer = analyzer_of(request)
    body = await read_analyze(request, analyzer.settings, None)
    if len(body.images) != 1:
        raise InvalidRequest(f"{len(body.images)} images; expected one")
    (source,) = body.images

    async def made() -> tuple[Picture, bytes]:
        picture = await open_source(analyzer, source)
        context = Context.lasting(analyzer.settings.request_timeout_s)
        jpeg: bytes = await analyzer.engine.decode((picture,), context, partial(_small_jpeg, picture))
        return picture, jpeg

    picture, jpeg = await while_connected(request, made())
    size = {"X-Image-Width": str(picture.width), "X-Image-Height": str(picture.height)}
    return Response(jpeg, headers=size, media_type="image/jpeg")


def _small_jpeg(picture: Picture) -> bytes:
    scale = min(1.0, MAX_SIDE / max(picture.width, picture.height))
    width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return encode_jpeg(resize(picture.reduced(min(width, height)), width, height), _QUALITY)
