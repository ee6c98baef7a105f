"""The fetch itself: one GET after another until there is a body, under one clock and one byte cap."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import TracebackType
from typing import Self

import httpcore2

from sightline import __version__
from sightline.errors import FetchFailed, FetchTimeout, ImageTooLarge
from sightline.fetching.backend import GuardedBackend
from sightline.fetching.policy import FetchPolicy
from sightline.fetching.resolver import Resolver, SystemResolver
from sightline.fetching.urls import FetchUrl

# One sentence for a closed port, an unknown name, a 404 and a broken answer: whoever sends URLs must not
# learn from us what the network around us looks like.
FAILED = "The image could not be fetched from the URL."
TIMED_OUT = "The image did not arrive from the URL in time."

MAX_CONCURRENT_FETCHES = 32
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PARTIAL = 206  # never asked for
# A body of one-byte chunks costs 10 µs of the event loop per byte. Servers send kilobytes at a time and the
# smallest usual TCP segment is 536 bytes, so past a start that may stutter, pieces must be worth the trouble.
_FREE_PIECES = 4096
_MEAN_PIECE_BYTES = 256


class Fetcher:
    """Fetches images by URL under a policy. One for all requests; safe for many tasks of one event loop.

    Every fetch opens a connection of its own and closes it, so nothing of one caller (cookies, leftover
    bytes, an address that was checked long ago) can meet another.

    Args:
        resolver: asked instead of the machine's own; see :data:`sightline.fetching.Resolver`.
        max_concurrent: fetches under way at once; more wait for their turn.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        resolver: Resolver | None = None,
        max_concurrent: int = MAX_CONCURRENT_FETCHES,
    ) -> None:
        self._policy = policy
        self._own_resolver: SystemResolver | None = None
        if resolver is None:
            resolver = self._own_resolver = SystemResolver()
        self._backend = GuardedBackend(
            resolver, dns_timeout_s=policy.dns_timeout_s, allow_networks=policy.allow_networks
        )
        self._ssl_context = httpcore2.default_ssl_context()
        self._turns = asyncio.Semaphore(max_concurrent)

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """The body behind ``url``, at most ``max_bytes`` long.

        Waiting for a turn is not on the policy's clock; the caller's own deadline bounds it. A cancelled
        fetch closes its connection.

        Raises:
            UrlRefused: the URL, or one it redirects to, breaks a rule or leads to an address that is closed.
            FetchFailed: anything else that went wrong on the network, an HTTP error status included.
            FetchTimeout: one of the policy's clocks ran out.
            ImageTooLarge: the body is longer than ``max_bytes``, announced or real.
        """
        first = FetchUrl.parse(url, self._policy.ports)
        async with self._turns:
            try:
                async with asyncio.timeout(self._policy.timeout_s):
                    return await self._follow(first, max_bytes)
            except (TimeoutError, httpcore2.TimeoutException) as error:
                raise FetchTimeout(TIMED_OUT) from error
            # httpcore2 lets a damaged TLS record through as the ssl module's own error, an OSError.
            except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
                raise FetchFailed(FAILED) from error

    async def _follow(self, url: FetchUrl, max_bytes: int) -> bytes:
        for _ in range(self._policy.max_redirects + 1):
            answer = await self._get(url, max_bytes)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise FetchFailed(FAILED)

    async def _get(self, url: FetchUrl, max_bytes: int) -> bytes | FetchUrl:
        """One request: the body, or where to go next."""
        request_url = httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        headers = [
            ("Host", url.authority),
            ("User-Agent", f"sightline/{__version__}"),
            ("Accept", "image/*, */*;q=0.1"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        timeouts = {
            "connect": self._policy.connect_timeout_s,
            "read": self._policy.idle_timeout_s,
            "write": self._policy.idle_timeout_s,
        }
        async with (
            httpcore2.AsyncConnectionPool(
                ssl_context=self._ssl_context, max_keepalive_connections=0, network_backend=self._backend
            ) as pool,
            pool.stream(
                "GET",
                request_url,
                headers=headers,
                extensions={"timeout": timeouts, "sni_hostname": url.server_name},
            ) as response,
        ):
            if response.status in _REDIRECTS:
                return url.redirect(_location(response), self._policy.ports)
            return await _body(response, max_bytes)

    async def aclose(self) -> None:
        """Give back what the fetcher holds. Fetches still under way belong to their callers and end there."""
        if self._own_resolver is not None:
            self._own_resolver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _location(response: httpcore2.Response) -> str:
    locations = _values(response, b"location")
    if not locations:
        raise FetchFailed(FAILED)
    try:
        return locations[0].decode("utf-8")  # servers do send it raw
    except UnicodeDecodeError:
        return locations[0].decode("latin-1")


async def _body(response: httpcore2.Response, max_bytes: int) -> bytes:
    if not 200 <= response.status < 300 or response.status == _PARTIAL:
        raise FetchFailed(FAILED)
    # Identity was asked for. Anything else would have to be inflated, and could be a bomb.
    encodings = b",".join(_values(response, b"content-encoding")).lower().split(b",")
    if any(encoding.strip() not in (b"", b"identity") for encoding in encodings):
        raise FetchFailed(FAILED)
    # h11 has checked that there is one length, and that it is a number.
    if any(int(length) > max_bytes for length in _values(response, b"content-length")):
        raise _too_large(max_bytes)
    body = bytearray()
    pieces = 0
    async with aclosing(response.aiter_stream()) as stream:
        async for piece in stream:
            if len(body) + len(piece) > max_bytes:
                raise _too_large(max_bytes)
            body += piece
            pieces += 1
            if pieces > _FREE_PIECES and len(body) < pieces * _MEAN_PIECE_BYTES:
                raise FetchFailed(FAILED)
    return bytes(body)


def _too_large(max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(f"The image behind the URL is larger than {max_bytes} bytes.")


def _values(response: httpcore2.Response, name: bytes) -> list[bytes]:
    return [value for key, value in response.headers if key.lower() == name]
