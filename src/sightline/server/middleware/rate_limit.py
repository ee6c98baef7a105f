"""How often one client may ask: moving windows per path, judged before a byte of the body is read."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import path_of

OFF = "off"


class RateLimit:
    """Answers 429 with ``Retry-After`` once a client has used up one of its rates.

    ``rates_by_prefix`` gives rates ("10/minute") for a path and all below it, or for several such paths
    together; a request counts against every prefix it is under, and one that is refused counts against none.
    ``free_paths`` are never counted. The client is the peer of the connection, for IPv6 its /64. Counts are
    kept in memory, one process's own.

    Raises:
        ConfigurationError: a rate that does not parse. A single "off" is no rate at all.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rates_by_prefix: Mapping[str | tuple[str, ...], Collection[str]],
        free_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._rates = [
            (_prefixes(prefix), _parsed(rate))
            for prefix, rates in rates_by_prefix.items()
            for rate in rates
            if tuple(rates) != (OFF,)
        ]
        self._free_paths = frozenset(free_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait_s = self._count(scope) if scope["type"] == "http" else None
        if wait_s is None:
            await self._app(scope, receive, send)
            return
        message = f"too many requests; try again in {wait_s} s"
        response = refusal(scope, 429, "rate_limited", message, {"Retry-After": str(wait_s)})
        await response(scope, receive, send)

    def _count(self, scope: Scope) -> int | None:
        """Count the request, or say in how many whole seconds there will be room for it."""
        path = path_of(scope)
        if path in self._free_paths:
            return None
        client = client_of(scope)
        rates = [
            (rate, ",".join(prefixes), client)
            for prefixes, rate in self._rates
            if any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)
        ]
        waits_s = [self._wait_s(*each) for each in rates if not self._windows.test(*each)]
        if waits_s:
            return max(waits_s)
        for each in rates:
            self._windows.hit(*each)
        return None

    def _wait_s(self, rate: RateLimitItem, prefix: str, client: str) -> int:
        reset_at = self._windows.get_window_stats(rate, prefix, client).reset_time
        # A request that is exactly one window old still counts, so whole seconds are rounded past it.
        return max(1, math.floor(reset_at - time.time()) + 1)


def client_of(scope: Scope) -> str:
    """What a request is counted under: the peer's address, an IPv6 peer's /64.

    One customer of an access provider commands at least a /64 (RFC 6177); counting each of its 2^64 addresses
    would limit nobody.
    """
    peer = scope.get("client")
    if not peer:
        return "local"  # a Unix socket
    try:
        address = ipaddress.ip_address(peer[0])
    except ValueError:
        return str(peer[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address.packed, 64), strict=False))


def _prefixes(written: str | tuple[str, ...]) -> tuple[str, ...]:
    each = (written,) if isinstance(written, str) else written
    return tuple(prefix.rstrip("/") for prefix in each)


def _parsed(written: str) -> RateLimitItem:
    rate: RateLimitItem | None = None
    with suppress(ValueError):
        rate = parse(written)
    if rate is None or rate.amount < 1:
        raise ConfigurationError(f"{written!r} is no rate: write 10/minute, 200/day, or off alone")
    return rate
