"""Photos one after the other, a few at a time, past those that do not open."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from sightline.errors import InvalidRequest, Overloaded, SightlineError
from sightline.imaging import Picture
from sightline.runtime.analyzer import Analyzer, BoundTask, Outcome, Status
from sightline.runtime.cores import usable_cores
from sightline.runtime.engine import Context
from sightline.settings import Settings
from sightline.types import Priority

# Photos under way at once for each slot: two full batches of the usual model, one computed while the other is
# decoded.
_AHEAD_OF_A_SLOT = 32
# Each slot keeps the intermediate results of a batch.
_MOST_SLOTS = 2
# Pixels they may have together, four bytes each: large photos go fewer at a time.
_PIXELS_AHEAD = 200_000_000
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
    """Settings of a process that bounds its own work by the photos under way: nothing of it is refused."""
    changes = {"queue_items": _UNBOUNDED, "queue_mib": _UNBOUNDED, "memory_refuse_percent": 100.0}
    return settings.model_copy(update=changes)


def for_many(settings: Settings, number: int) -> Settings:
    """:func:`unrefused`, for ``number`` photos through a model or two.

    If they are many, one half of the cores computes one batch and the other half another: cores that share a
    batch wait for each other after every layer, and one of them decodes a photo now and then. What the user
    says of slots stands.
    """
    changes = unrefused(settings)
    if "compute_slots" in settings.model_fields_set or not settings.device.lower().startswith("cpu"):
        return changes
    cores = settings.threads or int(usable_cores())
    slots = max(1, min(cores, _MOST_SLOTS, number // _AHEAD_OF_A_SLOT))
    return changes.model_copy(update={"compute_slots": slots})


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


class Room:
    """Bounds the pixels of the photos looked at together. One alone may have more than there is room for."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, pixels: int) -> AsyncIterator[None]:
        """Waits until there is room for ``pixels``, and keeps it while the block runs."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            self._taken -= pixels
            async with self._changed:
                self._changed.notify_all()


async def look_at(
    analyzer: Analyzer,
    sources: Sequence[str | None],
    tasks: Sequence[BoundTask],
    timeout_s: float,
    *,
    crops: bool,
    fill_truncated: bool = False,
) -> AsyncIterator[Seen]:
    """Every source in its order, all tasks on each. A source is a file, a URL, ``-`` or no photo at all."""
    under_way: deque[asyncio.Task[Seen]] = deque()
    room = Room(_PIXELS_AHEAD)
    ahead = _AHEAD_OF_A_SLOT * analyzer.settings.compute_slots
    try:
        for source in sources:
            looking = look(
                analyzer, source, tasks, timeout_s, crops=crops, room=room, fill_truncated=fill_truncated
            )
            under_way.append(asyncio.create_task(looking))
            if len(under_way) == ahead:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:  # a run that ends early leaves none behind
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def look_together(
    analyzer: Analyzer, sources: Sequence[str], tasks: Sequence[BoundTask], timeout_s: float, *, crops: bool
) -> AsyncIterator[Seen]:
    """All sources as the subject of each task: one answer, under the name of the first."""
    yield await look(analyzer, sources[0], tasks, timeout_s, crops=crops, others=sources[1:])


async def look(
    analyzer: Analyzer,
    source: str | None,
    tasks: Sequence[BoundTask],
    timeout_s: float,
    *,
    crops: bool = False,
    priority: Priority = Priority.INTERACTIVE,
    room: Room | None = None,
    fill_truncated: bool = False,
    others: Sequence[str] = (),
) -> Seen:
    """One source, all tasks on it. ``timeout_s`` includes the loading of models, but no wait for ``room``.

    ``others`` are further sources of tasks that take all images together.
    A service that is busy and says when to ask again is asked again then, within ``timeout_s``.
    """
    try:
        picture = None if source is None else await _open(analyzer, source, fill_truncated)
        more = [await _open(analyzer, other, fill_truncated) for other in others]
    except SightlineError as error:
        return Seen(source, error=error)
    pixels = 0 if picture is None else picture.width * picture.height
    async with nullcontext() if room is None else room.taken(pixels):
        return Seen(
            source,
            picture,
            await _analyze(analyzer, picture, tasks, timeout_s, priority, crops=crops, others=more),
        )


async def _analyze(
    analyzer: Analyzer,
    picture: Picture | None,
    tasks: Sequence[BoundTask],
    timeout_s: float,
    priority: Priority,
    *,
    crops: bool,
    others: Sequence[Picture] = (),
) -> Sequence[Outcome]:
    """An outcome per task; those that a busy service refused are asked again when it said so."""
    now = asyncio.get_running_loop().time
    ends = now() + timeout_s
    context = Context.lasting(timeout_s, priority)
    outcomes = list(await analyzer.analyze(picture, tasks, context, crops=crops, others=others))
    while True:
        busy = [number for number, each in enumerate(outcomes) if isinstance(each.error, Overloaded)]
        pause_s = max((_retry_after_s(outcomes[number]) for number in busy), default=0)
        if not busy or now() + pause_s >= ends:
            return outcomes
        await asyncio.sleep(pause_s)
        context = Context.lasting(ends - now(), priority)
        refused = [tasks[number] for number in busy]
        again = await analyzer.analyze(picture, refused, context, crops=crops, others=others)
        for number, outcome in zip(busy, again, strict=True):
            outcomes[number] = outcome


def _retry_after_s(outcome: Outcome) -> int:
    return outcome.error.retry_after_s if isinstance(outcome.error, Overloaded) else 0


async def _open(analyzer: Analyzer, source: str, fill_truncated: bool) -> Picture:
    if source.lower().startswith(("http://", "https://")):
        return await analyzer.fetch(source, fill_truncated=fill_truncated)

    def opened() -> Picture:
        data = read_image(source, analyzer.limits.max_bytes)
        return analyzer.open(data, fill_truncated=fill_truncated)

    # On none of the threads that decode: a slow disk keeps none of them waiting.
    return await asyncio.to_thread(opened)


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
