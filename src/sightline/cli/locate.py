"""``sightline locate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.console import stderr
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import quiet_log
from sightline.cli.session import exit_with, leave_on_interrupt

if TYPE_CHECKING:
    from sightline.jobs.looking import Complaints
    from sightline.runtime.analyzer import Analyzer, BoundTask
    from sightline.settings import Settings

_TASK_ID = "location"


def locate(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO", show_default=False, help="Files, http(s) URLs, or [cyan]-[/] for stdin."
        ),
    ],
    top: Annotated[int, typer.Option(min=1, max=100, help="Candidates per photo.")] = 5,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            dir_okay=False,
            show_default="none",
            help="Draw the candidates on a map of the world, as a PNG. Of several photos each has a map of "
            "its own: FILE-1.png, FILE-2.png and so on, in the order they are given.",
        ),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per photo instead of a table.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds for one photo, loading of models included.")
    ] = 600.0,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Estimate where photos were taken, from their pixels alone.

    Below the candidates stands how far the estimate can be trusted: the distances from the first candidate
    within which half and nine tenths of all probability lie. The map has them as circles.

    [bold]Examples[/]

      [cyan]sightline locate photo.jpg[/]
      [cyan]sightline locate photo.jpg --top 3 --map where.png[/]
      [cyan]sightline locate *.jpg --json[/]
    """
    import asyncio

    settings = settings_from(models_dir=models_dir, offline=offline)
    with quiet_log(), leave_on_interrupt():
        complaints = asyncio.run(_run(settings, photos, top, map_file, json_lines, timeout))
    exit_with(complaints)


async def _run(
    settings: Settings, photos: list[str], top: int, map_file: Path | None, json_lines: bool, timeout_s: float
) -> Complaints:
    """Prints an answer per photo, in their order."""
    from sightline.cli.answers import JsonLines
    from sightline.cli.locations import LocationTables, MapFiles
    from sightline.jobs.looking import Complaints, look_at, unrefused
    from sightline.runtime.analyzer import Analyzer

    printer = JsonLines() if json_lines else LocationTables()
    complaints = Complaints()
    async with Analyzer.create(unrefused(settings)) as analyzer:
        task = _task(analyzer, top)
        maps = await MapFiles.open(analyzer, map_file, len(photos)) if map_file else None
        with stderr().status("looking…") as status:
            async for seen in look_at(analyzer, photos, [task], timeout_s, crops=False):
                status.stop()
                printer.show(seen)
                if maps:
                    await maps.write(seen)
                complaints.note(seen)
                status.start()
    return complaints


def _task(analyzer: Analyzer, top: int) -> BoundTask:
    """The operation that asks for geolocation, whatever its name."""
    from sightline.capabilities.geolocation import GEOLOCATION
    from sightline.errors import UnknownOperation
    from sightline.runtime.analyzer import Task

    for name, operation in analyzer.operations.items():
        if GEOLOCATION in operation.needs:
            return analyzer.bind(Task(_TASK_ID, name, {"top_k": top}))
    raise UnknownOperation("no operation says where a photo was taken")
