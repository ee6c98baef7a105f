"""Where probes look at the disk: on threads that nothing else uses.

The engine's workers decode pictures, and asyncio's own threads encode them for models elsewhere and train
collections. Either can be taken for seconds, and a balancer that waits so long takes the server for dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

# A look takes milliseconds. Two threads: one may be waiting for a disk that does not answer.
_THREADS = 2

Arguments = TypeVarTuple("Arguments")
Seen = TypeVar("Seen")


class Lookout:
    """Runs short looks at the disk off the event loop. An async context manager, beside the analyzer."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lookout")

    async def look(self, function: Callable[[*Arguments], Seen], *arguments: *Arguments) -> Seen:
        """What ``function`` gives back, or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def __aenter__(self) -> Lookout:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._threads.shutdown(wait=False)
