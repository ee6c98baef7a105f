"""How ``sightline koop download`` shows what happens: lines and a bar for people, JSON for programs."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn

from sightline.cli.console import printable, stderr, stdout
from sightline.commands.koop.unsound import STYLES, list_unsound
from sightline.jobs.koop.polite import Doing
from sightline.jobs.koop.run.progress import Answered, DayEnded, Silent, Warned, Working
from sightline.jobs.koop.store.state import UNSOUND, DayState

if TYPE_CHECKING:
    from sightline.jobs.koop.output.summary import Summary
    from sightline.jobs.koop.polite import Silence
    from sightline.jobs.koop.run.progress import Event

_HOUR_S, _MINUTE_S = 3600.0, 60.0
# A day that takes longer is told in days.
_LONG_S = 100 * _HOUR_S
# A silence that goes on is told to programs, and to people in lines that stay, no more often than this.
_TOLD_EVERY_S = 60.0
_DOING = {
    Doing.ASKING: "a request is under way",
    Doing.RETRY_AFTER: "left alone, as it asks",
    Doing.PAUSING: "left alone, as it had too much",
    Doing.LEAVING_ALONE: "left alone after failing so often",
    Doing.BACKING_OFF: "tried again",
    Doing.IN_TURN: "asked in turn",
}


class Watch:
    """Shows events as they come. Where stdout is a terminal each day gets a line, and a bar has the day,
    whom it waits for, and the whole; else days, minutes of a host's silence, and the end are lines of JSON.
    """

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
        self._told: dict[str, Silence] = {}

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
        elif isinstance(event, Silent):
            self._wait(event.silence)
        elif isinstance(event, Answered):
            self._go_on(event)
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

    def _wait(self, silence: Silence) -> None:
        self._bar.update(self._day, more=f"waiting for {_name(silence.origin)}, {duration(silence.for_s)}")
        told = self._told.get(silence.origin)
        is_other = told is None or told.doing != silence.doing
        if told is not None and not is_other and silence.for_s < told.for_s + _TOLD_EVERY_S:
            return
        self._told[silence.origin] = silence
        if self._lines:
            _print(_waiting(silence))
        elif is_other:
            self._tell(silence_line(silence))

    def _go_on(self, answered: Answered) -> None:
        self._bar.update(self._day, more="")
        self._told.pop(answered.origin, None)
        if self._lines:
            event = {"event": "answered", "host": answered.origin, "after_s": round(answered.after_s)}
            _print({**event, "at": _moment()})
        else:
            self._tell(f"{_name(answered.origin)} answers again, after {duration(answered.after_s)}")

    def _tell(self, line: str) -> None:
        self._bar.console.print(printable(line), style="yellow", markup=False, soft_wrap=True)

    def _end_day(self, ended: DayEnded) -> None:
        self._bar.update(self._day, more="")
        self._bar.update(self._all, completed=ended.days, more=f"ETA {duration(ended.eta_s)}")
        if self._lines:
            _print(_json(ended))
        else:
            style = STYLES.get(ended.state)
            self._bar.console.print(day_line(ended), style=style, markup=False, soft_wrap=True)


def day_line(ended: DayEnded) -> str:
    """A day in one line."""
    absent = f" ({ended.absent} no longer found)" if ended.absent else ""
    parts = [
        f"{ended.publications}/{ended.of_publications} decisions{absent}",
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


def silence_line(silence: Silence) -> str:
    """A host that owes an answer: since when, why if that is known, and what is done about it."""
    why = f" ({silence.reason})" if silence.reason else ""
    until = "" if silence.until_unix_s is None else f" until {_clock(silence.until_unix_s)}"
    if silence.doing is Doing.BACKING_OFF and silence.until_unix_s is not None:
        until = f" at {_clock(silence.until_unix_s)}"
    return (
        f"{_name(silence.origin)} has given no answer since {_clock(silence.since_unix_s)}, "
        f"{duration(silence.for_s)} ago{why}: {_DOING[silence.doing]}{until}"
    )


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
        "absent": ended.absent,
        "images": ended.images,
        "kept": ended.kept,
        "failed": ended.failed,
        "error": ended.error,
        "requests_per_s": round(ended.requests_per_s, 3),
        "days": ended.days,
        "of_days": ended.of_days,
        "eta_s": None if ended.eta_s is None else round(ended.eta_s),
        "at": _moment(),
    }


def _waiting(silence: Silence) -> dict[str, Any]:
    return {
        "event": "waiting",
        "host": silence.origin,
        "since": _moment(silence.since_unix_s),
        "for_s": round(silence.for_s),
        "doing": silence.doing.value,
        "until": None if silence.until_unix_s is None else _moment(silence.until_unix_s),
        "reason": silence.reason,
        "at": _moment(),
    }


def _name(origin: str) -> str:
    return origin.partition("://")[2]


def _clock(unix_s: float) -> str:
    """The time of day, here."""
    return dt.datetime.fromtimestamp(unix_s).astimezone().strftime("%H:%M:%S")


def _moment(unix_s: float | None = None) -> str:
    at = dt.datetime.now(dt.UTC) if unix_s is None else dt.datetime.fromtimestamp(unix_s, dt.UTC)
    return at.isoformat(timespec="seconds")


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201 - rich would wrap and colour it
