"""What OpenAPI says of the atlas-backend's routes."""

from __future__ import annotations

from typing import Any

from sightline.server.schemas import TRUNCATED

_DETAIL = {"application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}}
_IMAGE = {"type": "string", "format": "binary", "description": "An image file of at most 5 MB."}
_PROMPT = {"type": "string", "description": "The question, or what to do."}
_SPECIESNET = {
    "type": "object",
    "required": ["prediction", "prediction_display_name", "prediction_score", "top_classes", "detections"],
    "properties": {
        "prediction": {"type": "string", "examples": ["odocoileus_virginianus"]},
        "prediction_display_name": {"type": "string"},
        "prediction_score": {"type": "number"},
        "prediction_source": {"type": "string", "description": "Which rule of the ensemble decided."},
        "model_version": {"type": "string", "description": "The release of SpeciesNet."},
        "top_classes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "label_raw": {"type": "string"},
                    "display_name": {"type": "string"},
                    "score": {"type": "number"},
                },
            },
        },
        "detections": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "label": {"enum": ["animal", "human", "vehicle"]},
                    "conf": {"type": "number"},
                    "category": {"type": "string", "description": "1 animal, 2 human, 3 vehicle."},
                    "bbox": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                        "description": "[x, y, width, height] as parts of the picture's width and height.",
                    },
                },
            },
        },
    },
}
_FILE = {
    "filename": {"type": "string"},
    "content_size": {"type": "integer", "description": "Bytes of the file."},
}
_ABOUT = {"index": {"type": "integer", "description": "Which of the files, from 0."}, **_FILE}
_REFUSALS = {
    "400": "What is in the file is no image, or a damaged one; or the form does not parse.",
    "401": "An API key is needed.",
    "413": "An image of more than 5 MB.",
    "415": "The file's media type is not an image's.",
    "422": "A field is missing or wrong.",
    "429": "Too many requests, or busy; Retry-After says when to come back.",
    "503": "No model could answer; the detail says what is missing.",
    "504": "The time ran out.",
}


def _answer(properties: dict[str, Any], **more_refusals: str) -> dict[str, Any]:
    refusals = {**_REFUSALS, **{status.removeprefix("_"): text for status, text in more_refusals.items()}}
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": schema}}},
        **{status: {"description": text, "content": _DETAIL} for status, text in refusals.items()},
    }


def _form(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


HEALTH: dict[str, Any] = {
    "responses": {
        "200": {
            "description": "ok: uploads can be buffered and a vision-language model is configured. degraded: "
            "'checks' says what is missing.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["status"],
                        "properties": {
                            "status": {"enum": ["ok", "degraded"]},
                            "temp_dir_ready": {"type": "boolean"},
                            "gemini_api_configured": {"type": "boolean"},
                            "checks": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                    }
                }
            },
        },
    }
}
UPLOAD: dict[str, Any] = {
    "parameters": [TRUNCATED],
    "requestBody": _form(["file"], {"file": _IMAGE}),
    "responses": _answer({**_FILE, "speciesnet": _SPECIESNET}),
}
ANALYZE: dict[str, Any] = {
    "parameters": [TRUNCATED],
    "requestBody": _form(["prompt", "file"], {"prompt": _PROMPT, "file": _IMAGE}),
    "responses": _answer({"prompt": {"type": "string"}, **_FILE, "speciesnet": _SPECIESNET}),
}
QUESTIONS: dict[str, Any] = {
    "parameters": [TRUNCATED],
    "requestBody": _form(
        ["prompt", "files"],
        {
            "prompt": _PROMPT,
            "files": {"type": "array", "items": _IMAGE},
            "schema_json": {"type": "string", "description": "A JSON Schema, as JSON, for each answer."},
        },
    ),
    "responses": _answer(
        {
            "prompt": {"type": "string"},
            "schema": {"type": "object", "description": "What each answer had to fit."},
            "gemini_model": {"type": "string", "description": "What answered, Gemini or another."},
            "total_images": {"type": "integer"},
            "image_count": {"type": "integer", "description": "The same."},
            "group_count": {"type": "integer"},
            "error_count": {"type": "integer"},
            "groups": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "group": {"type": "string"},
                        "category_label": {"type": "string", "description": "The same."},
                        "grouped_by": {
                            "type": "string",
                            "description": "The field of the answers that the label is from, or 'image'.",
                        },
                        "count": {"type": "integer"},
                        "images": {"type": "array", "description": "The same as items."},
                        "items": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    **_ABOUT,
                                    "response": {"description": "JSON that fits the schema."},
                                },
                            },
                        },
                    },
                },
            },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {**_ABOUT, "error": {"type": "object", "description": "code and message."}},
                },
            },
            "metadata": {"type": "object", "description": "model, schema and tokens."},
        },
        _502="The service that runs the model failed, or answered with no JSON that fits.",
    ),
}
