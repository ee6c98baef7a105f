"""The open connections of a server, and what happens when there are too many or when one is silent.

As in nginx, the connection that has been idle for longest is closed for a new one, and no request under way
is cut for it. If none is idle, the new connection is read all the same: health checks are answered, anything
else gets 503.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from starlette.types import ASGIApp

_log = logging.getLogger(__name__)

# Connections above the limit that may be open for health checks: a balancer and its spare, and Prometheus.
RESERVED_CONNECTIONS = 32
# A flood must not fill the log.
LOG_INTERVAL_S = 10.0
# Timeouts are checked this often, or four times within the shortest of them.
CHECK_INTERVAL_S = 1.0

# Wraps an app that refuses: the refusal gets the headers, log line and metrics of any response.
Wrap = Callable[[ASGIApp], ASGIApp]


class Ending(StrEnum):
    """Why the server closed a connection by itself; a label of its metric."""

    SILENT = "silent"  # no request, or not all of its head, came in time
    DISPLACED = "displaced"  # it was idle, and a new one needed its place
    REFUSED = "refused"  # there was no place for it
    UNREAD = "unread"  # the client did not read its response


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """``max_per_address`` of 0 is no limit; ``proxies`` have none, as each speaks for many clients."""

    max_connections: int
    max_per_address: int = 0
    head_max_bytes: int = 32 * 1024
    head_timeout_s: float = 10.0
    write_timeout_s: float = 30.0
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()


class Connection(Protocol):
    """What the register asks of a connection."""

    @property
    def address(self) -> str: ...

    def close_now(self) -> None: ...

    def check(self, now_s: float) -> None: ...


class OpenConnections:
    """Register of a server's connections, which keeps their number within ``limits``.

    ``probes`` are the paths that are answered above the limit. Belongs to one event loop.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        wrap: Wrap,
        *,
        probes: Collection[str] = (),
        observe_end: Callable[[str], None] | None = None,
    ) -> None:
        self.limits = limits
        self.wrap = wrap
        self.probes = frozenset(probes)
        self._observe_end = observe_end
        self._open: dict[Connection, str] = {}
        self._per_address: Counter[str] = Counter()
        # Connections without a request under way, longest first: all, and those of each address.
        self._waiting: dict[Connection, None] = {}
        self._waiting_of: dict[str, dict[Connection, None]] = {}
        self._above: dict[Connection, None] = {}
        self._checks: asyncio.TimerHandle | None = None
        self._unlogged = 0
        self._logged_at_s = -LOG_INTERVAL_S

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Register a new connection, closing an idle one if there are too many.

        Return False if it is above the limit: it may ask for the ``probes`` alone.
        """
        address = connection.address
        within = self._make_room(address)
        if not within:
            self._make_room_above()
            self._above[connection] = None
        self._open[connection] = address
        self._per_address[address] += 1
        self.waits(connection)
        if self._checks is None:
            self._check_later()
        return within

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed. A second time changes nothing."""
        address = self._open.pop(connection, None)
        if address is None:
            return
        self.works(connection, address)
        self._above.pop(connection, None)
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]

    def waits(self, connection: Connection) -> None:
        """Note that no request of a connection is under way."""
        address = self._open.get(connection)
        if address is not None and connection not in self._above:
            self._waiting[connection] = None
            self._waiting_of.setdefault(address, {})[connection] = None

    def works(self, connection: Connection, address: str | None = None) -> None:
        """Note that a request of a connection is under way: it is not closed for another."""
        address = self._open.get(connection, address)
        if self._waiting.pop(connection, 0) is None and address is not None:
            waiting = self._waiting_of[address]
            waiting.pop(connection, None)
            if not waiting:
                del self._waiting_of[address]

    def end(self, connection: Connection, why: Ending) -> None:
        """Close a connection without waiting for its client, and count it."""
        self.remove(connection)
        connection.close_now()
        self.ended(why)

    def ended(self, why: Ending) -> None:
        """Count a connection that closes by itself."""
        if self._observe_end is not None:
            self._observe_end(why.value)

    def _make_room(self, address: str) -> bool:
        limits = self.limits
        most = limits.max_per_address
        if most and self._per_address[address] >= most and not self._is_proxy(address):
            return self._displace(self._waiting_of.get(address, {}), f"{most} per address")
        if len(self._open) - len(self._above) >= limits.max_connections:
            return self._displace(self._waiting, f"{limits.max_connections} in total")
        return True

    def _displace(self, waiting: dict[Connection, None], limit: str) -> bool:
        longest = next(iter(waiting), None)
        self._log_full(limit)
        if longest is None:
            return False
        self.end(longest, Ending.DISPLACED)
        return True

    def _make_room_above(self) -> None:
        if len(self._above) >= RESERVED_CONNECTIONS:
            self.end(next(iter(self._above)), Ending.REFUSED)

    def _log_full(self, limit: str) -> None:
        self._unlogged += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_at_s < LOG_INTERVAL_S:
            return
        _log.warning(
            "connection limit reached (%s): %d open, %d closed or refused since the last such line",
            limit, len(self._open), self._unlogged,
        )  # fmt: skip
        self._logged_at_s, self._unlogged = now_s, 0

    def _is_proxy(self, address: str) -> bool:
        if not self.limits.proxies:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self.limits.proxies)

    def _check_later(self) -> None:
        shortest_s = min(self.limits.head_timeout_s, self.limits.write_timeout_s)
        delay_s = min(CHECK_INTERVAL_S, shortest_s / 4)
        self._checks = asyncio.get_running_loop().call_later(delay_s, self._check)

    def _check(self) -> None:
        self._checks = None
        now_s = asyncio.get_running_loop().time()
        for connection in list(self._open):
            connection.check(now_s)
        if self._open:
            self._check_later()
