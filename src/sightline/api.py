"""The Python API: ask operations about images in your own program. See docs/python.md."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sightline.errors import ConfigurationError
from sightline.imaging import Picture
from sightline.runtime import analyzer as local
from sightline.runtime.analyzer import Outcome, Status, Task
from sightline.settings import Settings

__all__ = ["Analyzer", "AsyncAnalyzer", "Outcome", "Status", "Task"]

Image = str | PathLike[str] | bytes | None
ValueT = TypeVar("ValueT")


class AsyncAnalyzer:
    """Operations for a program with an event loop. Use it as an async context manager, one per process.

    Its settings are those of the environment and ``.env``. ``options`` are fields of ``Settings`` that take
    precedence, such as ``offline=True``; ``settings`` replace all of them.

    Raises:
        ConfigurationError: a setting or a plug-in is wrong.
        ValidationError: an option has the wrong type.
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        if settings is not None and options:
            raise TypeError("both settings and options; expected one of them")
        if unknown := sorted(options.keys() - Settings.model_fields.keys()):
            raise ConfigurationError(
                f"unknown settings: {', '.join(unknown)}; expected names of docs/settings.md"
            )
        self._analyzer = local.Analyzer.create(settings or Settings(**options))

    async def __aenter__(self) -> Self:
        await self._analyzer.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._analyzer.__aexit__(*exception)

    async def analyze(self, image: Image, *tasks: Task | str) -> list[Outcome]:
        """Run tasks on an image and return one outcome per task, in their order.

        A failed task is an outcome with an ``error``; other tasks are not affected.

        Args:
            image: a path, an http(s) URL, the bytes of a file, or None for operations on text.
            tasks: tasks, or names of operations that run with their default parameters.

        Raises:
            UnknownOperation, InvalidParameters: a task is wrong.
            ImageError, UrlRefused, FetchFailed, FetchTimeout, OSError: the image cannot be read.
        """
        bound = [self._analyzer.bind(_task(each)) for each in tasks]
        return await self._analyzer.analyze(await self._open(image), bound)

    async def _open(self, image: Image) -> Picture | None:
        if image is None:
            return None
        if isinstance(image, str) and image.lower().startswith(("http://", "https://")):
            return await self._analyzer.fetch(image)
        data = image if isinstance(image, bytes) else await asyncio.to_thread(Path(image).read_bytes)
        return self._analyzer.open(data)


class Analyzer:
    """Operations for a program without an event loop. Use it as a context manager, one per process.

    It takes what ``AsyncAnalyzer`` takes, and runs one on a thread of its own. Any thread may call it.
    """

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        self._analyzer = AsyncAnalyzer(settings, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="analyzer", daemon=True)
        self._thread.start()
        try:
            self._run(self._analyzer.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._analyzer.__aexit__(kind, error, trace))
        finally:
            self._stop()

    def analyze(self, image: Image, *tasks: Task | str) -> list[Outcome]:
        """Run tasks on an image and return one outcome per task. See ``AsyncAnalyzer.analyze``."""
        return self._run(self._analyzer.analyze(image, *tasks))

    def _run(self, work: Coroutine[Any, Any, ValueT]) -> ValueT:
        if self._loop is None:
            work.close()
            raise RuntimeError("the analyzer is not open; expected `with Analyzer() as analyzer:`")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:  # Ctrl-C, for one, ends the work too
            running.cancel()
            raise

    def _stop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def _task(task: Task | str) -> Task:
    return Task(task, task) if isinstance(task, str) else task
