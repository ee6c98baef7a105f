"""Photos one after the other, a few at a time, past those that do not open."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.errors import InvalidRequest, SightlineError
from sightline.imaging import Picture
from sightline.runtime.analyzer import Analyzer, BoundTask, Outcome, Status
from sightline.runtime.engine import Context
from sightline.settings import Settings
from sightline.types import Priority

# Photos under way at once: enough that models get batches, few enough for the memory of 50-megapixel ones.
_AHEAD = 4
_STDIN = "-"
# More than any job has under way.
_UNBOUNDED = 1_000_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One photo (None: a task that needs none) and what became of it. ``error``: it did not open."""

    source: str | None
    picture: Picture | None = None
    outcomes: Sequence[Outcome] = ()
    error: SightlineError | None = None


def unrefused(settings: Settings) -> Settings:
    """Settings of a process that bounds its own work by the photos under way: its queues refuse nothing."""
    return settings.model_copy(update={"queue_items": _UNBOUNDED, "queue_mib": _UNBOUNDED})


class Complaints:
    """What went wrong: each photo that did not open, and each way in which a task failed, however often."""

    def __init__(self) -> None:
        self._unopened: list[str] = []
        self._failed: dict[str, list[str]] = {}

    def note(self, seen: Seen) -> None:
        source = seen.source or "no photo"
        if seen.error is not None:
            self._unopened.append(f"{source}: {seen.error}")
        for outcome in seen.outcomes:
            if outcome.status is Status.ERROR:
                self._failed.setdefault(f"{outcome.id}: {outcome.error}", []).append(source)

    def lines(self) -> Iterator[str]:
        yield from self._unopened
        for message, sources in self._failed.items():
            more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
            yield f"{sources[0]}{more}: {message}"


async def look_at(
    analyzer: Analyzer,
    sources: Sequence[str | None],
    tasks: Sequence[BoundTask],
    timeout_s: float,
    *,
    crops: bool,
) -> AsyncIterator[Seen]:
    """Every source in its order, all tasks on each. A source is a file, a URL, ``-`` or no photo at all."""
    under_way: deque[asyncio.Task[Seen]] = deque()
    for source in sources:
        under_way.append(asyncio.create_task(look(analyzer, source, tasks, timeout_s, crops=crops)))
        if len(under_way) == _AHEAD:
            yield await under_way.popleft()
    while under_way:
        yield await under_way.popleft()


async def look(
    analyzer: Analyzer,
    source: str | None,
    tasks: Sequence[BoundTask],
    timeout_s: float,
    *,
    crops: bool = False,
    priority: Priority = Priority.INTERACTIVE,
) -> Seen:
    """One source, all tasks on it. ``timeout_s`` includes the loading of models."""
    try:
        picture = None if source is None else await _open(analyzer, source)
    except SightlineError as error:
        return Seen(source, error=error)
    context = Context.lasting(timeout_s, priority)
    return Seen(source, picture, await analyzer.analyze(picture, tasks, context, crops=crops))


async def _open(analyzer: Analyzer, source: str) -> Picture:
    if source.lower().startswith(("http://", "https://")):
        return await analyzer.fetch(source)
    data = await asyncio.to_thread(read_image, source, analyzer.limits.max_bytes)
    picture: Picture = await analyzer.engine.work(analyzer.open, data)
    return picture


def read_image(source: str, max_bytes: int) -> bytes:
    """A file's bytes, or those of ``-``, which is standard input. Of a longer one, one byte too many.

    Raises:
        InvalidRequest: it cannot be read; the message says why.
    """
    try:
        if source == _STDIN:
            return sys.stdin.buffer.read(max_bytes + 1)
        with Path(source).open("rb") as file:
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise InvalidRequest(f"cannot be read: {reason or error}") from error
