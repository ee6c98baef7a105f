"""The client: one polite try after another until there is a document, or the reason why there is none."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

import httpcore2

from sightline.errors import DocumentRefused, DocumentUnavailable
from sightline.fetching.resolver import Resolver, SystemResolver
from sightline.fetching.urls import FetchUrl
from sightline.jobs.koop.polite.body import BadDocument, Document
from sightline.jobs.koop.polite.bucket import Bucket, Learned
from sightline.jobs.koop.polite.clock import SYSTEM_CLOCK, Clock
from sightline.jobs.koop.polite.host import Failed, Host, Redirect, Traffic
from sightline.jobs.koop.polite.memory import Memory, Remember
from sightline.jobs.koop.polite.origins import Origin, admit, follow
from sightline.jobs.koop.polite.policy import PolitenessPolicy
from sightline.jobs.koop.polite.retry import backoff_s
from sightline.jobs.koop.polite.silence import Silence

T = TypeVar("T")


class PoliteClient:
    """Fetches documents of a few hosts. One for all workers of one event loop.

    It keeps connections alive and nothing else: no cookies, no proxy of the environment.

    Args:
        origins: where requests may go, redirects included: ``https://host[:port]``, anything after that is
            ignored. Plain ``http`` is taken for loopback addresses alone, which are not reached otherwise.
        learned: by origin, what :meth:`learned` gave at the end of an earlier run.

    Raises:
        ConfigurationError: an origin is none.
    """

    def __init__(
        self,
        policy: PolitenessPolicy,
        origins: Iterable[str],
        *,
        learned: Mapping[str, Learned] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 (jitter, no secret)
        self._earlier = dict(learned or {})
        self._own_resolver: SystemResolver | None = None
        if resolver is None:
            resolver = self._own_resolver = SystemResolver()
        ssl_context = httpcore2.default_ssl_context()
        self._memory = Memory(policy, clock, self.learned)
        self._hosts = {
            origin: Host(
                origin,
                Bucket(policy, clock, self._rng, self._earlier.get(str(origin))),
                policy,
                self._memory,
                clock=clock,
                resolver=resolver,
                ssl_context=ssl_context,
            )
            for origin in map(Origin.parse, origins)
        }

    async def fetch(self, url: str, *, max_bytes: int) -> Document:
        """The document behind ``url``, at most ``max_bytes`` long once inflated.

        Raises:
            DocumentGone: the host says that there is none (404, 410).
            DocumentRefused: not on the list of hosts, forbidden, too large, or redirected in a circle.
            DocumentUnavailable: all attempts failed (an empty answer is a failure too).
            HostSilent: so did everything else that was asked of its host, until patience ran out.
        """
        return await self.fetch_as(url, _whole, max_bytes=max_bytes)

    async def fetch_as(
        self, url: str, reader: Callable[[Document], T], *, max_bytes: int, etag: str | None = None
    ) -> T:
        """What ``reader`` makes of the document; it runs on a worker thread.

        A reader that raises :class:`BadDocument` fails the attempt; any other error of its passes through.
        ``etag`` is that of the document as it is known, which a host need not send again.

        Raises:
            Unchanged: it is still the one with this ``etag``.
            DocumentGone, DocumentRefused, DocumentUnavailable, HostSilent: see :meth:`fetch`.
        """
        first = admit(url, self._hosts)
        hearing = self._hosts[Origin.of(first)].hearing
        status: int | None = None
        reason = ""
        attempts = self._policy.attempts
        with hearing.wanted():
            for attempt in range(attempts):
                if attempt > 0:
                    await hearing.rest(backoff_s(attempt - 1, self._policy, self._rng))
                try:
                    document = await self._follow(first, max_bytes, etag)
                    return await asyncio.to_thread(reader, document)
                except Failed as failure:
                    status, reason = failure.status, str(failure)
                except BadDocument as failure:
                    status, reason = None, str(failure)
                hearing.failed(reason, status)
        tries = "once" if attempts == 1 else f"{attempts} times"
        raise DocumentUnavailable(f"{first} was asked for {tries}: {reason}", status=status)

    def begin_anew(self, url: str) -> None:
        """Give the host of ``url`` its full patience again, after it has been silent to one question.

        The next request still waits for the pause that its failures brought, and for one that it asked for.
        """
        host = self._hosts[Origin.of(admit(url, self._hosts))]
        host.hearing.begin_anew(host.left_alone_s)

    async def _follow(self, url: FetchUrl, max_bytes: int, etag: str | None) -> Document:
        seen = {url}
        for _ in range(self._policy.max_redirects + 1):
            host = self._hosts[Origin.of(url)]
            with host.hearing.wanted():
                answer = await host.ask(url, max_bytes, etag)
            if not isinstance(answer, Redirect):
                return answer
            following = follow(url, answer.location, self._hosts)
            if following in seen:
                raise DocumentRefused(f"{url} redirects in a circle")
            seen.add(following)
            url = following
        raise DocumentRefused(f"{url} redirects once more, after {self._policy.max_redirects} times")

    def learned(self) -> dict[str, Learned]:
        """What each host has taught us, by origin; what was known of others before is kept."""
        asked = {str(origin): host.bucket.learned() for origin, host in self._hosts.items()}
        return self._earlier | asked

    @contextmanager
    def remembering(self, remember: Remember) -> Iterator[None]:
        """During the block, hand what :meth:`learned` gives to ``remember`` again and again, so that a client
        which is made of it after a kill keeps the policy: a pause of a host at once, and never so late that
        a burst could be had twice. What ``remember`` raises, fetching raises.
        """
        self._memory.remember = remember
        try:
            yield
        finally:
            self._memory.remember = None

    def traffic(self) -> dict[str, Traffic]:
        """By origin."""
        return {str(origin): host.traffic for origin, host in self._hosts.items()}

    @property
    def clock(self) -> Clock:
        """What its waits are measured by."""
        return self._clock

    def silences(self) -> list[Silence]:
        """Hosts that owe an answer at this moment, however short a time."""
        return [each for host in self._hosts.values() if (each := host.silence) is not None]

    def answers(self, origin: str) -> bool:
        """Whether the last thing that was wanted of a host came."""
        return all(host.hearing.is_answered for name, host in self._hosts.items() if str(name) == origin)

    async def aclose(self) -> None:
        """Close all connections. Requests under way belong to their callers and fail."""
        for host in self._hosts.values():
            await host.aclose()
        if self._own_resolver is not None:
            self._own_resolver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _whole(document: Document) -> Document:
    if not document.body:
        raise BadDocument("the answer is empty")
    return document
