"""Who may ask: a key in a header, judged before a byte of the body is read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.runtime.fairness import CALLER
from sightline.server.keys import KeyRing, KeyScope, NamedKey
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import header_values, is_below, log_of, path_of

ALL_ROUTES = ("/",)
_SAYS_HOW = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """A path, with all below it, that needs a scope of its own. ``methods``: only these, or any if empty."""

    prefix: str
    scope: KeyScope
    methods: frozenset[str] = frozenset()


class ApiKey:
    """Require one of ``keys`` in ``X-API-Key`` or ``Authorization: Bearer`` on ``routes`` and below them.

    ``open_paths`` and ``open_prefixes`` need no key, nor does ``OPTIONS``, which does nothing. Anything else
    is a 401: no key, a wrong, expired or revoked one, one that is not ASCII, a header sent twice. If both
    headers come, ``X-API-Key`` counts. A key without the scope of the path is a 403; the longest prefix of
    ``rules`` decides, else the scope is ``analyze``. The name of the accepted key is in
    ``scope["state"]["api_key"]`` and in the log line.

    Raises:
        ConfigurationError: a route that is not a path.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        routes: Collection[str] = ALL_ROUTES,
        open_paths: Collection[str] = (),
        open_prefixes: Collection[str] = (),
        rules: Collection[ScopeRule] = (),
    ) -> None:
        self._app = app
        self._keys = keys
        self._routes = tuple(_as_path(route) for route in routes)
        self._open_paths = frozenset(open_paths)
        self._open_prefixes = tuple(open_prefixes)
        self._rules = sorted(rules, key=lambda rule: len(rule.prefix), reverse=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = None if scope["type"] == "lifespan" else self._refused(scope)
        if refused is None:
            CALLER.set(key_name(scope) or "")  # each request is answered in a context of its own
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refused(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # policy violation, RFC 6455

    def _refused(self, scope: Scope) -> ASGIApp | None:
        """Return the refusal of a request, or note its key and return None."""
        path = path_of(scope)
        if path in self._open_paths or scope.get("method") == "OPTIONS" or not self._keys.is_needed:
            return None
        given = given_key(scope)
        key = None if given is None else self._keys.find(given)
        is_open = is_below(path, self._open_prefixes) or not is_below(path, self._routes)
        if key is not None:
            log_of(scope)["key"] = key.name
        if key is None or key.state != "active":
            return None if is_open else _unauthorized(scope, key)
        scope.setdefault("state", {})["api_key"] = key.name
        needed = self._scope_of(path, scope.get("method", "GET"))
        return None if is_open or needed in key.scopes else _out_of_scope(scope, key, needed)

    def _scope_of(self, path: str, method: str) -> KeyScope:
        for rule in self._rules:
            if is_below(path, (rule.prefix,)) and (not rule.methods or method in rule.methods):
                return rule.scope
        return KeyScope.ANALYZE


def given_key(scope: Scope) -> bytes | None:
    """Return the key the request brings, unjudged. None: none, or more than one in the same header."""
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


def key_name(scope: Scope) -> str | None:
    """Return the name of the key that the request was accepted with, if any."""
    name: str | None = scope.get("state", {}).get("api_key")
    return name


def _unauthorized(scope: Scope, key: NamedKey | None) -> ASGIApp:
    if key is None:
        message = "a valid API key is needed, in the header X-API-Key or as Authorization: Bearer"
        return refusal(scope, 401, "unauthorized", message, _SAYS_HOW)
    return refusal(scope, 401, f"key_{key.state}", f"the API key {key.name} is {key.state}", _SAYS_HOW)


def _out_of_scope(scope: Scope, key: NamedKey, needed: KeyScope) -> ASGIApp:
    message = f"the API key {key.name} lacks the scope of this route: {needed.value}"
    return refusal(scope, 403, "scope_missing", message)


def _as_path(route: str) -> str:
    if not route.startswith("/"):
        raise ConfigurationError(
            f"SIGHTLINE_PROTECTED_ROUTES: {route!r} is not a path; expected one such as /api, or / for all"
        )
    return route.rstrip("/")
