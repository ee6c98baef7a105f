"""What a run over collections is doing, drawn on stderr."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sightline.cli.console import printable, stderr


class Steps:
    """A ``Report`` that draws one bar: the step, and how far it is where that is known."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=stderr(),
            disable=not stderr().is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._step = ""

    def __enter__(self) -> Steps:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if step != self._step:
            self._step = step
            self._bar.reset(self._task, total=total, description=printable(step))
        self._bar.update(self._task, completed=done, total=total)
