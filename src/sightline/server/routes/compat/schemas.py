"""What OpenAPI says of the routes of replaced services; the atlas-backend's are in ``atlas_schemas``."""

from __future__ import annotations

from typing import Any

from sightline.server.schemas import IMAGE_FILE

_EMBED_TASKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["operation_id", "type"],
        "properties": {
            "operation_id": {"type": "string"},
            "type": {"type": "string"},
            "params": {"type": "object"},
        },
    },
}
_DETAIL = {
    "400": {
        "description": "The request or the image is wrong.",
        "content": {
            "application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}
        },
    }
}
IMAGE_EMBED_URL: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image_url", "tasks"],
                    "properties": {"image_url": {"type": "string"}, "tasks": _EMBED_TASKS},
                }
            }
        },
    },
    "responses": _DETAIL,
}
IMAGE_EMBED_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image_file", "tasks_json"],
                    "properties": {"image_file": IMAGE_FILE, "tasks_json": {"type": "string"}},
                }
            }
        },
    },
    "responses": _DETAIL,
}

_DETAIL_BODY = {
    "application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}
}


def _details(**descriptions: str) -> dict[str, Any]:
    """Refusals of a replaced service's route by status: ``_400="…"``."""
    return {
        status.removeprefix("_"): {"description": description, "content": _DETAIL_BODY}
        for status, description in descriptions.items()
    }


_UNAUTHORIZED = "The API key is missing or wrong."
_TOO_MANY = "Too many requests, or busy; Retry-After says when to come back."
GEOCLIP_TOKEN: dict[str, Any] = {"responses": _details(_401=_UNAUTHORIZED, _429=_TOO_MANY)}
GEOCLIP_GEOLOCATE: dict[str, Any] = {
    "parameters": [{"name": "X-CSRF-Token", "in": "header", "required": True, "schema": {"type": "string"}}],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "Exactly one of the two.",
                    "properties": {
                        "image": {**IMAGE_FILE, "description": "PNG, JPEG or WebP, at most 5 MB."},
                        "image_data": {"type": "string", "description": "The same as a base64 data URI."},
                    },
                }
            },
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": {"image_data": {"type": "string"}}}
            },
        },
    },
    "responses": _details(
        _400="No image, more than one, not PNG, JPEG or WebP, or malformed base64.",
        _401=_UNAUTHORIZED,
        _403="The CSRF token is missing, invalid or expired.",
        _413="The image is larger than 5 MB.",
        _429=_TOO_MANY,
        _500="No answer could be computed.",
    ),
}


def _answer(description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_STAMP = {"type": "string", "format": "date-time"}
_HEALTH: dict[str, dict[str, Any]] = {
    "status": {"enum": ["healthy", "unhealthy"]},
    "model_loaded": {"type": "boolean"},
    "models": {"type": "object", "additionalProperties": {"type": "string"}},
    "timestamp": _STAMP,
}
CLASSIFIER_HEALTH: dict[str, Any] = {
    "responses": {
        "200": _answer("It can classify.", **_HEALTH),
        "503": _answer("It cannot.", **_HEALTH),
    }
}
_PICTURE_FILE = {**IMAGE_FILE, "description": "JPG, PNG, GIF, BMP or TIFF, at most 50 MB."}
CLASSIFIER_CLASSIFY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _PICTURE_FILE}}
            }
        },
    },
    "responses": {
        "200": _answer(
            "What it is.",
            filename={"type": "string"},
            file_size_bytes={"type": "integer"},
            is_map_or_aerial={"type": "boolean"},
            confidence={"type": "number"},
            classification={"enum": ["maps", "aerial_satellite", "miscellaneous"]},
            probabilities={"type": "object", "additionalProperties": {"type": "number"}},
            would_download={"type": "boolean"},
            timestamp=_STAMP,
        ),
        **_details(
            _400="No file, more than one, no form, or one in a charset that is not read.",
            _401=_UNAUTHORIZED,
            _413="The image is larger than 50 MB, or has too many pixels.",
            _415="Not JPG, PNG, GIF, BMP or TIFF.",
            _422="The image is damaged.",
            _429=_TOO_MANY,
            _500="No answer could be computed.",
            _503="The weights of CLIP are missing, or are being loaded.",
            _504="The request's time ran out.",
        ),
    },
}
