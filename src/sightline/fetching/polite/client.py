"""The client: one polite try after another until there is a document, or the reason why there is none."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from sightline.fetching.polite.body import Document
from sightline.fetching.polite.bucket import Learned
from sightline.fetching.polite.clock import SYSTEM_CLOCK, Clock
from sightline.fetching.polite.manners import Manners
from sightline.fetching.resolver import Resolver

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passed between us and one host in this session.

    Attributes:
        requests: sent, redirects and retries included.
        throttled: answered with 429 or 503.
        failed: without a good answer for any other reason a retry may cure.
        rate_per_s: the rate learned so far.
        paused_s: for how long from now the host is left alone; 0 if it is not.
    """

    requests: int
    throttled: int
    failed: int
    received_bytes: int
    rate_per_s: float
    paused_s: float


class PoliteClient:
    """Fetches documents of a few hosts. One for all workers of one event loop.

    Args:
        origins: where requests may go, redirects included: ``https://host[:port]``, anything after that is
            ignored. ``http`` is taken for loopback hosts alone, which may not be reached otherwise.
        learned: by origin, what :meth:`learned` gave at the end of an earlier run.

    Raises:
        ConfigurationError: an origin is none.
    """

    def __init__(
        self,
        manners: Manners,
        origins: Iterable[str],
        *,
        learned: Mapping[str, Learned] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        raise NotImplementedError

    async def fetch(self, url: str, *, max_bytes: int) -> Document:
        """The document behind ``url``, at most ``max_bytes`` long once inflated.

        Raises:
            DocumentGone: the host says that there is none (404, 410).
            DocumentRefused: not on the list of hosts, forbidden, too large, or redirected in a circle.
            DocumentUnavailable: all attempts failed, or patience ran out.
        """
        raise NotImplementedError

    async def fetch_as(self, url: str, reader: Callable[[Document], T], *, max_bytes: int) -> T:
        """What ``reader`` makes of the document; it runs on a worker thread.

        A reader that raises :class:`BadDocument` fails the attempt; any other error of its passes through.

        Raises:
            DocumentGone, DocumentRefused, DocumentUnavailable: see :meth:`fetch`.
        """
        raise NotImplementedError

    def learned(self) -> dict[str, Learned]:
        """What each host that was asked has taught us, by origin."""
        raise NotImplementedError

    def traffic(self) -> dict[str, Traffic]:
        """By origin; hosts that were not asked are left out."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close all connections."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
