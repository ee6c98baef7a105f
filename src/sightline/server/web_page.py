"""Pages for people, ``/``, ``/models``, ``/collections`` and ``/library``, with their files below ``/web``.

They are plain files beside this module. They need no key because they hold no secrets: their scripts send the
key that a person enters. Addresses in them are relative, so they work below the root path of a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.server.middleware.scopes import is_below, path_of

_FOLDER = Path(__file__).with_name("web")
_PAGES: Mapping[str, str] = {
    "/": "index.html",
    "/models": "models.html",
    "/collections": "collections.html",
    "/library": "library.html",
}
_ASSETS = "/web"
# No inline script or style, and nothing from another host. blob: is a photo that was just chosen.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CONTENT_SECURITY_POLICIES: Mapping[str, str] = dict.fromkeys(_PAGES, _POLICY)
# A browser asks whether a file has changed, and gets 304 if not: an update is seen at once.
_CACHE = (b"cache-control", b"no-cache")


class WebPages:
    """Answer GET requests for pages and their files; pass everything else on to ``app``.

    ``/`` is a page for clients that prefer HTML to JSON, as browsers do. Others get what ``app`` answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._assets = StaticFiles(directory=_FOLDER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        path = path_of(scope)
        if path == "/":
            is_page = prefers_html(Headers(scope=scope).get("accept", ""))
            send = _varying(send)
        else:
            is_page = path in _PAGES
        if is_page:
            page = FileResponse(_FOLDER / _PAGES[path], media_type="text/html")
            await page(scope, receive, _cached(send))
        elif is_below(path, (_ASSETS,)):
            below = {**scope, "path": path.removeprefix(_ASSETS) or "/", "root_path": ""}
            try:
                await self._assets(below, receive, _cached(send))
            except HTTPException:  # no such file: the app says so in its own way
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def prefers_html(accept: str) -> bool:
    """Return whether an Accept header names text/html, and gives JSON no higher quality."""
    qualities: dict[str, float] = {}
    for entry in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            qualities[media_type] = float(quality)
        except ValueError:
            qualities[media_type] = 0.0
    html = qualities.get("text/html", 0.0)
    return html > 0 and html >= qualities.get("application/json", 0.0)


def _cached(send: Send) -> Send:
    return _with(send, _CACHE)


def _varying(send: Send) -> Send:
    return _with(send, (b"vary", b"Accept"))


def _with(send: Send, header: tuple[bytes, bytes]) -> Send:
    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return send_with
