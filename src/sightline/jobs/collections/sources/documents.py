"""Documents of a service whose address somebody typed: fetched patiently, within limits.

The addresses that may be reached are those of images by URL: public ones, and what the settings open.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpcore2

from sightline import __version__
from sightline.errors import ExamplesUnreachable, UrlRefused
from sightline.fetching import FetchPolicy, Resolver
from sightline.fetching.backend import GuardedBackend
from sightline.fetching.resolver import SystemResolver
from sightline.fetching.urls import FetchUrl
from sightline.settings import MIB

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a service may keep us waiting. ``attempts`` are for each document; pauses double."""

    timeout_s: float = 900.0
    idle_timeout_s: float = 60.0
    attempts: int = 4
    pause_s: float = 1.0
    longest_pause_s: float = 30.0


class _PassingTrouble(Exception):
    """Worth another attempt, after ``pause_s`` if the service named a time."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class Documents:
    """Fetches documents below one address. Use as an async context manager."""

    def __init__(
        self,
        base_url: str,
        policy: FetchPolicy,
        *,
        patience: Patience | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """Raises UrlRefused for an address that cannot be one. Its port is allowed because it was typed."""
        self._base = base_url.rstrip("/")
        self._ports = (*policy.ports, *_port_of(self._base))
        FetchUrl.parse(self._base, self._ports)
        self._policy = policy
        self._patience = patience or Patience()
        self._own_resolver: SystemResolver | None = None
        if resolver is None:
            resolver = self._own_resolver = SystemResolver()
        backend = GuardedBackend(
            resolver,
            dns_timeout_s=policy.dns_timeout_s,
            allow_networks=policy.allow_networks,
        )
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context(), network_backend=backend
        )

    @property
    def base(self) -> str:
        return self._base

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pool.aclose()
        if self._own_resolver is not None:
            self._own_resolver.close()

    async def fetch(self, path: str, max_bytes: int) -> bytes:
        """The document at ``path`` below the base, at most ``max_bytes`` long.

        Raises:
            ExamplesUnreachable: it is not there, too long, or was not to be had with patience.
        """
        url = FetchUrl.parse(f"{self._base}/{path}", self._ports)
        for attempt in itertools.count(1):
            try:
                async with asyncio.timeout(self._patience.timeout_s):
                    return await self._follow(url, max_bytes)
            except UrlRefused as error:
                raise ExamplesUnreachable(
                    f"{url} may not be reached: {error} SIGHTLINE_FETCH_ALLOW_NETWORKS opens networks"
                ) from error
            except TimeoutError:
                raise ExamplesUnreachable(
                    f"{url} did not arrive within {self._patience.timeout_s:g} s"
                ) from None
            except _PassingTrouble as trouble:
                if attempt >= self._patience.attempts:
                    raise ExamplesUnreachable(f"{url} {trouble}, {attempt} times") from trouble.__cause__
                pause_s = max(trouble.pause_s, self._patience.pause_s * 2 ** (attempt - 1))
                await asyncio.sleep(min(pause_s, self._patience.longest_pause_s))
        raise AssertionError("unreachable")

    async def _follow(self, url: FetchUrl, max_bytes: int) -> bytes:
        for _ in range(self._policy.max_redirects + 1):
            try:
                answer = await self._get(url, max_bytes)
            except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
                raise _PassingTrouble(f"did not answer ({type(error).__name__})") from error
            except OSError as error:  # a damaged TLS record is the ssl module's own error
                raise _PassingTrouble(f"did not answer ({error.strerror or type(error).__name__})") from error
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise ExamplesUnreachable(f"{url} is behind more than {self._policy.max_redirects} redirects")

    async def _get(self, url: FetchUrl, max_bytes: int) -> bytes | FetchUrl:
        async with self._pool.stream(
            "GET",
            httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
            headers=[
                ("Host", url.authority),
                ("User-Agent", f"sightline/{__version__}"),
                ("Accept", "application/json, text/html;q=0.5"),
                ("Accept-Encoding", "identity"),
            ],
            extensions={
                "timeout": {
                    "connect": self._policy.connect_timeout_s,
                    "read": self._patience.idle_timeout_s,
                    "write": self._patience.idle_timeout_s,
                    "pool": self._patience.idle_timeout_s,
                },
                "sni_hostname": url.server_name,
            },
        ) as response:
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
            }
            if response.status in _REDIRECTS and "location" in headers:
                return url.redirect(headers["location"], self._ports)
            _admit(url, response.status, headers, max_bytes)
            return await _body(url, response, max_bytes)


def _port_of(url: str) -> tuple[int, ...]:
    """The port that an address names, if it does."""
    try:
        port = urlsplit(url).port
    except ValueError:
        return ()
    return (port,) if port else ()


def _admit(url: FetchUrl, status: int, headers: Mapping[str, str], max_bytes: int) -> None:
    if status in _GONE:
        raise ExamplesUnreachable(f"{url} is gone: the service answered {status}")
    if status in _PASSING:
        after = headers.get("retry-after", "").strip()
        raise _PassingTrouble(f"was answered with {status}", float(after[:6]) if after.isdecimal() else 0.0)
    if status != 200:
        raise ExamplesUnreachable(f"{url} was answered with {status}")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ExamplesUnreachable(f"{url} came compressed, which nobody asked for")
    if int(headers.get("content-length", "0")) > max_bytes:  # h11 has checked that it is a number
        raise _too_large(url, max_bytes)


async def _body(url: FetchUrl, response: httpcore2.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_stream()) as stream:
        async for piece in stream:
            if len(body) + len(piece) > max_bytes:
                raise _too_large(url, max_bytes)
            body += piece
    return bytes(body)


def _too_large(url: FetchUrl, max_bytes: int) -> ExamplesUnreachable:
    return ExamplesUnreachable(f"{url} is longer than {max_bytes // MIB} MiB")
