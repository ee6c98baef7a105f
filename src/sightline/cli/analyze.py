"""``sightline analyze``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.console import printable, stderr
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import quiet_log
from sightline.cli.session import exit_with, leave_on_interrupt
from sightline.errors import InvalidRequest

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rich.status import Status

    from sightline.jobs.looking import Complaints, Seen
    from sightline.runtime.analyzer import BoundTask
    from sightline.settings import Settings

    Write = Callable[[Seen], None]


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
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            show_default="none",
            help="Write photos with boxes, names and scores drawn over them to this folder.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            dir_okay=False,
            show_default="none",
            help="Write one page about all photos, which can be sorted and filtered in a browser.",
        ),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write text to stderr while it is generated.")
    ] = False,
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
      [cyan]sightline analyze *.jpg --task detect_faces --draw drawn --report report.html[/]
      [cyan]sightline analyze photo.jpg --stream --task 'ask:prompt="What is this?"'[/]
      [cyan]sightline analyze - --task embed_clip_vit_b_32:normalize=true --json < photo.jpg[/]
      [cyan]sightline analyze --task 'embed_text:text="a dog, asleep"'[/]
    """
    import asyncio

    settings = settings_from(models_dir=models_dir, offline=offline)
    with quiet_log(), leave_on_interrupt():
        outputs = Outputs(json_lines, crops, draw, report, stream)
        complaints = asyncio.run(_run(settings, photos or [], task or [], outputs, timeout))
    exit_with(complaints)


async def _run(
    settings: Settings,
    photos: list[str],
    tasks: list[str],
    outputs: Outputs,
    timeout_s: float,
) -> Complaints:
    """Prints an answer per photo, in their order."""
    from contextlib import ExitStack

    from sightline.capabilities.question import listening
    from sightline.cli.tasks import read_tasks
    from sightline.jobs.looking import Complaints, look_at, look_together, unrefused
    from sightline.runtime.analyzer import Analyzer, takes_together

    complaints = Complaints()
    async with Analyzer.create(unrefused(settings)) as analyzer:
        bound = [analyzer.bind(task) for task in read_tasks(tasks) or analyzer.default_tasks()]
        sources = _sources(photos, bound)
        with ExitStack() as stack, stderr().status("looking…") as status:
            show, writers = outputs.opened(stack, [task.id for task in bound])
            if outputs.stream:
                stack.enter_context(listening(partial(_write_piece, status)))
            crops = outputs.crops is not None
            if takes_together(bound, len(photos)):
                seen_all = look_together(analyzer, photos, bound, timeout_s, crops=crops)
            else:
                seen_all = look_at(analyzer, sources, bound, timeout_s, crops=crops)
            async for seen in seen_all:
                status.stop()
                show(seen)
                for write in writers:
                    write(seen)
                complaints.note(seen)
                status.start()
    return complaints


def _write_piece(status: Status, piece: str | None) -> None:
    status.stop()
    text = "\n" if piece is None else printable(piece)
    stderr().print(text, end="", markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Outputs:
    """Where answers go: stdout, and what was asked for besides."""

    as_json: bool
    crops: Path | None
    drawings: Path | None
    report: Path | None
    stream: bool

    def opened(self, stack: ExitStack, tasks: list[str]) -> tuple[Write, list[Write]]:
        """Return what prints an answer, and what else is written for each. ``stack`` ends the files."""
        from sightline.cli.answers import CropFolder, DrawingFolder, JsonLines, ReportFile, Tables
        from sightline.jobs.photo_report import PhotoReport

        writers: list[Write] = []
        if self.crops:
            writers.append(CropFolder(self.crops).write)
        if self.drawings:
            writers.append(DrawingFolder(self.drawings).write)
        if self.report:
            writers.append(ReportFile(stack.enter_context(PhotoReport(self.report, tasks))).write)
        return (JsonLines() if self.as_json else Tables()).show, writers


def _sources(photos: list[str], tasks: Sequence[BoundTask]) -> Sequence[str | None]:
    wanting = [task.operation.name for task in tasks if task.operation.needs_picture]
    if photos or not wanting:
        return photos or [None]
    raise InvalidRequest(f"which photo? {wanting[0]} needs one, as in: sightline analyze photo.jpg")
