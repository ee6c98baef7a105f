"""How ``sightline koop download`` shows what happens: lines and a bar for people, JSON for programs."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn

from sightline.cli.console import printable, stderr, stdout
from sightline.cli.koop.unsound import STYLES, list_unsound
from sightline.jobs.koop.progress import DayEnded, Warned, Working
from sightline.jobs.koop.state import UNSOUND, DayState

if TYPE_CHECKING:
    from sightline.jobs.koop.progress import Event
    from sightline.jobs.koop.summary import Summary

_HOUR_S, _MINUTE_S = 3600.0, 60.0
# A day that takes longer is told in days.
_LONG_S = 100 * _HOUR_S


class Watch:
    """Shows events as they come. Where stdout is a terminal each day gets a line, and a bar below has the day
    and the whole; else each day and the end are lines of JSON."""

    def __init__(self, of_days: int) -> None:
        self._lines = not sys.stdout.isatty()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[more]}"),
            console=stderr() if self._lines else stdout(),
            disable=not (sys.stderr if self._lines else sys.stdout).isatty(),
        )
        self._day = self._bar.add_task("decisions", total=0, more="")
        self._all = self._bar.add_task("days", total=of_days, more="")

    def __enter__(self) -> Watch:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Working):
            self._bar.update(
                self._day,
                description=event.date.isoformat(),
                completed=event.publications,
                total=event.of_publications,
            )
        elif isinstance(event, Warned):
            self._warn(event.message)
        else:
            self._end_day(event)

    def end(self, summary: Summary) -> None:
        """The days and files that failed, and how much there is."""
        if self._lines:
            _print({"event": "end", **summary.as_json()})
        list_unsound(stderr(), summary.unsound, summary.failed_days)
        if not self._lines:
            stdout().print(summary.as_text(), markup=False)

    def _warn(self, message: str) -> None:
        stderr().print(f"warning: {printable(message)}", style="yellow", markup=False, soft_wrap=True)

    def _end_day(self, ended: DayEnded) -> None:
        self._bar.update(self._all, completed=ended.days, more=f"ETA {duration(ended.eta_s)}")
        if self._lines:
            _print(_json(ended))
        else:
            style = STYLES.get(ended.state)
            self._bar.console.print(day_line(ended), style=style, markup=False, soft_wrap=True)


def day_line(ended: DayEnded) -> str:
    """A day in one line."""
    parts = [
        f"{ended.publications}/{ended.of_publications} decisions",
        f"{ended.images} images",
        f"{ended.kept} kept",
        f"{ended.failed} failed",
        f"{ended.requests_per_s:.2f} req/s",
        f"ETA {duration(ended.eta_s)}",
    ]
    state = f" {ended.state.value}" if ended.state in UNSOUND or ended.state is DayState.EMPTY else ""
    provisional = " (provisional)" if ended.provisional else ""
    why = f": {printable(ended.error)}" if ended.error else ""
    return f"{ended.date}{state}{provisional} {', '.join(parts)}{why}"


def duration(seconds: float | None) -> str:
    """A length of time in its largest unit but one: 31h, 12min, 40s; "?" if it is not known."""
    if seconds is None:
        return "?"
    if seconds >= _LONG_S:
        return f"{seconds / (24 * _HOUR_S):.0f}d"
    if seconds >= _HOUR_S:
        return f"{seconds / _HOUR_S:.0f}h"
    if seconds >= _MINUTE_S:
        return f"{seconds / _MINUTE_S:.0f}min"
    return f"{seconds:.0f}s"


def _json(ended: DayEnded) -> dict[str, Any]:
    return {
        "event": "day",
        "date": ended.date.isoformat(),
        "state": ended.state.value,
        "provisional": ended.provisional,
        "publications": ended.publications,
        "of_publications": ended.of_publications,
        "images": ended.images,
        "kept": ended.kept,
        "failed": ended.failed,
        "error": ended.error,
        "requests_per_s": round(ended.requests_per_s, 3),
        "days": ended.days,
        "of_days": ended.of_days,
        "eta_s": None if ended.eta_s is None else round(ended.eta_s),
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201 - rich would wrap and colour it
