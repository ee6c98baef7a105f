"""One host: its bucket, its breaker, its connections, and a single request to it."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from ipaddress import ip_network

import httpcore2

from sightline.errors import DocumentGone, DocumentRefused, UrlRefused
from sightline.fetching.backend import GuardedBackend
from sightline.fetching.resolver import Resolver
from sightline.fetching.urls import FetchUrl
from sightline.jobs.koop.polite.body import BadDocument, Document, TooLarge, Unchanged, header, read_document
from sightline.jobs.koop.polite.breaker import Breaker, Turn
from sightline.jobs.koop.polite.bucket import Bucket
from sightline.jobs.koop.polite.clock import Clock
from sightline.jobs.koop.polite.memory import Memory
from sightline.jobs.koop.polite.origins import Origin
from sightline.jobs.koop.polite.policy import PolitenessPolicy
from sightline.jobs.koop.polite.retry import Answer, meaning_of, retry_after_s
from sightline.jobs.koop.polite.silence import Doing, Hearing, Silence

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
# Servers close idle connections after 5 to 75 s; one that dies under a request costs an attempt.
_KEEPALIVE_S = 4.0
# RFC 9110, section 8.8.3, in ASCII. Hosts write what they like; what is none is not sent back to them.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')
_NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passed between us and one host in this session.

    Attributes:
        requests: sent, redirects and retries included.
        throttled: answered with 429 or 503.
        failed: without a good answer for any other reason that a retry may cure.
        rate_per_s: the rate learned so far.
        paused_s: for how long from now the host is left alone; 0 if it is not.
    """

    requests: int
    throttled: int
    failed: int
    received_bytes: int
    rate_per_s: float
    paused_s: float


@dataclass(frozen=True, slots=True)
class Redirect:
    """``location`` as the host wrote it."""

    location: str


