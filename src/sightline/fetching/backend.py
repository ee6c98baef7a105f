"""The network as httpcore2 sees it: a name goes in, a connection to a checked address comes out.

Standing below the HTTP client has a price and a prize: the client never learns the address, so the ``Host``
header, SNI and the name in the certificate stay the URL's own by construction.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore2

from sightline.errors import UrlRefused
from sightline.fetching.addresses import Network, is_allowed
from sightline.fetching.resolver import Resolver

BLOCKED = "The URL's host is not a public internet address."
# A stranger's name server may list a thousand hosts; they do not all get a packet from us.
MAX_DIALLED = 4


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves once, refuses unless every answer is allowed, dials answers only.

    ``dialler`` opens the sockets and is given IP addresses, never names.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        dns_timeout_s: float,
        allow_networks: tuple[Network, ...] = (),
        dialler: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._resolver = resolver
        self._dns_timeout_s = dns_timeout_s
        self._allow_networks = allow_networks
        self._dialler = httpcore2.AnyIOBackend() if dialler is None else dialler

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to one of the addresses of ``host``, trying them in the resolver's order.

        ``timeout`` (seconds) covers all attempts and the TLS handshake that may follow; look-up has its own.

        Raises:
            UrlRefused: an address is not allowed; nothing was sent to any of them.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: no address, or none that answers.
        """
        addresses = (await self._checked(host, port))[:MAX_DIALLED]
        deadline_s = None if timeout is None else time.monotonic() + timeout
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for position, address in enumerate(addresses):
            # An even share of what is left: one that swallows packets must not use up the others' time.
            share_s = None if deadline_s is None else _left_s(deadline_s) / (len(addresses) - position)
            try:
                stream = await self._dialler.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _DialledStream(stream, deadline_s)
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's signature)
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise UrlRefused(BLOCKED)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._dns_timeout_s):
                answers = await self._resolver(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(error) from error
        except OSError as error:
            raise httpcore2.ConnectError(error) from error
        # One bad answer among good ones is how a rebinding name looks; there is no honest reason for it.
        if not all(is_allowed(answer, self._allow_networks) for answer in answers):
            raise UrlRefused(BLOCKED)
        return list(dict.fromkeys(answers))


class _DialledStream(httpcore2.AsyncNetworkStream):
    """A new connection. Its TLS handshake ends by the deadline, or the connection is closed."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream, deadline_s: float | None) -> None:
        self._stream = stream
        self._deadline_s = deadline_s

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's signature)
    ) -> httpcore2.AsyncNetworkStream:
        if self._deadline_s is not None:
            timeout = _left_s(self._deadline_s)
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            # httpcore2 2.16 forgets the socket when the handshake is cancelled.
            await self._stream.aclose()
            raise

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left_s(deadline_s: float) -> float:
    return max(deadline_s - time.monotonic(), 0.0)
