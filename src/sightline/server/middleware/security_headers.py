"""Headers that tell browsers to take nothing from this server for more than it is."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.server.middleware.scopes import path_of

# OWASP REST Security Cheat Sheet, with Cross-Origin-Resource-Policy on top. That one stops other sites from
# embedding answers (<img>, <script>); fetch() in CORS mode is not subject to it: allowed origins still work.
HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


# A year, as preload lists of browsers want it at least; names below this one decide for themselves.
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """Puts six constant headers on every response, and ``Cache-Control: no-store`` where none is set.

    ``policy_by_path`` gives single paths (a page of documentation) a Content-Security-Policy of their own.
    An app's own values of the six are replaced. With ``https_only`` answers over TLS tell browsers to use
    nothing else from now on; over plain HTTP they would not believe it (RFC 6797, 7.2).
    """

    def __init__(
        self, app: ASGIApp, *, policy_by_path: Mapping[str, str] | None = None, https_only: bool = False
    ) -> None:
        self._app = app
        self._https_only = https_only
        self._default = _encoded(HEADERS)
        self._by_path = {
            path: _encoded({**HEADERS, "Content-Security-Policy": policy})
            for path, policy in (policy_by_path or {}).items()
        }
        self._names = frozenset(name for name, _ in self._default)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        constant = list(self._by_path.get(path_of(scope), self._default))
        if self._https_only and scope.get("scheme") == "https":
            constant.append(STRICT_TRANSPORT)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower(), value) for name, value in message.get("headers", ())]
                headers = [(name, value) for name, value in own if name not in self._names]
                headers.extend(constant)
                if all(name != b"cache-control" for name, _ in own):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_guarded)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
