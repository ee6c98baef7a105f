"""``sightline koop``: one module per command."""

from __future__ import annotations

import typer

from sightline.cli.plugins import Command
from sightline.commands.koop.download import download
from sightline.commands.koop.read import read
from sightline.commands.koop.report import report
from sightline.commands.koop.status import status

_HELP = """Pictures out of Dutch traffic decisions (KOOP): download, judge, look at.

Everything lies in one folder, [cyan]koop[/] unless [cyan]--out[/] names another.

[bold]First steps[/]

  [cyan]sightline models pull clip-vit-b-32 clip-vit-b-32-text[/]    the models that judge
  [cyan]sightline koop download --from 2024-01-15 --to 2024-01-15 --contact https://example.org/about[/]
  [cyan]sightline koop status[/]                                     how it stands, also while it runs
  [cyan]sightline koop read[/]                                       the text in what was kept
  [cyan]sightline koop report[/]                                     pages to look at
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=_HELP)

app.command()(download)
app.command()(status)
app.command()(read)
app.command()(report)

COMMANDS = (Command("koop", app),)
