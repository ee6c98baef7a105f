"""OpenAPI's entries for refusals that no route makes itself: of the middleware, of HTTP and of the process.

A contract's own form of errors is read from what its ``write_error`` writes, so the two cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sightline.server.contract import Contract
from sightline.server.middleware.scopes import is_below
from sightline.server.problems import Refusal, WriteError, write_detail

PROBLEM_MEDIA_TYPE = "application/problem+json"
_METHODS = ("get", "put", "post", "delete", "patch")
_VALIDATION = "#/components/schemas/HTTPValidationError"
# Of every route, probes included.
_ALWAYS = {
    "408": "The headers or the body came too slowly.",
    "431": "The request line and headers are too large.",
    "500": "The server made a mistake; its log has the request id.",
    "503": "The server stops, or has as many connections or as little memory as it accepts.",
}
# Probes are answered under any name, without a key, and are not counted.
_BUT_PROBES = {
    "400": "The request is malformed, or the server does not answer to that host name.",
    "403": "The key is not meant for this route, or a page of another site sent the request.",
    "429": "Too many requests, or a full queue; Retry-After says when to come back.",
}
_WITH_A_BODY = {
    "413": "The body or an image is too large.",
    "415": "The body is compressed, or of a type that is not read here.",
    "504": "The request's time ran out.",
    "507": "There is no room to store the upload.",
}
_UNAUTHORIZED = {"401": "An API key is needed."}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def complete(document: dict[str, Any], contracts: Collection[Contract]) -> None:
    """Add to every operation the refusals that its contract's rules can cause. What a route says stays."""
    probes = frozenset[str]().union(*(contract.probes for contract in contracts))
    for path, item in document.get("paths", {}).items():
        contract = next((each for each in contracts if is_below(path, each.prefixes)), None)
        content = form_of(contract.write_error if contract else write_detail)
        needs_key = contract is None or contract.needs_key
        for method in _METHODS:
            if method not in item:
                continue
            responses = item[method].setdefault("responses", {})
            for status, description in _refusals(path in probes, needs_key, method != "get"):
                responses.setdefault(status, {"description": description, "content": content})
            _correct_validation(responses, content)
            item[method]["responses"] = dict(sorted(responses.items()))
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)


def form_of(write_error: WriteError) -> dict[str, Any]:
    """Return OpenAPI's ``content`` of a contract's errors."""
    response = write_error(Refusal(400, "invalid_request", "message"))
    media_type = str(response.media_type)
    if media_type == PROBLEM_MEDIA_TYPE:
        return {media_type: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {media_type: {"schema": _schema_of(json.loads(bytes(response.body)))}}


def _refusals(is_probe: bool, needs_key: bool, has_body: bool) -> Iterator[tuple[str, str]]:
    yield from _ALWAYS.items()
    if is_probe:
        return
    yield from _BUT_PROBES.items()
    if needs_key:
        yield from _UNAUTHORIZED.items()
    if has_body:
        yield from _WITH_A_BODY.items()


def _correct_validation(responses: dict[str, Any], content: Mapping[str, Any]) -> None:
    """FastAPI documents a form of 422 that ``problems`` replaces."""
    refused = responses.get("422", {})
    if _VALIDATION in json.dumps(refused):
        responses["422"] = {"description": "A parameter is missing or wrong.", "content": content}


def _schema_of(value: Any) -> dict[str, Any]:
    """A schema of the JSON's shape. What is null may also be a text."""
    if isinstance(value, dict):
        properties = {name: _schema_of(each) for name, each in value.items()}
        return {"type": "object", "required": list(value), "properties": properties}
    return {"type": ["string", "null"] if value is None else _TYPES[type(value)]}
