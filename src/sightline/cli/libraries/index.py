"""``sightline index``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.console import stderr
from sightline.cli.libraries.options import DEFAULT_NAME, Name, shelf_of
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, INTERRUPTED, quiet_log
from sightline.cli.progress import ImageWatch

if TYPE_CHECKING:
    from sightline.jobs.libraries.runs import Indexed, IndexOptions, IndexTally
    from sightline.libraries import Library
    from sightline.settings import Settings

_WATCH_PAUSE_MS = 2_000


def index(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            show_default="those of the library",
            help="Folders of photos, with all below.",
        ),
    ] = None,
    library: Name = DEFAULT_NAME,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="SPACE", show_default="none", help="Store vectors of this space too."),
    ] = None,
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="OPERATION,…",
            show_default="none",
            help="Store answers of these operations, so that searches find their words and conditions.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and follow the folders until Ctrl-C.")
    ] = False,
    reembed: Annotated[
        bool,
        typer.Option("--reembed", help="Compute all vectors anew, with the models that are installed now."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Look again at unchanged files that could not be read.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the photos of folders that are empty or not there.")
    ] = False,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Make a folder of photos searchable, or bring a library up to date.

    Each photo is looked at once. A later run finds new, changed, moved and deleted files; nothing is ever
    written to the folders. It can be interrupted at any time and goes on where it was. A photo that cannot be
    read stops nothing, and the exit code is 1. Where stdout is no terminal it gets a line of JSON per photo,
    and one with the counts.

    [bold]Examples[/]

      [cyan]sightline index ~/Pictures[/]
      [cyan]sightline index ~/Pictures --with describe_image,read_text[/]
      [cyan]sightline index --watch[/]                        bring up to date, and follow
    """
    import asyncio

    from sightline.jobs.libraries.runs import IndexOptions

    settings = settings_from(models_dir=models_dir, offline=offline)
    with quiet_log():
        roots = [folder.resolve() for folder in folders or []]
        with shelf_of(settings).open(library, create=bool(roots)) as opened:
            tally = asyncio.run(
                _run(
                    settings,
                    opened,
                    roots,
                    spaces=also or [],
                    operations=[name for name in (with_ or "").split(",") if name],
                    options=IndexOptions(reembed, retry_failed, prune),
                    watch=watch,
                )
            )
    if tally.has_failures:
        raise typer.Exit(FAILED)


async def _run(
    settings: Settings,
    library: Library,
    roots: list[Path],
    *,
    spaces: list[str],
    operations: list[str],
    options: IndexOptions,
    watch: bool,
) -> IndexTally:
    import asyncio

    from sightline.jobs.libraries.indexing import Indexing
    from sightline.jobs.looking import for_many
    from sightline.runtime.analyzer import Analyzer, Task

    # Many photos, as far as anybody knows before they are counted.
    async with Analyzer.create(for_many(settings, 1_000)) as analyzer:
        tasks = [analyzer.bind(Task(name, name)) for name in operations]
        spaces = [] if library.serving() and not spaces else [settings.library_space, *spaces]
        while True:
            shown = _Watch()
            job = Indexing(analyzer, library, roots, shown, spaces, tasks, options)
            try:
                with shown:
                    tally = await job.run()
            except asyncio.CancelledError:
                shown.end(job.tally)
                stderr().print("interrupted; the same command goes on from here", markup=False)
                sys.stdout.flush()
                os._exit(INTERRUPTED)
            shown.end(tally)
            if not watch:
                return tally
            await _change(library.roots())


async def _change(roots: list[str]) -> None:
    """Wait until something changes in a folder that is there."""
    import asyncio

    from watchfiles import awatch

    there = await asyncio.to_thread(lambda: [root for root in roots if Path(root).is_dir()])
    if not there:
        await asyncio.sleep(_WATCH_PAUSE_MS / 1000)
        return
    async for _ in awatch(*there, step=_WATCH_PAUSE_MS // 4, debounce=_WATCH_PAUSE_MS):
        return


class _Watch(ImageWatch):
    def __init__(self) -> None:
        super().__init__("comparing files with the library")

    def begin(self, total: int) -> None:
        self.show_total(total, "loading the model" if total else "up to date")

    def __call__(self, indexed: Indexed) -> None:
        self.advance("indexing")
        self.show_line({"image": indexed.path, "status": indexed.fate.value, "reason": indexed.reason})

    def end(self, tally: IndexTally) -> None:
        for warning in tally.warnings:
            self.tell(f"warning: {warning}", "yellow")
        self.show_counts(
            {fate.value: count for fate, count in sorted(tally.counts.items())}
            | {
                "deleted": tally.deleted,
                "unchanged": tally.unchanged,
                "unreadable before": tally.known_failures,
            }
        )
