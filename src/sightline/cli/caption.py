"""``sightline caption``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.console import stderr
from sightline.cli.folders import look_over
from sightline.cli.options import (
    ModelsDir,
    Offline,
    OnTruncated,
    Server,
    ServerKey,
    Truncated,
    settings_from,
)
from sightline.cli.problems import FAILED, INTERRUPTED, quiet_log
from sightline.types import Target

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from sightline.jobs.captioning import Tally
    from sightline.jobs.describing import Describer
    from sightline.settings import Settings


def caption(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, show_default=False, help="Where the images are.")
    ],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace captions that are there, instead of skipping them.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go through the folders below as well.")
    ] = False,
    server: Server = None,
    api_key: ServerKey = None,
    target: Annotated[
        Target | None, typer.Option(show_default="whole_image", help="The part of each image to describe.")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(show_default="the operation's", help="Most tokens of a caption."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="the operation's",
            help="Which model writes. [cyan]sightline models list[/] has them.",
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Images under way at once. Fewer take less memory.")
    ] = 8,
    truncated: Truncated = OnTruncated.ERROR,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Write a caption for each image of a folder: [cyan]photo.txt[/] beside [cyan]photo.jpg[/].

    Images that have one are skipped, so a run that was stopped goes on where it was. Images that fail stop
    nothing: they are listed at the end, and the exit code is 1. Hidden files are left out. Where stdout is no
    terminal it gets a line of JSON per image, and one with the counts.

    [bold]Examples[/]

      [cyan]sightline caption holiday[/]
      [cyan]sightline caption archive --recursive --max-length 30[/]
      [cyan]sightline caption holiday --server http://127.0.0.1:8000[/]
    """
    import asyncio

    params = {"target": target.value if target else None, "max_length": max_length, "model": model}
    given = {name: value for name, value in params.items() if value is not None}
    with quiet_log():
        settings = settings_from(models_dir=models_dir, offline=offline)
        look_over(folder, recursive=recursive)
        describing = _describing(settings, server, api_key, given, truncated)
        tally = asyncio.run(_run(describing, folder, recursive=recursive, force=force, at_once=concurrency))
    if tally.failed:
        raise typer.Exit(FAILED)


def _describing(
    settings: Settings,
    server: str | None,
    api_key: str | None,
    params: dict[str, Any],
    truncated: OnTruncated,
) -> AbstractAsyncContextManager[Describer]:
    from sightline.errors import InvalidRequest
    from sightline.jobs.describing import asked, describing_here

    task = asked(settings, params)
    if server is None:
        return describing_here(settings, task, fill_truncated=truncated is OnTruncated.FILL)
    if truncated is OnTruncated.FILL:
        raise InvalidRequest(
            "--truncated fill: not with --server; expected an image that the server can read"
        )
    from sightline.imaging import ImageLimits
    from sightline.jobs.remote import describing_there

    return describing_there(server, params, ImageLimits.from_settings(settings), api_key)


async def _run(
    describing: AbstractAsyncContextManager[Describer],
    folder: Path,
    *,
    recursive: bool,
    force: bool,
    at_once: int,
) -> Tally:
    """Everything between the call and the exit code."""
    import asyncio

    from sightline.cli.captions import Watch
    from sightline.jobs.captioning import Captioning
    from sightline.jobs.describing import RunEnded

    watch = Watch()
    async with describing as describer:
        job = Captioning(folder, describer, watch, recursive=recursive, force=force, at_once=at_once)
        try:
            with watch:
                watch.begin(await job.count())
                await job.run()
        except asyncio.CancelledError:
            watch.end(job.tally)
            _leave(force=force)
        except RunEnded:
            watch.end(job.tally)
            raise
    watch.end(job.tally)
    return job.tally


def _leave(*, force: bool) -> None:
    """Ctrl-C: what was computed is written and counted, and threads that still compute or download would
    only be waited for."""
    again = "with --force the next run starts over" if force else "the same command goes on from here"
    stderr().print(f"interrupted; {again}", markup=False)
    sys.stdout.flush()
    os._exit(INTERRUPTED)
