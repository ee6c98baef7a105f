"""What OpenAPI says of ``/v1/libraries``."""

from __future__ import annotations

from typing import Any

from sightline.server.schemas import ANALYZE

Responses = dict[int | str, dict[str, Any]]

_PROBLEM = ANALYZE["responses"]["400"]["content"]
_IMAGES = ANALYZE["requestBody"]["content"]


def _object(description: str, *names: str) -> dict[str, Any]:
    schema = {"type": "object", "required": list(names), "properties": {name: {} for name in names}}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(**descriptions: str) -> Responses:
    """By status: ``_404="…"``, and those every route has."""
    common = {
        "_401": "An API key is needed.",
        "_404": "No such library.",
        "_500": "The library's file is damaged, or a newer Sightline made it.",
    }
    return {
        status.removeprefix("_"): {"description": description, "content": _PROBLEM}
        for status, description in (common | descriptions).items()
        if description
    }


_IMAGE_REFUSALS = {
    "_400": "The body or a field is malformed.",
    "_408": "The body came too slowly.",
    "_413": "The body or an image is too large.",
    "_415": "A content type or an image format that is not read here.",
    "_422": "An image cannot be read, or its address not fetched.",
    "_429": "The server is busy; Retry-After says when to come back.",
    "_503": "A model is not there yet.",
    "_504": "The time of the request ran out.",
}
_OUTDATED = "The library's vectors are of another model, or another process writes to it."
_FACTS = (
    *("id", "path", "size", "sha256", "format", "width", "height", "taken_at", "latitude", "longitude"),
    *("place", "country", "camera", "indexed_at"),
)

LISTED: Responses = {"200": _object("All libraries.", "libraries"), **_refusals(_404="")}
SHOWN: Responses = {
    "200": _object("One of them.", "name", "photos", "unreadable", "folders", "models"),
    **_refusals(_400="No library can have this name."),
}
ITEMS: Responses = {
    "200": _object("A page of items.", "items", "next"),
    **_refusals(_400="A field is malformed."),
}
DUPLICATES: Responses = {
    "200": _object("Groups, the best copy of each first.", "groups"),
    **_refusals(_400="A kind that is not known."),
}
ITEM: Responses = {
    "200": _object("The photo.", *_FACTS, "answers"),
    **_refusals(_404="No such library or item.", _422="The id is not a number."),
}
GONE: Responses = {
    "204": {"description": "The library has forgotten it."},
    **_refusals(
        _403="A page of another site asked.",
        _404="No such library or item.",
        _409="Another process writes to the library.",
        _422="The id is not a number.",
    ),
}
THUMBNAIL: Responses = {
    "200": {
        "description": "The small copy.",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    },
    **_refusals(**_IMAGE_REFUSALS | {"_404": "No such library or item."}),
}
_FIELDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "maxLength": 1000, "description": "What the photos show."},
    "minus": {"type": "array", "items": {"type": "string"}, "description": "What they do not show."},
    "like": {"type": "array", "items": {"type": "integer"}, "description": "Ids of items they are like."},
    "after": {"type": "string", "description": "Taken on this day or later: 2021, 2021-06, 2021-06-30."},
    "before": {"type": "string", "description": "Taken before this day."},
    "near": {"type": "string", "examples": ["52.1,5.1,20km"]},
    "where": {"type": "string", "examples": ['species = "Vulpes vulpes" and width >= 1000']},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20},
    "min_score": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.15},
    "copies": {"type": "boolean", "default": False, "description": "Equal files each on its own."},
}
SEARCH: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "schema": schema, "description": schema.get("description", "")}
        for name, schema in _FIELDS.items()
    ],
    "requestBody": {
        "content": {
            **{kind: content for kind, content in _IMAGES.items() if kind != "application/json"},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        **_FIELDS,
                        "images": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {"url": {"type": "string"}, "base64": {"type": "string"}},
                            },
                        },
                    },
                }
            },
        }
    },
    "responses": {
        "200": _object("The photos, the best first.", "hits", "searched", "model", "warnings"),
        **_refusals(**_IMAGE_REFUSALS, _409=_OUTDATED),
    },
}
ADD: dict[str, Any] = {
    "requestBody": {"required": True, "content": _IMAGES},
    "responses": {
        "201": _object("Ids of the photos, and those that could not be added.", "items", "failed"),
        **_refusals(
            **_IMAGE_REFUSALS | {"_404": ""},
            _403="A page of another site asked.",
            _409=_OUTDATED,
            _507="The disk is full.",
        ),
    },
}
