"""Under which names this server answers, and that it does so over TLS."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import quote

import idna
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError, UntrustedHost
from sightline.server.middleware.refusals import announces_long_body, closing, refusal
from sightline.server.middleware.scopes import header_values, path_of

ANY = "*"
# Names that nobody else can let lead here, or anywhere else (RFC 6761, 6.3).
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")

_HOST = r"(?:\[(?P<literal>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?)"
_HOST_HEADER = re.compile(_HOST + r"(?::[0-9]*)?")
_HOST_ALONE = re.compile(_HOST)


class TrustedHosts:
    """Answers 400 to requests for names that are not among ``hosts``, except on ``free_paths``.

    A name stands for itself, ``*.example.org`` for every name below, ``*`` for any. Ports do not count.
    Probes come by address, hence the free paths. With ``only_on_loopback`` requests that came in on another
    address of this machine pass: another server may listen for this app where the settings know nothing of.

    Why: whoever owns a name can have it lead to this machine after a browser on it has loaded their page,
    which may then read whatever is answered under that name (DNS rebinding).

    Raises:
        ConfigurationError: a pattern that matches no host.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        free_paths: Collection[str] = (),
        only_on_loopback: bool = False,
    ) -> None:
        self._app = app
        self._any = ANY in hosts
        written = [_pattern(host) for host in hosts if host != ANY]
        self._names = frozenset(host for host in written if not host.startswith("*"))
        self._endings = tuple(host[1:] for host in written if host.startswith("*"))
        self._free_paths = frozenset(free_paths)
        self._only_on_loopback = only_on_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._trusts(scope):
            await self._app(scope, receive, send)
            return
        response = refusal(
            scope,
            400,
            UntrustedHost.code,
            "this server does not answer to the name in the Host header; who runs it can add names to "
            "SIGHTLINE_ALLOWED_HOSTS",
        )
        await response(scope, receive, send)

    def _trusts(self, scope: Scope) -> bool:
        if self._any or path_of(scope) in self._free_paths:
            return True
        if self._only_on_loopback and not came_in_on_loopback(scope):
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
    """The name in Host, lowercase, without port and last dot, an IPv6 address as short as it can be written;
    None where there is none, more than one, or something else, such as a user's name before it."""
    values = header_values(scope, b"host")
    if len(values) != 1 or not values[0].isascii():
        return None
    return _read(_HOST_HEADER.fullmatch(values[0].decode("ascii").strip(" \t").lower()))


def _read(found: re.Match[str] | None) -> str | None:
    return found and (found["name"] or _ipv6(found["literal"]))


def _ipv6(written: str) -> str | None:
    try:
        return f"[{ipaddress.IPv6Address(written).compressed}]"
    except ValueError:
        return None


def came_in_on_loopback(scope: Scope) -> bool:
    """Also where the server does not say."""
    address = (scope.get("server") or ("127.0.0.1", None))[0]
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False  # the path of a socket, which browsers do not reach


def _pattern(written: str) -> str:
    """As :func:`host_of` writes it, or ``*.`` and such a name."""
    wildcard, name = ("*.", written[2:]) if written.startswith("*.") else ("", written)
    try:
        # As browsers write an international name.
        name = name.lower() if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        name = ""
    host = _read(_HOST_ALONE.fullmatch(name)) or _ipv6(name)
    if host is None or (wildcard and host.startswith("[")):
        raise ConfigurationError(
            f"{written!r} is no host for SIGHTLINE_ALLOWED_HOSTS (ALLOWED_HOSTS): write example.org, "
            "*.example.org or *, without a port"
        )
    return wildcard + host
