"""``sightline duplicates``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.console import printable, stderr, stdout
from sightline.cli.libraries.options import DEFAULT_NAME, Name, as_json, shelf_of
from sightline.cli.options import settings_from

if TYPE_CHECKING:
    from sightline.jobs.libraries.duplicates import Group


def duplicates(
    library: Name = DEFAULT_NAME,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            show_default="all",
            help="[cyan]exact[/]: equal files. [cyan]near[/]: other size, format or quality. "
            "[cyan]burst[/]: taken within seconds. May be repeated.",
        ),
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="Print a line of JSON per group.")] = False,
) -> None:
    """List photos of a library that show the same, the best copy first. Nothing is deleted.

    [bold]Examples[/]

      [cyan]sightline duplicates[/]
      [cyan]sightline duplicates --kind exact --json[/]
    """
    from sightline.errors import InvalidRequest
    from sightline.jobs.libraries.duplicates import Kind, duplicate_groups

    try:
        kinds = [Kind(each) for each in kind or list(Kind)]
    except ValueError:
        known = ", ".join(each.value for each in Kind)
        raise InvalidRequest(f"--kind: {kind}; expected one of {known}") from None
    with shelf_of(settings_from()).open(library) as opened:
        groups = duplicate_groups(opened, kinds)
    for group in groups:
        _show(group, json_lines=json_lines)
    if not json_lines:
        spare = sum(item.size for group in groups for item in group.items[1:])
        stderr().print(f"{len(groups):,} groups; the other copies take {spare / 1e6:,.1f} MB", markup=False)


def _show(group: Group, *, json_lines: bool) -> None:
    if json_lines:
        as_json(group.facts())
        return
    best, *rest = group.items
    lines = [f"{group.kind.value}: keep {best.path} ({group.reason})"]
    lines += [f"  also {item.path}" for item in rest]
    for line in lines:
        stdout().print(printable(line), markup=False, soft_wrap=True, highlight=False)
