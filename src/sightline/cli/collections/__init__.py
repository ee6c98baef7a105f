"""``sightline collections``: one module per command or two that belong together."""

from __future__ import annotations

import typer

from sightline.cli.collections.evaluating import evaluate
from sightline.cli.collections.importing import import_
from sightline.cli.collections.listing import list_, show
from sightline.cli.collections.serving import promote, rollback
from sightline.cli.collections.training import train

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Teach Sightline what belongs to a collection of yours, and see which version serves.",
)

app.command("train")(train)
app.command("list")(list_)
app.command("show")(show)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("evaluate")(evaluate)
app.command("import")(import_)
