"""``sightline settings``."""

from __future__ import annotations

import json
from dataclasses import asdict

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
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    shown = table(["Variable", "Value", "Meaning"])
    for each in found:
        value = each.value if each.value == each.default else f"[bold]{each.value}[/]"
        shown.add_row("\n".join(each.variables), value, each.meaning)
    stdout().print(shown)
