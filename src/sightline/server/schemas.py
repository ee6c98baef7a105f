"""OpenAPI, derived from the registry: the request and response of ``/v1/analyze`` per operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sightline import __version__
from sightline.operations import Operation

_REFS = "#/components/schemas/"

IMAGE_FILE = {"type": "string", "format": "binary", "description": "An image file."}
_TASKS = {"type": "array", "items": {"$ref": f"{_REFS}Task"}}
_IMAGE_ENTRY = {
    "type": "object",
    "description": "Exactly one of the two.",
    "properties": {
        "url": {"type": "string", "format": "uri"},
        "base64": {"type": "string", "description": "Base64 or a data URI."},
    },
}

TRUNCATED: dict[str, Any] = {
    "name": "truncated",
    "in": "query",
    "schema": {"type": "string", "enum": ["error", "fill"], "default": "error"},
    "description": "fill: look at a JPEG, PNG or BMP whose end is missing as far as it goes; the result has "
    "a warning.",
}
ANALYZE: dict[str, Any] = {
    "parameters": [
        {
            "name": "operation",
            "in": "query",
            "schema": {"type": "string"},
            "description": "One operation instead of a task list; further query parameters are its own, and "
            "one that comes more than once is a list.",
        },
        {"name": "crops", "in": "query", "schema": {"type": "boolean", "default": False}},
        TRUNCATED,
    ],
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "array", "items": IMAGE_FILE},
                        "url": {"type": "string", "format": "uri"},
                        "tasks": {"type": "string", "description": "The task list as JSON."},
                        "operation": {"type": "string"},
                        "crops": {"type": "boolean", "default": False},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {"type": "array", "items": _IMAGE_ENTRY},
                        **_IMAGE_ENTRY["properties"],  # type: ignore[dict-item]
                        "tasks": _TASKS,
                        "crops": {"type": "boolean", "default": False},
                    },
                }
            },
            "image/*": {"schema": IMAGE_FILE},
        },
    },
    "responses": {
        "200": {
            "description": "One entry per image, one result per task.",
            "content": {"application/json": {"schema": {"$ref": f"{_REFS}Analysis"}}},
        },
        **{
            status: {
                "description": description,
                "content": {"application/problem+json": {"schema": {"$ref": f"{_REFS}Problem"}}},
            }
            for status, description in {
                "400": "The request is malformed.",
                "401": "An API key is needed.",
                "408": "The body came too slowly.",
                "413": "The body or the image is too large.",
                "415": "Not an image, or a content type that is not read here.",
                "422": "The image, a URL, an operation or a parameter is wrong.",
                "429": "Busy; Retry-After says when to come back.",
                "503": "No model could answer; the detail says what is missing.",
                "504": "The time ran out.",
            }.items()
        },
    },
}

PREVIEW: dict[str, Any] = {
    "parameters": [TRUNCATED],
    "requestBody": ANALYZE["requestBody"],
    "responses": {
        "200": {
            "description": "The photo.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        },
        **{
            status: ANALYZE["responses"][status]
            for status in ("400", "401", "408", "413", "415", "422", "429", "504")
        },
    },
}

MODEL: dict[int | str, dict[str, Any]] = {
    "202": {
        "description": "The model as GET /v1/models has it.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model"],
                    "properties": {"model": {"type": "object"}},
                }
            }
        },
    },
    **{status: ANALYZE["responses"][status] for status in ("401", "422", "429", "503")},
}

PROBLEM_PAGE: dict[int | str, dict[str, Any]] = {
    "404": {**ANALYZE["responses"]["400"], "description": "No error has this code."}
}

PLACES: dict[int | str, dict[str, Any]] = {
    "200": {
        "description": "The place, which data answered, and its licence.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["latitude", "longitude", "place", "model", "licence", "source"],
                    "properties": {
                        "latitude": {"type": "number"},
                        "longitude": {"type": "number"},
                        "place": {
                            "type": "object",
                            "properties": {
                                "label": {"type": "string", "examples": ["Suva, Central, FJ"]},
                                "name": {"type": "string"},
                                "region": {"type": "string", "description": "Empty where there is none."},
                                "country_code": {"type": "string", "description": "ISO 3166-1 alpha-2."},
                                "distance_km": {"type": "number"},
                            },
                        },
                        "model": {"type": "object", "description": "name, fingerprint and provenance."},
                        "licence": {"type": "string"},
                        "source": {"type": "string", "format": "uri"},
                    },
                }
            }
        },
    },
    **{status: ANALYZE["responses"][status] for status in ("401", "429", "503", "504")},
    "422": {
        **ANALYZE["responses"]["422"],
        "description": "A coordinate is missing, no number or out of range.",
    },
}

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": ["string", "null"]},
    },
}


_KEYS = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}


def install(
    app: FastAPI,
    operations: Mapping[str, Operation[Any, Any]],
    *,
    needs_key: bool = False,
    complete: Callable[[dict[str, Any]], None] = lambda document: None,
) -> None:
    """Make ``/openapi.json`` describe the operations.

    Args:
        needs_key: some routes need an API key.
        complete: adds to the document what routes do not know.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title="Sightline", version=__version__, routes=app.routes)
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            components |= _components(operations.values())
            if needs_key:  # pages of documentation offer a field for it then
                schema["components"]["securitySchemes"] = _KEYS
                schema["security"] = [{name: []} for name in _KEYS]
            complete(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def operation_route(operation: Operation[Any, Any]) -> dict[str, Any]:
    """What OpenAPI says of an operation's own route: its parameters in the query, images in the body."""
    schema = operation.Params.model_json_schema()
    required = set(schema.get("required", ()))
    definitions = schema.get("$defs", {})
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": property_.get("description", ""),
            "schema": _inlined({k: v for k, v in property_.items() if k != "description"}, definitions),
        }
        for name, property_ in schema.get("properties", {}).items()
    ]
    body: dict[str, Any] = {"content": {}}
    if operation.needs_picture:
        parameters.append(TRUNCATED)
        body = ANALYZE["requestBody"]
    return {"parameters": parameters, "requestBody": body, "responses": ANALYZE["responses"]}