class Failed(Exception):
    """A request failed in a way that another try may cure."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Host:
    """Sends requests to one origin, as fast as it bears. An origin on this machine may be dialled, no other
    name may lead there.
    """

    def __init__(
        self,
        origin: Origin,
        bucket: Bucket,
        policy: PolitenessPolicy,
        memory: Memory,
        *,
        clock: Clock,
        resolver: Resolver,
        ssl_context: ssl.SSLContext,
    ) -> None:
        self.bucket = bucket
        self.hearing = Hearing(str(origin), policy.patience_s, clock)
        self._origin = origin
        self._policy = policy
        self._memory = memory
        self._clock = clock
        self._breaker = Breaker(policy, clock)
        self._slots = asyncio.Semaphore(policy.concurrent)
        self._under_way = 0
        self._requests = self._throttled = self._failed = self._received_bytes = 0
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=policy.concurrent,
            max_keepalive_connections=policy.concurrent,
            keepalive_expiry=_KEEPALIVE_S,
            network_backend=GuardedBackend(
                resolver,
                dns_timeout_s=policy.dns_timeout_s,
                allow_networks=_LOOPBACK if origin.is_loopback else (),
            ),
        )

    @property
    def traffic(self) -> Traffic:
        return Traffic(
            requests=self._requests,
            throttled=self._throttled,
            failed=self._failed,
            received_bytes=self._received_bytes,
            rate_per_s=self.bucket.rate_per_s,
            paused_s=self.bucket.paused_s,
        )

    @property
    def silence(self) -> Silence | None:
        """Whether the host owes an answer, and what is done meanwhile."""
        silent_s = self.hearing.silent_s
        if silent_s is None:
            return None
        now_s, unix_s = self._clock.now_s(), self._clock.unix_s()
        doing, until_s = self._doing(now_s)
        return Silence(
            str(self._origin),
            since_unix_s=unix_s - silent_s,
            for_s=silent_s,
            doing=doing,
            until_unix_s=None if until_s is None else unix_s + until_s - now_s,
            reason=self.hearing.reason,
        )

    @property
    def left_alone_s(self) -> float:
        """Seconds for which nothing is asked, because too much failed."""
        return self._breaker.left_s

    def _doing(self, now_s: float) -> tuple[Doing, float | None]:
        """And until when, by the clock's ``now_s``."""
        if paused_s := self.bucket.paused_s:
            asked = self.bucket.is_paused_as_asked
            return (Doing.RETRY_AFTER if asked else Doing.PAUSING), now_s + paused_s
        if left_s := self._breaker.left_s:
            return Doing.LEAVING_ALONE, now_s + left_s
        if self._under_way:
            return Doing.ASKING, None
        rests_until_s = self.hearing.rests_until_s
        return (Doing.IN_TURN, None) if rests_until_s is None else (Doing.BACKING_OFF, rests_until_s)

    async def ask(self, url: FetchUrl, max_bytes: int, etag: str | None = None) -> Document | Redirect:
        """One request, in its turn.

        Raises:
            Unchanged: the document is still the one with this ``etag``.
            Failed, BadDocument: another try may do better.
            DocumentGone, DocumentRefused: none will.
            HostSilent: its turn would come when patience with the host is over.
        """
        allow = self.hearing.require_patience
        # The slot comes first: a token is spent when it is taken.
        async with self._slots, self._breaker.turn(allow) as turn:
            sent_at_s = await self.bucket.take(allow)
            self._memory.spent()
            self._requests += 1
            self._under_way += 1
            try:
                async with asyncio.timeout(self._policy.attempt_timeout_s):
                    return await self._send(url, max_bytes, etag, turn, sent_at_s)
            except (TimeoutError, httpcore2.TimeoutException):
                self._failed += 1
                turn.ill()
                raise Failed("it did not answer in time") from None
            # httpcore2 lets a damaged TLS record through as the ssl module's own error, an OSError.
            except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
                self._failed += 1
                turn.ill()
                raise Failed(f"the connection failed ({type(error).__name__})") from None
            except UrlRefused as error:
                raise DocumentRefused(f"{url} is not fetched: {error}") from None
            finally:
                self._under_way -= 1

    async def _send(
        self, url: FetchUrl, max_bytes: int, etag: str | None, turn: Turn, sent_at_s: float
    ) -> Document | Redirect:
        headers = [
            ("Host", url.authority),
            ("User-Agent", self._policy.user_agent),
            ("Accept", "*/*"),
            ("Accept-Encoding", "gzip"),
        ]
        if is_conditional := etag is not None and _ETAG.fullmatch(etag) is not None:
            headers.append(("If-None-Match", etag))
        policy = self._policy
        timeouts = {
            "connect": policy.connect_timeout_s,
            "read": policy.idle_timeout_s,
            "write": policy.idle_timeout_s,
            "pool": None,
        }
        where = httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        extensions = {"timeout": timeouts, "sni_hostname": url.server_name}
        async with self._pool.stream("GET", where, headers=headers, extensions=extensions) as response:
            self._judge(response, url, turn, sent_at_s, is_conditional=is_conditional)
            if meaning_of(response.status) is Answer.REDIRECT:
                return Redirect(header(response, "location") or "")
            try:
                document = await read_document(response, str(url), max_bytes, self.hearing.heard)
            except TooLarge:
                raise DocumentRefused(f"{url} is larger than {max_bytes} bytes") from None
            except BadDocument:
                self._failed += 1
                raise
            self._received_bytes += document.received_bytes
            return document

    def _judge(
        self,
        response: httpcore2.Response,
        url: FetchUrl,
        turn: Turn,
        sent_at_s: float,
        *,
        is_conditional: bool,
    ) -> None:
        """Learn from the status. Returns if there is something to read or to follow."""
        status = response.status
        is_unchanged = is_conditional and status == _NOT_MODIFIED
        answer = Answer.GOOD if is_unchanged else meaning_of(status)
        if answer in (Answer.ILL, Answer.LATER):
            self._failed += 1
        elif answer is Answer.TOO_MUCH:
            self._throttled += 1
            wait_s = retry_after_s(
                header(response, "retry-after"),
                unix_s=self._clock.unix_s(),
                max_s=self._policy.max_retry_after_s,
            )
            paused_s = self.bucket.paused_s
            self.bucket.slow_down(sent_at_s, wait_s)
            if self.bucket.paused_s > paused_s:
                self._memory.tell()
        else:
            self.bucket.quicken(sent_at_s)
            self.hearing.heard()
        if answer is Answer.ILL or status == 503:
            turn.ill()
        else:
            turn.well()
        if is_unchanged:
            raise Unchanged
        if answer is Answer.GONE:
            raise DocumentGone(f"{url} is not there (HTTP {status})", status=status)
        if answer is Answer.REFUSED:
            raise DocumentRefused(f"{url} is refused (HTTP {status})", status=status)
        if answer not in (Answer.GOOD, Answer.REDIRECT):
            raise Failed(f"it answered HTTP {status}", status)

    async def aclose(self) -> None:
        await self._pool.aclose()
