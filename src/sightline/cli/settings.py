"""``sightline settings``."""

from __future__ import annotations

import json

import typer

from sightline.cli.console import stdout, table
from sightline.cli.options import AsJson, settings_from


def settings(as_json: AsJson = False) -> None:
    """List every setting: its variable, what it is now, and what it means.

    A value that the environment or a [cyan].env[/] file changed is bold. Secrets are not shown.

    [bold]Examples[/]

      [cyan]sightline settings[/]
      [cyan]SIGHTLINE_PRECISION=f32 sightline serve[/]
    """
    from sightline.settings import described

    found = described(settings_from())
    if as_json:
        entries = [
            {
                "variables": each.variables,
                "value": each.value,
                "default": each.default,
                "meaning": each.meaning,
            }
            for each in found
        ]
        typer.echo(json.dumps(entries, indent=2))
        return
    shown = table(["Variable", "Value", "Meaning"])
    for each in found:
        value = each.value if each.value == each.default else f"[bold]{each.value}[/]"
        shown.add_row("\n".join(each.variables), value, each.meaning)
    stdout().print(shown)
