"""How ``sightline wildlife`` shows what happens: a bar for people, lines of JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from sightline.cli.console import printable, stderr, stdout
from sightline.cli.progress import image_bar
from sightline.jobs.wildlife.identification import PhotoStatus

if TYPE_CHECKING:
    from sightline.jobs.wildlife.identification import PhotoEnd, Tally


class Watch:
    """Shows each photo as its end is reported: a bar on stderr if that is a terminal, and a line of JSON on
    stdout if that is none."""

    def __init__(self) -> None:
        self._bar = image_bar()
        self._lines = not sys.stdout.isatty()
        self._task = self._bar.add_task("loading the models", total=None)

    def __enter__(self) -> Watch:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def begin(self, total: int) -> None:
        self._bar.reset(self._task, total=total, description="looking")

    def __call__(self, end: PhotoEnd) -> None:
        if end.status is not PhotoStatus.KEPT:
            self._bar.update(self._task, advance=1)
        if self._lines:
            _print(_line(end))

    def end(self, tally: Tally) -> None:
        """The warnings, the photos that failed, and how many there were."""
        for warning in tally.warnings:
            _tell(f"warning: {warning}", "yellow")
        for each in tally.failures:
            _tell(f"failed: {each.photo}: {each.reason}", "red")
        if more := tally.failed - len(tally.failures):
            _tell(f"and {more:,} more, which have failures in the file", "red")
        counts = {status.value: tally.counts[status] for status in PhotoStatus}
        if self._lines:
            _print(counts)
        else:
            stdout().print(", ".join(f"{count:,} {status}" for status, count in counts.items()))


def _tell(line: str, style: str) -> None:
    stderr().print(printable(line), style=style, markup=False, soft_wrap=True)


def _line(end: PhotoEnd) -> dict[str, Any]:
    line = {
        "photo": end.photo,
        "status": end.status.value,
        "reason": end.reason,
        "warnings": list(end.warnings),
    }
    return {name: value for name, value in line.items() if value}


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - rich would wrap and colour it
