"""What the middlewares ask of an ASGI scope."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import Scope


def path_of(scope: Scope) -> str:
    """The path below the server's root path, percent-decoded. Ask before routing: a mount rewrites it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    below = path[len(root) :]
    return below if path.startswith(root) and below.startswith("/") else path


def is_below(path: str, prefixes: Iterable[str]) -> bool:
    """Whether ``path`` is one of ``prefixes``, or below one. None ends with a slash; "" is all."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of a header; ``name`` in lowercase. More than one where the client sent it twice."""
    return [value for header, value in scope["headers"] if header == name]


def log_of(scope: Scope) -> dict[str, Any]:
    """What the request's log line will say beyond the usual; handlers and middlewares add to it."""
    log: dict[str, Any] = scope.setdefault("state", {}).setdefault("log", {})
    return log
