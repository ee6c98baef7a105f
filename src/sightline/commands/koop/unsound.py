"""The days that are not as they should be, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.cli.console import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from sightline.jobs.koop.output.summary import UnsoundDay

# By the values of ``jobs.koop.store.state.DayState``, which a command's help need not import.
STYLES = {"failed": "red", "partial": "yellow", "empty": "dim"}


def list_unsound(console: Console, days: Sequence[UnsoundDay], number: int) -> None:
    """The first of ``number`` partial and failed days, with what failed on them; nothing if none are."""
    for each in days:
        why = printable(each.error or "unknown")
        console.print(
            f"{each.date} {each.state.value}: {why}",
            style=STYLES[each.state.value],
            markup=False,
            soft_wrap=True,
        )
        for what, reason in each.troubles:
            console.print(f"  {printable(what)}: {printable(reason)}", markup=False, soft_wrap=True)
    if number > len(days):
        console.print(f"and {number - len(days):,} more days", markup=False)
    if days:
        console.print("sightline koop download --retry-failed tries these again", markup=False)
