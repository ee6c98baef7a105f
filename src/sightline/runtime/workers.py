"""Worker threads of the engine: decoding, resizing, encoding, and models that need no compute slot."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from sightline.errors import InferenceFailed, SightlineError
from sightline.imaging import Picture
from sightline.runtime import threads
from sightline.runtime.context import Context
from sightline.runtime.cores import usable_cores
from sightline.runtime.pixels import PixelBudget
from sightline.runtime.telemetry import Telemetry
from sightline.runtime.threads import DaemonThreads

_log = logging.getLogger(__name__)

# Worker threads beyond the cores, which no request takes for itself.
SPARE_WORKERS = 2


class Workers:
    """A pool of threads for one event loop. Work that has not begun when it is closed fails."""

    def __init__(self, num_threads: int, pixels: PixelBudget, telemetry: Telemetry) -> None:
        """``num_threads``: 0 means one per usable core, and the spare ones."""
        num_threads = num_threads or math.ceil(usable_cores()) + SPARE_WORKERS
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="worker")
        self._request_threads = max(1, num_threads - SPARE_WORKERS)
        self._pixels = pixels
        self._telemetry = telemetry
        self._closed = False

    async def run(self, function: Any, *arguments: Any) -> Any:
        """Run CPU work on a thread. Raises SightlineError if the engine is shut down."""
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def decode(
        self, pictures: Sequence[Picture], context: Context, function: Any, *arguments: Any
    ) -> Any:
        """:meth:`run` that counts as decoding until its thread ends, even if the caller no longer waits.

        A request leaves some threads to others. If it ends before a thread has begun, none begins.
        """
        if not pictures:
            return await self.run(function, *arguments)
        request_threads = context.pixels.threads(self._request_threads)
        await request_threads.acquire()
        self._require_open()
        decoding = self._pool.submit(function, *arguments)
        ended = self._pixels.decoding(pictures, request_threads.release)
        decoding.add_done_callback(lambda _: ended())
        return await asyncio.wrap_future(decoding)

    def guarded(self, model: str, step: Callable[..., Any], *arguments: Any) -> Any:
        """Call a model's code on the running thread; only errors of ``sightline.errors`` leave it."""
        self._require_open()
        try:
            return step(*arguments)
        except SightlineError:
            raise
        except BaseException as error:  # a panic in Rust is one, and SystemExit would end the event loop
            raise self.failure(model, error) from None

    def failure(self, model: str, error: BaseException) -> InferenceFailed:
        """Log and count a model's error; return the error for the caller."""
        _log.error("%s failed on an input", model, exc_info=error)
        self._telemetry.item_failed(model)
        return InferenceFailed(f"{model} failed on this input ({type(error).__name__})")

    def stop(self) -> None:
        """Accept no more work."""
        self._closed = True

    async def close(self) -> None:
        """Wait for the threads, but not for a decode that hangs: it cannot be interrupted."""
        self.stop()
        closing = DaemonThreads(1, "closing")
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.run(self._pool.shutdown), threads.CLOSE_TIMEOUT_S)

    def _require_open(self) -> None:
        if self._closed:
            raise SightlineError("the engine was shut down")