def _inlined(part: Any, definitions: Mapping[str, Any]) -> Any:
    """Query parameters cannot share definitions: each reference becomes what it points to."""
    if isinstance(part, dict):
        if reference := part.get("$ref"):
            rest = {key: value for key, value in part.items() if key != "$ref"}
            return {**_inlined(definitions[reference.removeprefix("#/$defs/")], definitions), **rest}
        return {key: _inlined(value, definitions) for key, value in part.items()}
    return [_inlined(each, definitions) for each in part] if isinstance(part, list) else part


def _components(operations: Iterable[Operation[Any, Any]]) -> dict[str, Any]:
    components: dict[str, Any] = {"Problem": _PROBLEM}
    tasks, results = [], []
    for operation in operations:
        title = "".join(word.capitalize() for word in operation.name.split("_"))
        tasks.append({"$ref": f"{_REFS}{title}Task"})
        results.append({"$ref": f"{_REFS}{title}Data"})
        components[f"{title}Task"] = _task(operation, components)
        components[f"{title}Data"] = _hoisted(operation.Result.model_json_schema(), components)
    components["Task"] = {"oneOf": tasks}
    components["Analysis"] = _analysis(results)
    return components


def _task(operation: Operation[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": operation.description,
        "required": ["operation"],
        "properties": {
            "id": {"type": "string", "description": "Key of the result; the operation's name by default."},
            "operation": {"const": operation.name},
            "params": _hoisted(operation.Params.model_json_schema(), components),
        },
        "example": {"operation": operation.name, "params": dict(operation.example)},
    }


def _hoisted(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Move pydantic's local ``$defs`` to the document's components and point there."""
    components |= {name: _repointed(part) for name, part in schema.pop("$defs", {}).items()}
    return _repointed(schema)  # type: ignore[no-any-return]


def _repointed(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            key: value.replace("#/$defs/", _REFS) if key == "$ref" else _repointed(value)
            for key, value in part.items()
        }
    return [_repointed(each) for each in part] if isinstance(part, list) else part


def _analysis(results: list[dict[str, str]]) -> dict[str, Any]:
    error = {
        "type": "object",
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
    }
    result = {
        "type": "object",
        "required": ["status", "operation", "data", "region", "model", "timing_ms"],
        "properties": {
            "status": {"enum": ["ok", "skipped", "error"]},
            "operation": {"type": "string"},
            "data": {"anyOf": [*results, {"type": "null"}]},
            "region": {"type": ["object", "null"]},
            "crop": {"type": "string", "description": "The region as a PNG data URI, when crops were asked."},
            "model": {"type": ["object", "null"], "description": "name, fingerprint and provenance."},
            "models": {
                "type": "array",
                "items": {"type": "object"},
                "description": "Every model that had a say, if there was more than one.",
            },
            "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
            "warnings": {"type": "array", "items": {"type": "string"}},
            "error": error,
        },
    }
    entry = {
        "type": "object",
        "properties": {
            "index": {"type": "integer"},
            "source": {"type": ["string", "null"]},
            "image": {"type": ["object", "null"]},
            "results": {"type": "object", "additionalProperties": result},
            "error": error,
        },
    }
    return {
        "type": "object",
        "properties": {
            "request_id": {"type": ["string", "null"]},
            "images": {"type": "array", "items": entry},
        },
    }
