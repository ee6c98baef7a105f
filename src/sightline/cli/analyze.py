"""``sightline analyze``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.console import printable, stderr
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, debugging
from sightline.errors import InvalidRequest, SightlineError

if TYPE_CHECKING:
    from sightline.imaging import Picture
    from sightline.runtime.analyzer import Analyzer, BoundTask, Outcome
    from sightline.settings import Settings

# Photos under way at once: enough that models get batches, few enough for the memory of 50-megapixel ones.
_AHEAD = 4
_UNBOUNDED = 1_000_000
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
            if outcome.status.value == "error":
                self._failed.setdefault(f"{outcome.id}: {outcome.error}", []).append(source)

    def lines(self) -> Iterator[str]:
        yield from self._unopened
        for message, sources in self._failed.items():
            more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
            yield f"{sources[0]}{more}: {message}"


def analyze(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO", show_default=False, help="Files, http(s) URLs, or [cyan]-[/] for stdin."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPERATION[:key=value,…]",
            show_default="what a request without tasks gets from the server",
            help="What to ask; repeat for more. [cyan]sightline operations[/] lists all with parameters.",
        ),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per photo instead of a table.")
    ] = False,
    crops: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            show_default="none",
            help="Write the regions that answers are about as PNG files to this folder.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds for one photo, loading of models included.")
    ] = 600.0,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Ask about photos, without a server.

    Values of parameters are plain text, or JSON where they start with a quote or bracket. A photo that
    cannot be opened stops nothing; the exit code is 1 if any photo or task failed.

    [bold]Examples[/]

      [cyan]sightline analyze photo.jpg[/]
      [cyan]sightline analyze *.jpg --task detect_bounding_box:target=prominent_face --crops faces[/]
      [cyan]sightline analyze - --task embed_clip_vit_b_32:normalize=true --json < photo.jpg[/]
      [cyan]sightline analyze --task 'embed_text:text="a dog, asleep"'[/]
    """
    # This process bounds its own work by the photos under way; it must not be refused on top of that.
    settings = settings_from(
        models_dir=models_dir, offline=offline, queue_items=_UNBOUNDED, queue_mib=_UNBOUNDED
    )
    with _quiet_log(), _leave_on_interrupt():
        complaints = asyncio.run(_run(settings, photos or [], task or [], json_lines, crops, timeout))
    lines = list(complaints.lines())
    for line in lines:
        stderr().print(printable(line), style="red", markup=False, soft_wrap=True)
    if lines:
        raise typer.Exit(FAILED)


async def _run(
    settings: Settings,
    photos: list[str],
    tasks: list[str],
    json_lines: bool,
    crops: Path | None,
    timeout_s: float,
) -> Complaints:
    """Prints an answer per photo, in their order."""
    from sightline.cli.answers import CropFolder, JsonLines, Tables
    from sightline.cli.tasks import read_tasks
    from sightline.runtime.analyzer import Analyzer

    printer = JsonLines() if json_lines else Tables()
    folder = CropFolder(crops) if crops else None
    complaints = Complaints()
    async with Analyzer.create(settings) as analyzer:
        bound = [analyzer.bind(task) for task in read_tasks(tasks) or analyzer.default_tasks()]
        sources = _sources(photos, bound)
        with stderr().status("looking…") as status:
            async for seen in _each(analyzer, sources, bound, timeout_s, crops=crops is not None):
                status.stop()
                printer.show(seen)
                if folder:
                    folder.write(seen)
                complaints.note(seen)
                status.start()
    return complaints


def _sources(photos: list[str], tasks: Sequence[BoundTask]) -> Sequence[str | None]:
    wanting = [task.operation.name for task in tasks if task.operation.needs_picture]
    if photos or not wanting:
        return photos or [None]
    raise InvalidRequest(f"which photo? {wanting[0]} needs one, as in: sightline analyze photo.jpg")


async def _each(
    analyzer: Analyzer,
    sources: Sequence[str | None],
    tasks: Sequence[BoundTask],
    timeout_s: float,
    *,
    crops: bool,
) -> AsyncIterator[Seen]:
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
    from sightline.runtime.engine import Context

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


@contextmanager
def _quiet_log() -> Iterator[None]:
    """The answers say what the log would; only ``debug`` adds to that."""
    log = logging.getLogger("sightline")
    before = log.level
    if debugging():
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    else:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def _leave_on_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process at once: threads that read, download or compute cannot be interrupted, and
    the store survives being killed at any time."""

    def leave(signum: int, frame: object) -> None:
        stderr().show_cursor(True)
        os._exit(130)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
