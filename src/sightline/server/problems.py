"""Errors as HTTP responses: RFC 9457 problems, and ``{"detail": …}`` on the routes of replaced services.

A problem's ``type`` is ``/v1/problems/<code>``, a page of this server that says what the code means.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from sightline import errors
from sightline.errors import Overloaded, SightlineError

_log = logging.getLogger(__name__)

# The nearest class in the error's ancestry decides.
STATUSES: Mapping[type[SightlineError], int] = {
    errors.SightlineError: 500,
    errors.InputError: 400,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedContent: 415,
    errors.UnknownOperation: 422,
    errors.InvalidParameters: 422,
    errors.InvalidExamples: 422,
    errors.UnknownModel: 422,
    errors.ImageError: 422,
    errors.UnsupportedImage: 415,
    errors.ImageTooLarge: 413,
    errors.FetchError: 422,
    errors.TargetNotFound: 422,
    errors.UnknownCollection: 404,
    errors.CollectionBusy: 409,
    errors.VectorsRefused: 409,
    errors.ModelError: 503,
    errors.InferenceFailed: 500,
    errors.ProviderFailed: 502,
    errors.ProviderTimeout: 504,
    errors.AnswerRefused: 422,
    errors.Overloaded: 429,
    errors.MemoryLow: 503,
    errors.DeadlineExceeded: 504,
    errors.InsufficientStorage: 507,
    errors.ArchiveError: 502,
    errors.UnknownLibrary: 404,
    errors.LibraryBusy: 409,
    errors.LibraryOutdated: 409,
    errors.ExtraMissing: 501,
}
MAX_DETAIL_CHARS = 2000
# What HTTP itself refuses before any of our errors could arise: code and meaning.
HTTP_CODES: Mapping[int, tuple[str, str]] = {
    401: ("unauthorized", "an API key is needed, or the one given is wrong"),
    403: ("untrusted_origin", "a page of another site sent the request, and no key protects the route"),
    404: ("not_found", "there is nothing at this path"),
    405: ("method_not_allowed", "the path is right and the method is not"),
    408: ("request_timeout", "the headers or the body came too slowly"),
    429: ("rate_limited", "too many requests of one client or key; carries Retry-After"),
    431: ("headers_too_large", "the request line and headers are larger than accepted"),
}
# Refusals by the server itself beside those: status and meaning.
REFUSALS: Mapping[str, tuple[int, str]] = {
    "too_many_connections": (503, "the server has as many connections as it accepts; carries Retry-After"),
    "shutting_down": (503, "the server stopped before the answer was there; worth a retry"),
    "key_expired": (401, "the API key was valid until its date of expiry"),
    "key_revoked": (401, "the API key was revoked"),
    "scope_missing": (403, "the API key is valid and not meant for this route"),
}


def status_of(error: SightlineError) -> int:
    """The HTTP status for an error, by its class or the nearest ancestor with one."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def headers_of(error: SightlineError) -> dict[str, str]:
    """Headers an error brings along: ``Retry-After`` where trying again helps."""
    if isinstance(error, Overloaded | errors.ModelLoading):
        return {"Retry-After": str(error.retry_after_s)}
    return {}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error on its way to a client: what every contract's form of it is written from."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None


WriteError = Callable[[Refusal], Response]


def write_problem(refused: Refusal) -> Response:
    """Return an RFC 9457 problem."""
    body = {
        "type": f"/v1/problems/{refused.code}",
        "title": refused.code.replace("_", " ").capitalize(),
        "status": refused.status,
        "detail": shortened(refused.message),
        "code": refused.code,
        "request_id": refused.request_id,
    }
    return JSONResponse(body, refused.status, refused.headers, media_type="application/problem+json")


def write_detail(refused: Refusal) -> Response:
    """Return ``{"detail": ...}``, the form of the replaced services."""
    return JSONResponse({"detail": shortened(refused.message)}, refused.status, refused.headers)


def error_response(
    scope: Scope, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error as the contract writes it that the request's path belongs to.

    The middleware ``ErrorForms`` notes how. Without it, errors are problems.
    """
    state = scope.get("state", {})
    write: WriteError = state.get("write_error", write_problem)
    return write(Refusal(status, code, message, headers or {}, state.get("request_id")))


def shortened(message: str) -> str:
    """A message that echoes no large request."""
    return message if len(message) <= MAX_DETAIL_CHARS else f"{message[:MAX_DETAIL_CHARS]}…"


def request_id_of(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


def install(app: FastAPI) -> None:
    """Give the app the three handlers that make every error one of ours."""

    async def on_sightline_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, SightlineError)
        if isinstance(error, errors.InsufficientStorage):
            _log.error("cannot store an upload: %s", error.__cause__)
        elif status_of(error) >= 500 and not isinstance(error, errors.ModelError):
            unexpected = status_of(error) == 500
            _log.error(
                "request %s failed: %s", request_id_of(request), error, exc_info=error if unexpected else None
            )
        return error_response(request.scope, status_of(error), error.code, str(error), headers_of(error))

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = HTTP_CODES.get(error.status_code, ("invalid_request", ""))[0]
        return error_response(request.scope, error.status_code, code, str(error.detail), error.headers)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:10])
        return error_response(request.scope, 422, "invalid_request", found)

    async def on_anything_else(request: Request, error: Exception) -> Response:
        # The request log writes the trace; the caller gets none of it.
        return error_response(request.scope, 500, "internal_error", "internal error")

    app.add_exception_handler(SightlineError, on_sightline_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(Exception, on_anything_else)


def described_codes() -> dict[str, dict[str, Any]]:
    """Every code with its status and its line in the error tree; what ``/v1/problems`` shows."""
    tree = inspect.getdoc(errors) or ""
    meanings = {
        words[0]: " ".join(words[1:])
        for line in tree.splitlines()
        if len(words := line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()) > 1
    }
    ours = {
        kind.code: {
            "code": kind.code,
            "status": status_of(kind("", 1) if issubclass(kind, Overloaded) else kind("")),
            "meaning": meanings.get(kind.__name__, ""),
        }
        for kind in _tree(SightlineError)
        if "code" in vars(kind)  # others are told by their parent's, and described by it
    }
    others = [(code, status, meaning) for status, (code, meaning) in HTTP_CODES.items()]
    others += [(code, status, meaning) for code, (status, meaning) in REFUSALS.items()]
    return ours | {
        code: {"code": code, "status": status, "meaning": meaning} for code, status, meaning in others
    }


def _tree(root: type[SightlineError]) -> Iterator[type[SightlineError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)
