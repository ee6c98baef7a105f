"""``sightline koop``: one module per command."""

from __future__ import annotations

import typer

from sightline.cli.koop.download import download
from sightline.cli.koop.report import report
from sightline.cli.koop.status import status

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Pictures out of Dutch traffic decisions (KOOP): download, judge, look at.",
)

app.command()(download)
app.command()(status)
app.command()(report)
