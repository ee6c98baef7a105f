"""Names to addresses, on threads of our own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""``await resolver(host, port)``: every IP address of ``host``, best first. Raises OSError if it has none."""

# getaddrinfo cannot be cancelled, so a slow name server holds a thread until it gives up. Threads of our own
# keep that from the pool that decodes and infers; the number is drawbridge's.
_THREADS = 8


class SystemResolver:
    """The machine's own resolver (``getaddrinfo``): hosts file, search domains and all.

    Every spelling of an address goes through it as well (``127.1``, ``0x7f.1``, ``2130706433``), so what is
    judged is what would be dialled.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sightline-dns")

    async def __call__(self, host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host, port)

    def close(self) -> None:
        """Start no more look-ups. One that is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> list[str]:
    # As bytes: Python would otherwise put the name through its own IDNA codec.
    answers = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return [str(socket_address[0]) for *_, socket_address in answers]
