"""Who may ask: a key in a header, judged before a byte of the body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import header_values, path_of

# Probes come without a key. /metrics is not among them: it tells how much the service is used, and Prometheus
# can send a bearer token.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/health", "/api/health"})


class ApiKey:
    """Asks for one of ``keys`` in ``X-API-Key`` or ``Authorization: Bearer``, except on ``open_paths``.

    Anything else is a 401: no key, a wrong one, one that is not ASCII, a header sent twice. Where both
    headers come, ``X-API-Key`` counts. Without keys every request passes. Only digests of keys are kept.

    Raises:
        ConfigurationError: a key that no header can carry: empty, or not printable ASCII without spaces.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Collection[SecretStr], open_paths: Collection[str] = OPEN_PATHS
    ) -> None:
        self._app = app
        self._digests = [_digest(_as_header(key)) for key in keys]
        self._open_paths = frozenset(open_paths)

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
        if not self._digests or path_of(scope) in self._open_paths:
            return True
        given = given_key(scope)
        return given is not None and self._knows(given)

    def _knows(self, given: bytes) -> bool:
        """Compare with all keys, without leaving early: time must not tell which one was near."""
        digest = _digest(given)
        known = False
        for one in self._digests:
            known |= hmac.compare_digest(digest, one)
        return known


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


def _as_header(key: SecretStr) -> bytes:
    plain = key.get_secret_value()
    if not (plain.isascii() and plain.isprintable()) or not plain or " " in plain:
        raise ConfigurationError("an API key must be printable ASCII without spaces")
    return plain.encode("ascii")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
