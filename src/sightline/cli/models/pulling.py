"""``sightline models pull``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sightline.cli.console import megabytes, stderr, stdout
from sightline.cli.models.choosing import EveryModel, Names, chosen, open_store, wanted
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, say

if TYPE_CHECKING:
    from sightline.weights.store import Installed, Wanted


def pull(
    names: Names = None,
    everything: EveryModel = False,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch again what is here, and forget recorded digests.")
    ] = False,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Download models. What broke off goes on where it stopped; what is here is not fetched again.

    Every file is checked against its digest. The exit code is 1 if a model could not be had.

    [bold]Examples[/]

      [cyan]sightline models pull --all[/]
      [cyan]sightline models pull clip-vit-b-32 --models-dir /srv/models[/]
      [cyan]HF_ENDPOINT=https://mirror.example sightline models pull --all[/]
    """
    from sightline.errors import WeightsError

    settings = settings_from(models_dir=models_dir, offline=offline)
    store = open_store(settings)
    failed = False
    for definition in chosen(settings, names or (), everything=everything):
        want = wanted(definition)
        try:
            with Bars(want) as bars:
                installed = store.pull(want, bars, force=force)
        except WeightsError as error:
            failed = True
            say(str(error))
        else:
            stdout().print(_done(installed))
    if failed:
        raise typer.Exit(FAILED)


def _done(installed: Installed) -> Text:
    num_bytes = sum(path.stat().st_size for path in installed.files.values())
    return Text(f"{installed.model} is here: {megabytes(num_bytes)}, fingerprint {installed.fingerprint}")


class Bars:
    """A ``Report`` that draws one bar per file on stderr, in bytes; steps of building are in points."""

    def __init__(self, want: Wanted) -> None:
        self._model = want.model
        self._files = {artifact.name for artifact in want.artifacts}
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Done(),
            _Rate(),
            TimeRemainingColumn(),
            console=stderr(),
            disable=not stderr().is_terminal,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def __call__(self, label: str, done: int, total: int | None) -> None:
        bar = self._bars.get(label)
        if bar is None:
            # A file that goes on from where it stopped must not count what was there as speed.
            bar = self._progress.add_task(
                f"{self._model}  {label}", total=total, completed=done, in_bytes=label in self._files
            )
            self._bars[label] = bar
        self._progress.update(bar, completed=done, total=total)


class _Done(ProgressColumn):
    """How much of how much."""

    def render(self, task: Task) -> Text:
        written = megabytes if task.fields["in_bytes"] else "{:,.0f}".format
        total = "?" if task.total is None else written(int(task.total))
        return Text(f"{written(int(task.completed))} of {total}", style="progress.download")


class _Rate(ProgressColumn):
    """Bytes per second; nothing for points, which have no meaning as a speed."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None or not task.fields["in_bytes"]:
            return Text("")
        return Text(f"{megabytes(int(speed))}/s", style="progress.data.speed")
