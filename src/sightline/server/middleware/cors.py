"""Which pages of other sites may call: CORS for some origins, below some paths."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.scopes import header_values, is_below, path_of

ALLOWED_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
EXPOSED_HEADERS = ("Retry-After", "X-Request-ID", "X-Sightline-Warning")
ANY = "*"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Cors:
    """Answers preflights of ``origins`` for each ``prefix`` and all below it, and marks responses as theirs.

    ``paths`` are single ones, without what is below them. With ``any_origin`` one of ``origins`` may be "*":
    every page may call. ``setting`` is what errors say to correct.

    Outside the API key, because browsers send preflights without headers. A request of any other origin
    passes as if this were not here. Nothing is sent that a browser keeps by itself (no cookies), so no
    credentials are allowed. An allowed request is marked in ``scope["state"]["allowed_origin"]``.

    Raises:
        ConfigurationError: an origin that is not ``http(s)://host[:port]``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        prefix: str | Collection[str],
        origins: Collection[str],
        paths: Collection[str] = (),
        any_origin: bool = False,
        setting: str = "SIGHTLINE_CORS_ORIGINS (NEXTJS_DOMAIN)",
    ) -> None:
        self._app = app
        prefixes = (prefix,) if isinstance(prefix, str) else prefix
        self._prefixes = tuple(each.rstrip("/") for each in prefixes)
        self._paths = frozenset(paths)
        self._any = any_origin and ANY in origins
        self._origins = frozenset(() if self._any else (_origin(written, setting) for written in origins))
        self._shared = CORSMiddleware(
            app,
            allow_origins=(ANY,) if self._any else self._origins,
            allow_methods=ALLOWED_METHODS,
            allow_headers=("*",),  # as both replaced services allowed: a preflight is granted what it asks
            expose_headers=EXPOSED_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._concerns(scope):
            scope.setdefault("state", {})["allowed_origin"] = True
            await self._shared(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _concerns(self, scope: Scope) -> bool:
        path = path_of(scope)
        if path not in self._paths and not is_below(path, self._prefixes):
            return False
        given = header_values(scope, b"origin")
        return len(given) == 1 and (self._any or given[0].decode("latin-1") in self._origins)


def _origin(written: str, setting: str) -> str:
    """``written`` as browsers send it: lowercase, without a slash at the end or the scheme's own port."""
    wrong = ConfigurationError(
        f"{written!r} is no origin for {setting}: write https://host or https://host:port, in ASCII"
    )
    try:
        parts = urlsplit(written.lower())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    beyond = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in _DEFAULT_PORTS or not host or "*" in host or beyond or not written.isascii():
        raise wrong
    host = f"[{host}]" if ":" in host else host
    own_port = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{own_port}"
