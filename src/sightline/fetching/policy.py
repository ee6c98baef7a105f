"""Limits and timeouts of a fetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sightline.fetching.addresses import Network
from sightline.settings import Settings


@dataclass(frozen=True)
class FetchPolicy:
    """Limits of one fetch; the figures come from the settings.

    Attributes:
        timeout_s: the whole fetch, redirects included.
        connect_timeout_s: connecting to a checked address, TLS included, per hop.
        dns_timeout_s: resolving a name, per hop.
        idle_timeout_s: silence while a response is awaited or read.
        max_redirects: redirects followed; one more fails the fetch.
        ports: ports a URL may name or imply.
        allow_networks: networks that may be reached although they are not public.
    """

    timeout_s: float
    connect_timeout_s: float
    dns_timeout_s: float
    idle_timeout_s: float
    max_redirects: int
    ports: tuple[int, ...]
    allow_networks: tuple[Network, ...]

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            timeout_s=settings.fetch_timeout_s,
            connect_timeout_s=settings.fetch_connect_timeout_s,
            dns_timeout_s=settings.fetch_dns_timeout_s,
            idle_timeout_s=settings.fetch_idle_timeout_s,
            max_redirects=settings.fetch_max_redirects,
            ports=settings.fetch_ports,
            allow_networks=settings.fetch_allow_networks,
        )
