"""How errors are written: each contract's own form, by path."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.server.middleware.scopes import is_below, path_of
from sightline.server.problems import WriteError, write_detail


class ErrorForms:
    """Note how errors of a request are written, in ``scope["state"]["write_error"]``.

    ``by_prefixes`` gives the form for paths and all below them. Other errors are ``{"detail": ...}``.
    """

    def __init__(self, app: ASGIApp, *, by_prefixes: Mapping[tuple[str, ...], WriteError]) -> None:
        self._app = app
        self._forms = tuple(by_prefixes.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = path_of(scope)
            forms = (write for prefixes, write in self._forms if is_below(path, prefixes))
            scope.setdefault("state", {})["write_error"] = next(forms, write_detail)
        await self._app(scope, receive, send)
