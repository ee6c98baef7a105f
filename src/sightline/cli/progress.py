"""The bar of commands that go through many images."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sightline.cli.console import stderr

# Minutes: answers come in batches, and one may take seconds.
_SPEED_OVER_S = 300.0


def image_bar() -> Progress:
    """Images done and to do, their rate and the time that is left, on stderr if that is a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=stderr(),
        disable=not stderr().is_terminal,
        speed_estimate_period=_SPEED_OVER_S,
    )


class _Rate(ProgressColumn):
    """Images per second, or per minute where that is less than one."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min", style="progress.data.speed")
