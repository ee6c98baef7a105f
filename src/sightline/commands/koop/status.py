"""``sightline koop status``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sightline.cli.console import megabytes, stdout, table
from sightline.cli.options import AsJson
from sightline.commands.koop.folders import DEFAULT, Out, state_in
from sightline.commands.koop.unsound import list_unsound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sightline.jobs.koop.output.summary import Status


def status(out: Out = DEFAULT, as_json: AsJson = False) -> None:
    """How a download stands: days, images, verdicts, disk, rates learned, and what failed. It may be running.

    Days that failed are worked on again by [cyan]sightline koop download --retry-failed[/].

    [bold]Examples[/]

      [cyan]sightline koop status[/]
      [cyan]sightline koop status --out koop --json[/]
    """
    from sightline.jobs.koop.output.summary import status_of

    with state_in(out) as state:
        found = status_of(state)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))  # noqa: T201 - rich would wrap and colour it
        return
    _show(found)


def _show(found: Status) -> None:
    from sightline.jobs.koop.store.state import UNSOUND

    shown = table(["", "what"])
    shown.add_row("range", f"{found.first} to {found.last}" if found.first else "no day yet")
    shown.add_row("days", _counts(found.days))
    shown.add_row("provisional", f"{found.provisional_days:,}")
    shown.add_row("decisions", f"{found.publications:,}")
    shown.add_row("images", _counts(found.items))
    shown.add_row("verdicts", "\n".join(f"{n:,} by {model}" for model, n in found.verdicts.items()) or "none")
    shown.add_row("disk", megabytes(found.disk_bytes))
    rates = [f"{rate:.2f}/s {origin}" for origin, rate in found.rates_per_s.items()]
    shown.add_row("rates", "\n".join(rates) or "not learned yet")
    stdout().print(shown)
    list_unsound(stdout(), found.unsound, sum(found.days.get(state, 0) for state in UNSOUND))


def _counts(of: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in of.items()) or "none"
