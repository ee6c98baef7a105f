"""Under which names this server answers, and that it does so over TLS."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.refusals import announces_long_body, closing, refusal
from sightline.server.middleware.scopes import header_values, path_of

ANY = "*"


class TrustedHosts:
    """Answers 400 to requests for names that are not among ``hosts``, except on ``free_paths``.

    A name stands for itself, ``*.example.org`` for every name below, ``*`` for any. Ports do not count.
    Probes come by address, hence the free paths.

    Raises:
        ConfigurationError: a pattern that matches no host.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], free_paths: Collection[str] = ()) -> None:
        self._app = app
        self._any = ANY in hosts
        written = [_pattern(host) for host in hosts if host != ANY]
        self._names = frozenset(host for host in written if not host.startswith("*"))
        self._endings = tuple(host[1:] for host in written if host.startswith("*"))
        self._free_paths = frozenset(free_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._trusts(scope):
            await self._app(scope, receive, send)
            return
        response = refusal(scope, 400, "invalid_request", "this server does not answer to the name in Host")
        await response(scope, receive, send)

    def _trusts(self, scope: Scope) -> bool:
        if self._any or path_of(scope) in self._free_paths:
            return True
        host = host_of(scope)
        return host is not None and (host in self._names or host.endswith(self._endings))


class HttpsRedirect:
    """Sends what comes over plain HTTP to the same address under https://, except on ``free_paths``.

    307 keeps method and body. What a proxy that is trusted says in X-Forwarded-Proto is in the scope already.
    """

    def __init__(self, app: ASGIApp, *, free_paths: Collection[str] = ()) -> None:
        self._app = app
        self._free_paths = frozenset(free_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["type"] == "http" and scope.get("scheme", "http") == "http"
        if not plain or path_of(scope) in self._free_paths:
            await self._app(scope, receive, send)
            return
        host = host_of(scope)
        if host is None:
            response = refusal(
                scope, 400, "invalid_request", "the request needs one Host to be sent to https://"
            )
            await response(scope, receive, send)
            return
        query = scope.get("query_string", b"").decode("latin-1")
        target = f"https://{host}{quote(scope['path'])}" + (f"?{query}" if query else "")
        response = RedirectResponse(target, 307)
        await response(scope, receive, closing(send) if announces_long_body(scope) else send)


def host_of(scope: Scope) -> str | None:
    """The name in Host, lowercase and without port; None where there is none, more than one, or no name."""
    values = header_values(scope, b"host")
    if len(values) != 1 or not values[0].isascii():
        return None
    written = values[0].decode("ascii").strip().lower()
    if written.startswith("["):
        host, bracket, _ = written.partition("]")
        host += bracket
    else:
        host = written.partition(":")[0].rstrip(".")
    return host if host and set(host) <= _HOST_CHARS else None


_HOST_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_[]:")


def _pattern(written: str) -> str:
    host = written.lower()
    name = host.removeprefix("*.")
    if not name or not set(name) <= _HOST_CHARS or (":" in name and not name.startswith("[")):
        raise ConfigurationError(
            f"{written!r} is no host for SIGHTLINE_ALLOWED_HOSTS (ALLOWED_HOSTS): write example.org, "
            "*.example.org or *, without a port"
        )
    return host
