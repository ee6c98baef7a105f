"""Who may ask: a key in a header, judged before a byte of the body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import header_values, is_below, path_of

ALL_ROUTES = ("/",)


class ApiKey:
    """Asks for one of ``keys`` in ``X-API-Key`` or ``Authorization: Bearer`` on ``routes`` and below them.

    ``open_paths`` and ``open_prefixes`` need no key, nor does ``OPTIONS``, which does nothing. Anything else
    is a 401: no key, a wrong one, one that is not ASCII, a header sent twice. Where both headers come,
    ``X-API-Key`` counts. Without keys every request passes. Only digests of keys are kept. The number of the
    key that was accepted, from 0, is in ``scope["state"]["api_key"]``.

    Raises:
        ConfigurationError: a key that no header can carry (empty, or not printable ASCII without spaces), or
            a route that is not a path.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Collection[SecretStr],
        routes: Collection[str] = ALL_ROUTES,
        open_paths: Collection[str] = (),
        open_prefixes: Collection[str] = (),
    ) -> None:
        self._app = app
        self._digests = [_digest(_as_header(key)) for key in keys]
        self._routes = tuple(_as_path(route) for route in routes)
        self._open_paths = frozenset(open_paths)
        self._open_prefixes = tuple(open_prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            response = refusal(
                scope,
                401,
                "unauthorized",
                "a valid API key is needed, in the header X-API-Key or as Authorization: Bearer",
                {"WWW-Authenticate": "Bearer"},
            )
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # policy violation, RFC 6455

    def _admits(self, scope: Scope) -> bool:
        if not self._digests or path_of(scope) in self._open_paths or scope.get("method") == "OPTIONS":
            return True
        given = given_key(scope)
        number = None if given is None else self._number_of(given)
        if number is not None:
            scope.setdefault("state", {})["api_key"] = number
            return True
        path = path_of(scope)
        return is_below(path, self._open_prefixes) or not is_below(path, self._routes)

    def _number_of(self, given: bytes) -> int | None:
        """Compare with all keys, without leaving early: time must not tell which one was near."""
        digest = _digest(given)
        number = None
        for index, one in enumerate(self._digests):
            if hmac.compare_digest(digest, one):
                number = index
        return number


def given_key(scope: Scope) -> bytes | None:
    """The key the request brings, unjudged; None for none, or for more than one in the same header."""
    direct = header_values(scope, b"x-api-key")
    authorization = header_values(scope, b"authorization")
    if len(direct) > 1 or len(authorization) > 1:
        return None
    if direct:
        return direct[0].strip()
    if authorization:
        scheme, _, credentials = authorization[0].partition(b" ")
        if scheme.lower() == b"bearer":
            return credentials.strip()
    return None


def _as_path(route: str) -> str:
    if not route.startswith("/"):
        raise ConfigurationError(
            f"SIGHTLINE_PROTECTED_ROUTES: {route!r} is not a path; expected one such as /api, or / for all"
        )
    return route.rstrip("/")


def _as_header(key: SecretStr) -> bytes:
    plain = key.get_secret_value()
    if not (plain.isascii() and plain.isprintable()) or not plain or " " in plain:
        raise ConfigurationError("an API key must be printable ASCII without spaces")
    return plain.encode("ascii")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
