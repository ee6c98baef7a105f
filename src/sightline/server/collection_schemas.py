"""What OpenAPI says of ``/v1/collections``."""

from __future__ import annotations

from typing import Any

from sightline.server.schemas import ANALYZE

Responses = dict[int | str, dict[str, Any]]

_PROBLEM = ANALYZE["responses"]["400"]["content"]
_ID = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "sha256 of an image sent before."}
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_IMAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "description": "Exactly one of the three.",
        "properties": {
            "id": _ID,
            "url": {"type": "string", "format": "uri"},
            "base64": {"type": "string", "description": "Base64 or a data URI."},
        },
    },
}
_PLAN = {
    "embedding": {"type": "string", "default": "clip", "examples": ["clip", "dinov2", "clip+dinov2"]},
    "target": {"enum": ["whole_image", "prominent_person", "prominent_face"], "default": "whole_image"},
    "face_context": {"enum": ["prominent_person", "whole_image"], "default": "prominent_person"},
}


def _object(description: str, *names: str) -> dict[str, Any]:
    schema = {"type": "object", "required": list(names), "properties": {name: {} for name in names}}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(**descriptions: str) -> Responses:
    """By status: ``_404="…"``, and those every route has."""
    common = {"_401": "An API key is needed."}
    return {
        status.removeprefix("_"): {"description": description, "content": _PROBLEM}
        for status, description in (common | descriptions).items()
    }


_JOB_FIELDS = (
    "job",
    "collection",
    "state",
    "step",
    "done",
    "total",
    "created_at",
    "ended_at",
    "result",
    "error",
)
_UNKNOWN = "No such collection."
_BUSY = "The collection is being trained or changed."
_FOREIGN = "A page of another site asked."

LISTED: Responses = {"200": _object("All collections.", "collections"), **_refusals()}
SHOWN: Responses = {
    "200": _object("One of them.", "collection", "serving", "history", "problem", "versions", "trainings"),
    **_refusals(_404=_UNKNOWN),
}
STARTED: Responses = {
    "202": _object("The training has begun, or waits for its turn.", *_JOB_FIELDS),
    **_refusals(
        _400="The body is malformed, a side is missing, or there are too many images.",
        _403=_FOREIGN,
        _409=_BUSY,
        _413="The body or an image is too large.",
        _415="A content type that is not read here.",
        _422="No such embedding or part of a picture.",
        _429="Too many trainings are under way; Retry-After says when to come back.",
        _501="Training needs scikit-learn; the detail says how to add it.",
    ),
}
JOB: Responses = {"200": _object("How it stands.", *_JOB_FIELDS), **_refusals(_404="No such training.")}
SERVING: Responses = {
    "200": _object("What serves now.", "collection", "serving"),
    **_refusals(_400="There is no such version.", _403=_FOREIGN, _404=_UNKNOWN, _409=_BUSY),
}
TRAIN: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["in", "out"],
                    "properties": {"in": _FILES, "out": _FILES, **_PLAN},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["in", "out"],
                    "properties": {"in": _IMAGES, "out": _IMAGES, **_PLAN},
                }
            },
        },
    }
}
PROMOTE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["version"],
                    "properties": {"version": {"type": "string"}},
                }
            }
        },
    }
}
