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

# Photos under way at once: enough that models get batches, few enough for the memory of 50-megapixel ones.
_AHEAD = 4
_STDIN = "-"


@dataclass(frozen=True, slots=True)
class Seen:
    """One photo (None: a task that needs none) and what became of it. ``error``: it did not open."""

    source: str | None
    picture: Picture | None = None
    outcomes: Sequence[Outcome] = ()
    error: SightlineError | None = None


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
        under_way.append(asyncio.create_task(_look(analyzer, source, tasks, timeout_s, crops=crops)))
        if len(under_way) == _AHEAD:
            yield await under_way.popleft()
    while under_way:
        yield await under_way.popleft()


async def _look(
    analyzer: Analyzer, source: str | None, tasks: Sequence[BoundTask], timeout_s: float, *, crops: bool
) -> Seen:
    try:
        picture = None if source is None else await _open(analyzer, source)
    except SightlineError as error:
        return Seen(source, error=error)
    context = Context.lasting(timeout_s)
    return Seen(source, picture, await analyzer.analyze(picture, tasks, context, crops=crops))


async def _open(analyzer: Analyzer, source: str) -> Picture:
    if source.lower().startswith(("http://", "https://")):
        return await analyzer.fetch(source)
    # One byte past the limit is enough for the limit to be noticed.
    num_bytes = analyzer.limits.max_bytes + 1
    try:
        data = await asyncio.to_thread(_read, source, num_bytes)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise InvalidRequest(f"cannot be read: {reason or error}") from error
    return analyzer.open(data)


def _read(source: str, num_bytes: int) -> bytes:
    if source == _STDIN:
        return sys.stdin.buffer.read(num_bytes)
    with Path(source).open("rb") as file:
        return file.read(num_bytes)
