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
from sightline.weights.sources import Report
from sightline.weights.store import Wanted


class Bars:
    """Draws one bar per file on stderr, in bytes; steps of building are in points.

    ``coming``: the models that will be downloaded. Of several there is a bar of all downloads too, in which
    files that they share count once.
    """

    def __init__(self, *coming: Wanted) -> None:
        self._bars: dict[tuple[str, str], TaskID] = {}
        # By what a file is: how much of it has arrived, and its size where that is known.
        self._done: dict[str, int] = {}
        self._sizes = {
            artifact.identity: artifact.size_bytes
            for want in coming
            for artifact in want.artifacts
            if artifact.is_downloaded
        }
        self._total: TaskID | None = None
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Done(),
            _Rate(),
            TimeRemainingColumn(),
            console=stderr(),
            disable=not stderr().is_terminal,
        )

        if len(coming) > 1:
            self._total = self._progress.add_task("all downloads", total=self._size(), in_bytes=True)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def of(self, want: Wanted) -> Report:
        """Return what draws the progress of one of the models."""
        # What is built here reports points under its own name.
        files = {artifact.name: artifact for artifact in want.artifacts if artifact.is_downloaded}

        def report(label: str, done: int, total: int | None) -> None:
            bar = self._bars.get((want.model, label))
            if bar is None:
                # A file that goes on from where it stopped must not count what was there as speed.
                bar = self._progress.add_task(
                    f"{want.model}  {label}", total=total, completed=done, in_bytes=label in files
                )
                self._bars[want.model, label] = bar
            self._progress.update(bar, completed=done, total=total)
            if label in files:
                self._add(files[label].identity, done, total)

        return report

    def _add(self, identity: str, done: int, total: int | None) -> None:
        self._done[identity] = max(done, self._done.get(identity, 0))
        if total is not None:
            self._sizes[identity] = total
        if self._total is not None:
            self._progress.update(self._total, completed=sum(self._done.values()), total=self._size())

    def _size(self) -> int | None:
        known = [size for size in self._sizes.values() if size is not None]
        return sum(known) if len(known) == len(self._sizes) else None


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
