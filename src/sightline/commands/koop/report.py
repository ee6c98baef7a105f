"""``sightline koop report``."""

from __future__ import annotations

from typing import Annotated

import typer

from sightline.cli.console import stdout
from sightline.commands.koop.folders import DEFAULT, Out, state_in


def report(
    out: Out = DEFAULT,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", show_default="the first", help="First day.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", show_default="the last", help="Last day, included.")
    ] = None,
) -> None:
    """Write a contact sheet of what was kept: pages of HTML by day, with links to the decisions.

    They lie in the folder of the download, in [cyan]report/[/], need no network, and show small copies of the
    pictures. Writing them again renews them.

    [bold]Examples[/]

      [cyan]sightline koop report[/]
      [cyan]sightline koop report --out koop --from 2024-01-01 --to 2024-01-31[/]
    """
    import datetime as dt

    from sightline.cli.options import settings_from
    from sightline.errors import InvalidRequest
    from sightline.imaging.limits import ImageLimits
    from sightline.jobs.koop.archive.query import parse_day
    from sightline.jobs.koop.output.report import write_report

    limits = ImageLimits.from_settings(settings_from())
    first_day = dt.date.min if first is None else parse_day(first)
    last_day = dt.date.max if last is None else parse_day(last)
    if last_day < first_day:
        raise InvalidRequest(f"The range ends on {last_day}, before it begins on {first_day}.")
    with state_in(out) as state:
        written = write_report(out, state, limits, first_day, last_day)
    stdout().print(
        f"{written.pictures:,} pictures of {written.days:,} days: {written.index}",
        markup=False,
        soft_wrap=True,
    )
