"""How commands that go through many images show it: a bar for people, lines of JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

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

from sightline.cli.console import printable, stderr, stdout

# Minutes: answers come in batches, and one may take seconds.
_SPEED_OVER_S = 300.0


def _image_bar() -> Progress:
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


class ImageWatch:
    """Base of what shows each image as its end is reported.

    A bar on stderr if that is a terminal, a line of JSON on stdout if that is none. ``label`` stands at the
    bar until the images are counted.
    """

    def __init__(self, label: str) -> None:
        self._bar = _image_bar()
        self._lines = not sys.stdout.isatty()
        self._task = self._bar.add_task(label, total=None)

    def __enter__(self) -> ImageWatch:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show_total(self, total: int, label: str) -> None:
        self._bar.reset(self._task, total=total, description=label)

    def advance(self, label: str) -> None:
        self._bar.update(self._task, advance=1, description=label)

    def show_line(self, line: Mapping[str, Any]) -> None:
        """For programs only; what is empty is left out."""
        if self._lines:
            _print({name: value for name, value in line.items() if value})

    def show_counts(self, counts: Mapping[str, int]) -> None:
        if self._lines:
            _print(counts)
        else:
            stdout().print(", ".join(f"{count:,} {status}" for status, count in counts.items()))

    def tell(self, line: str, style: str) -> None:
        """A line on stderr, for everybody."""
        stderr().print(printable(line), style=style, markup=False, soft_wrap=True)


def _print(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - rich would wrap and colour it


class _Rate(ProgressColumn):
    """Images per second, or per minute where that is less than one."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min", style="progress.data.speed")
