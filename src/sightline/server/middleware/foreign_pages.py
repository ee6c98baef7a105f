"""Keeps pages of other sites from using a server that needs no key."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.server.middleware.hosts import came_in_on_loopback
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import header_values

# They change nothing, and what they answer a page of another site cannot read.
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})


class ForeignPages:
    """Refuses with 403 what a browser sends for a page of another site, unless ``Cors`` allowed that site.

    A form or ``fetch(..., {mode: "no-cors"})`` is sent without a preflight. The page cannot read the answer,
    but the work is done: a question to a vision-language model costs money. Browsers name the page's site in
    ``Origin`` on every request but GET and HEAD; other clients send no such header. Requests that came in on
    an address other than loopback pass: pages are not what keeps others from using those.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._admits(scope):
            await self._app(scope, receive, send)
            return
        response = refusal(
            scope,
            403,
            "untrusted_origin",
            "pages of other sites may not use this server; who runs it can set an API key, or add the origin "
            "to SIGHTLINE_V1_ORIGINS, SIGHTLINE_ALLOWED_ORIGINS or SIGHTLINE_CORS_ORIGINS",
        )
        await response(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        origins = header_values(scope, b"origin")
        if not origins or scope["method"] in _HARMLESS or not came_in_on_loopback(scope):
            return True
        if scope.get("state", {}).get("allowed_origin"):
            return True
        if header_values(scope, b"sec-fetch-site") == [b"same-origin"]:
            return True  # also behind a proxy that renames the host
        host = header_values(scope, b"host")
        return len(origins) == 1 and len(host) == 1 and _site(origins[0]) == host[0].lower()


def _site(origin: bytes) -> bytes:
    """Host and port, as the Host header has them."""
    try:
        return urlsplit(origin.lower()).netloc
    except ValueError:
        return b""
