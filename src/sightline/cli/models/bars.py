"""Progress of downloads, drawn."""

from __future__ import annotations

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

from sightline.cli.console import megabytes, stderr
from sightline.weights.sources import Built
from sightline.weights.store import Wanted


class Bars:
    """A ``Report`` that draws one bar per file on stderr, in bytes; steps of building are in points."""

    def __init__(self, want: Wanted) -> None:
        self._model = want.model
        # What is built here reports points under its own name.
        self._files = {
            artifact.name
            for artifact in want.artifacts
            if not any(isinstance(source, Built) for source in artifact.sources)
        }
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
        if task.total is None and not task.completed:  # a step of unknown length, such as waiting
            return Text("")
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
