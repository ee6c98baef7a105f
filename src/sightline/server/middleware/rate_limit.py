"""How often one client may ask: moving windows per path, judged before a byte of the body is read."""

from __future__ import annotations

import ipaddress
import math
import re
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.api_key import key_name
from sightline.server.middleware.redis_windows import RedisWindows
from sightline.server.middleware.refusals import refusal
from sightline.server.middleware.scopes import is_below, path_of

OFF = "off"
MEMORY = "memory"
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "month": 2_592_000, "year": 31_104_000}
_RATE = re.compile(
    rf"\s*(?P<amount>\d{{1,9}})\s*(?:/|\bper\b)\s*(?P<multiple>\d{{1,6}})?\s*(?P<unit>{'|'.join(_SECONDS)})s?\s*"
)
# Windows of clients that have not come back are dropped after this many requests.
_SWEEP_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``amount`` requests in any ``window_s`` seconds."""

    amount: int
    window_s: int


class RateLimit:
    """Answers 429 with ``Retry-After`` once a client has used up one of its rates.

    ``rates_by_prefix`` gives rates ("10/minute") for a path and all below it, or for several such paths
    together; a request counts against every prefix it is under, and one that is refused counts against none.
    ``free_paths`` are never counted. The client is the peer of the connection, for IPv6 its /64.
    ``key_rates_by_prefix`` are counted per API key instead, whatever address it is used from. ``store`` is
    "memory" (counts of this process alone, by a clock that nobody sets) or the address of a Redis that
    several servers share. While that does not answer, each server counts alone.

    Raises:
        ConfigurationError: a rate that does not parse. A single "off" is no rate at all.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rates_by_prefix: Mapping[str | tuple[str, ...], Collection[str]],
        key_rates_by_prefix: Mapping[str | tuple[str, ...], Collection[str]] | None = None,
        free_paths: Collection[str] = (),
        store: str = MEMORY,
    ) -> None:
        self._app = app
        self._windows = _Windows()
        self._shared = None if store == MEMORY else RedisWindows(store)
        self._rates = _read_all(rates_by_prefix)
        self._key_rates = _read_all(key_rates_by_prefix or {})
        self._free_paths = frozenset(free_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        wait_s = await self._count(scope) if scope["type"] == "http" else None
        if wait_s is None:
            await self._app(scope, receive, send)
            return
        message = f"too many requests; try again in {wait_s} s"
        response = refusal(scope, 429, "rate_limited", message, {"Retry-After": str(wait_s)})
        await response(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if self._shared is not None:
                await self._shared.aclose()

    async def _count(self, scope: Scope) -> int | None:
        """Count the request, or say in how many whole seconds there will be room for it."""
        path = path_of(scope)
        if path in self._free_paths:
            return None
        client = client_of(scope)
        asked = [(prefixes, rate, client) for prefixes, rate in self._rates if is_below(path, prefixes)]
        if (key := key_name(scope)) is not None:
            asked += [
                (prefixes, rate, f"key {key}")
                for prefixes, rate in self._key_rates
                if is_below(path, prefixes)
            ]
        if not asked:
            return None
        shared = None if self._shared is None else await self._shared.count(asked)
        return self._windows.count(asked) if shared is None else shared or None


Counted = tuple[tuple[str, ...], Rate, str]


class _Windows:
    """When the latest requests of each client came, as many as its rate allows."""

    def __init__(self) -> None:
        self._times: dict[Counted, deque[float]] = {}
        self._since_sweep = 0

    def count(self, asked: Collection[Counted]) -> int | None:
        """Count a request against each of ``asked``, or against none and say how long to wait, in seconds."""
        now = time.monotonic()
        waits_s = [wait_s for each in asked if (wait_s := self._wait_s(each, now)) is not None]
        if waits_s:
            return max(waits_s)
        for each in asked:
            self._times.setdefault(each, deque(maxlen=each[1].amount)).append(now)
        self._since_sweep += 1
        if self._since_sweep >= _SWEEP_EVERY:
            self._sweep(now)
        return None

    def _wait_s(self, counted: Counted, now: float) -> int | None:
        _, rate, _ = counted
        times = self._times.get(counted)
        # A request that is exactly one window old still counts, so whole seconds are rounded past it.
        if times is None or len(times) < rate.amount or times[0] + rate.window_s < now:
            return None
        return max(1, math.floor(times[0] + rate.window_s - now) + 1)

    def _sweep(self, now: float) -> None:
        self._since_sweep = 0
        self._times = {
            counted: times
            for counted, times in self._times.items()
            if times and times[-1] + counted[1].window_s >= now
        }


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


def by_route(written: Collection[str], setting: str) -> dict[str | tuple[str, ...], list[str]]:
    """Rates of a setting by path: ``/v1=100/minute``, or ``100/minute`` for all routes together.

    Raises:
        ConfigurationError: a path does not begin with a slash.
    """
    rates: dict[str | tuple[str, ...], list[str]] = {}
    for each in written:
        path, equals, rate = each.rpartition("=")
        if equals and not path.strip().startswith("/"):
            raise ConfigurationError(
                f"{setting}: {each!r} is not a rate; expected one such as /v1=100/minute"
            )
        rates.setdefault(path.strip() or "/", []).append(rate.strip())
    return rates


def _read_all(
    rates_by_prefix: Mapping[str | tuple[str, ...], Collection[str]],
) -> list[tuple[tuple[str, ...], Rate]]:
    return [
        (_prefixes(prefix), _parsed(rate))
        for prefix, rates in rates_by_prefix.items()
        for rate in rates
        if tuple(rates) != (OFF,)
    ]


def _prefixes(written: str | tuple[str, ...]) -> tuple[str, ...]:
    each = (written,) if isinstance(written, str) else written
    return tuple(prefix.rstrip("/") for prefix in each)


def _parsed(written: str) -> Rate:
    found = _RATE.fullmatch(written.lower())
    rate = found and Rate(int(found["amount"]), int(found["multiple"] or 1) * _SECONDS[found["unit"]])
    if not rate or rate.amount < 1 or rate.window_s < 1:
        raise ConfigurationError(f"{written!r} is no rate: write 10/minute, 200/day, or off alone")
    return rate
