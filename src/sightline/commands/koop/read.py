"""``sightline koop read``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sightline.cli.console import stderr, stdout
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, quiet_log
from sightline.commands.koop.folders import DEFAULT, Out, state_in

if TYPE_CHECKING:
    from sightline.jobs.koop.run.texts import Read
    from sightline.settings import Settings


def read(out: Out = DEFAULT, models_dir: ModelsDir = None, offline: Offline = False) -> None:
    """Read the text in kept maps: street names, dates, legends.

    It goes into the manifest ([cyan]text[/], [cyan]text_lines[/], [cyan]text_model[/]) and into the report.
    Each picture is read once. A run that was stopped resumes, and one after a later download reads only what
    is new.

    [bold]Examples[/]

      [cyan]sightline koop read[/]
      [cyan]sightline koop read --out koop && sightline koop report --out koop[/]
    """
    import asyncio

    with quiet_log():
        settings = settings_from(models_dir=models_dir, offline=offline)
        with state_in(out):  # there is a download, and it says so if not
            pass
        found = asyncio.run(_run(settings, out))
    stdout().print(f"read {found.done - found.failed:,} of {found.of:,} pictures", markup=False)
    if found.failed:
        stderr().print(f"{found.failed:,} pictures could not be read", markup=False)
        raise typer.Exit(FAILED)


async def _run(settings: Settings, out: Path) -> Read:
    from rich.progress import Progress

    from sightline.jobs.koop.output.manifest import Manifest
    from sightline.jobs.koop.run.texts import reading
    from sightline.jobs.koop.store.folder import MANIFEST_NAME, STATE_NAME, occupied
    from sightline.jobs.koop.store.state import State

    with occupied(out), State(out / STATE_NAME) as state, Progress(console=stderr()) as progress:
        bar = progress.add_task("reading", total=None)
        manifest = Manifest(out / MANIFEST_NAME, state)
        try:
            async with reading(settings) as reader:
                return await reader.read_all(
                    out, state, lambda each: progress.update(bar, completed=each.done, total=each.of)
                )
        finally:
            manifest.finish()
