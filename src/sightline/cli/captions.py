"""How ``sightline caption`` shows what happens: a bar for people, lines of JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from sightline.cli.console import printable, stderr, stdout
from sightline.cli.progress import image_bar
from sightline.jobs.captioning import CaptionStatus

if TYPE_CHECKING:
    from sightline.jobs.captioning import Captioned, Tally


class Watch:
    """Shows each image as its end is reported: a bar on stderr if that is a terminal, and a line of JSON on
    stdout if that is none."""

    def __init__(self) -> None:
        self._bar = image_bar()
        self._lines = not sys.stdout.isatty()
        self._task = self._bar.add_task("looking for images", total=None)

    def __enter__(self) -> Watch:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def begin(self, total: int) -> None:
        self._bar.reset(self._task, total=total, description="loading the model")

    def __call__(self, captioned: Captioned) -> None:
        if captioned.status is not CaptionStatus.SKIPPED or not captioned.is_usual:
            self._bar.update(self._task, advance=1, description="captioning")
        if self._lines:
            _print(_line(captioned))

    def end(self, tally: Tally) -> None:
        """The warnings, every image that is worth a line, and how many there were."""
        errors = stderr()
        for warning in tally.warnings:
            errors.print(f"warning: {printable(warning)}", style="yellow", markup=False, soft_wrap=True)
        for each in tally.unusual:
            style = "red" if each.status is CaptionStatus.FAILED else "yellow"
            line = f"{each.status.value}: {printable(str(each.image))}: {printable(each.reason or '')}"
            errors.print(line, style=style, markup=False, soft_wrap=True)
        counts = {status.value: tally.counts[status] for status in CaptionStatus}
        if self._lines:
            _print(counts)
        else:
            stdout().print(", ".join(f"{count:,} {status}" for status, count in counts.items()))


def _line(captioned: Captioned) -> dict[str, Any]:
    line = {
        "image": str(captioned.image),
        "status": captioned.status.value,
        "caption": captioned.caption,
        "reason": captioned.reason,
        "warnings": list(captioned.warnings),
    }
    return {name: value for name, value in line.items() if value}


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - rich would wrap and colour it
