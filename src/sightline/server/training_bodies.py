"""Bodies of ``POST /v1/collections/{id}/train``: multipart files named ``in`` and ``out``, or JSON lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.errors import InvalidParameters, InvalidRequest, UnsupportedContent
from sightline.imaging import Picture
from sightline.jobs.collections.embedding import Supplied
from sightline.jobs.collections.plans import USUAL_SPACE, Plan
from sightline.runtime.analyzer import Analyzer
from sightline.server.bodies import decode_base64, is_data_uri, media_type, refuse_unknown
from sightline.server.forms import read_form
from sightline.server.json_bodies import read_json
from sightline.types import FaceContext, Target

SIDES: Mapping[str, bool] = {"in": True, "out": False}
PLAN_FIELDS = frozenset({"embedding", "target", "face_context"})
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class TrainingBody:
    """What one request teaches, and how its pictures are to be embedded."""

    plan: Plan
    supplied: tuple[Supplied, ...]


async def read_training(request: Request, analyzer: Analyzer) -> TrainingBody:
    """Read a body of either form. Pictures are opened, fetched and judged later, by the training.

    Raises:
        UnsupportedContent: it is of neither form.
        InvalidRequest: malformed, a side is missing, or too many images.
        ImageTooLarge: a base64 image over the limit.
        InvalidParameters, UnknownModel: no such embedding or part of a picture.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        supplied, fields = await _from_form(request, analyzer)
    elif kind == "application/json":
        supplied, fields = await read_json(request, lambda value: _from_json(value, analyzer))
    else:
        raise UnsupportedContent(
            f"content type {kind[:100] or 'none'!r} is not read here; send multipart/form-data with files "
            "named 'in' and 'out', or application/json with lists of those names"
        )
    most = analyzer.settings.train_max_images
    if len(supplied) > most:
        raise InvalidRequest(
            f"{len(supplied)} images; one training takes {most} (SIGHTLINE_TRAIN_MAX_IMAGES)"
        )
    for side, inside in SIDES.items():
        if not any(each.inside is inside for each in supplied):
            raise InvalidRequest(f"there are no images named {side!r}; both 'in' and 'out' are needed")
    return TrainingBody(_plan(fields, analyzer), tuple(supplied))


async def _from_form(request: Request, analyzer: Analyzer) -> tuple[list[Supplied], dict[str, Any]]:
    supplied: list[Supplied] = []
    fields: dict[str, Any] = {}
    async with read_form(request, analyzer.settings.train_max_images) as form:
        for name, value in form.multi_items():
            if name in SIDES and isinstance(value, UploadFile):
                label = f"{name}/{value.filename or 'unnamed'}"[:_MAX_NAME_CHARS]
                supplied.append(_bytes(label, SIDES[name], await value.read(), analyzer))
            elif name in PLAN_FIELDS and isinstance(value, str):
                fields[name] = value
            else:
                raise InvalidRequest(
                    f"form field {name[:50]!r} is not known; files are in and out, fields "
                    f"{', '.join(sorted(PLAN_FIELDS))}"
                )
    return supplied, fields


def _from_json(body: Any, analyzer: Analyzer) -> tuple[list[Supplied], dict[str, Any]]:
    if not isinstance(body, dict):
        raise InvalidRequest("the JSON must be an object with the lists 'in' and 'out'")
    refuse_unknown(body, {*SIDES, *PLAN_FIELDS}, "the request")
    supplied = [each for side in SIDES for each in _side(body.get(side, []), side, analyzer)]
    return supplied, {name: body[name] for name in PLAN_FIELDS & body.keys()}


def _side(entries: Any, side: str, analyzer: Analyzer) -> Iterator[Supplied]:
    if not isinstance(entries, list):
        raise InvalidRequest(f"{side!r} must be a list of objects with 'id', 'url' or 'base64'")
    for number, entry in enumerate(entries):
        label = f"{side}[{number}]"
        if not isinstance(entry, dict) or len(entry) != 1 or not isinstance(next(iter(entry.values())), str):
            raise InvalidRequest(f"{label} must be an object with one of 'id', 'url' and 'base64', a string")
        refuse_unknown(entry, {"id", "url", "base64"}, label)
        yield _entry(label, SIDES[side], entry, analyzer)


def _entry(label: str, inside: bool, entry: Mapping[str, str], analyzer: Analyzer) -> Supplied:
    if "id" in entry:
        if not _IMAGE_ID.fullmatch(entry["id"]):
            raise InvalidRequest(f"{label} has an id that is none: it is a sha256, 64 hex digits")
        return Supplied(label, inside, sha256=entry["id"])
    if "base64" in entry or is_data_uri(entry["url"]):
        (text,) = entry.values()
        return _bytes(label, inside, decode_base64(text, analyzer.settings.image_max_bytes), analyzer)

    async def fetch() -> Picture:
        return await analyzer.fetch(entry["url"])

    return Supplied(label, inside, fetch)


def _bytes(label: str, inside: bool, data: bytes, analyzer: Analyzer) -> Supplied:
    async def read() -> Picture:
        picture: Picture = await analyzer.engine.work(analyzer.open, data)
        return picture

    return Supplied(label, inside, read)


def _plan(fields: Mapping[str, Any], analyzer: Analyzer) -> Plan:
    wrong = [name for name, value in fields.items() if not isinstance(value, str)]
    if wrong:
        raise InvalidParameters(f"{wrong[0]!r} must be a string")
    target = fields.get("target", Target.WHOLE_IMAGE.value)
    face_context = fields.get("face_context", FaceContext.PROMINENT_PERSON.value)
    for name, value, kinds in (("target", target, Target), ("face_context", face_context, FaceContext)):
        allowed = [each.value for each in kinds]
        if value not in allowed:
            raise InvalidParameters(f"{name} is {value[:100]!r}; it may be {', '.join(allowed)}")
    plan = Plan(target=Target(target), face_context=FaceContext(face_context))
    return plan.of_spaces(fields.get("embedding", USUAL_SPACE), _spaces(analyzer))


def _spaces(analyzer: Analyzer) -> set[str]:
    cards = [definition.card for definition in analyzer.models.values()]
    return {card.space or card.name for card in cards if IMAGE_EMBEDDING in card.capabilities}
