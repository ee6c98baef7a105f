"""``sightline collections``: one module per command or two that belong together."""

from __future__ import annotations

import typer

from sightline.cli.collections.evaluating import evaluate
from sightline.cli.collections.importing import import_
from sightline.cli.collections.listing import list_, show
from sightline.cli.collections.serving import promote, rollback
from sightline.cli.collections.training import train

_HELP = """Teach Sightline what belongs to a collection of yours, and see which version serves.

Training needs scikit-learn ([cyan]make extras[/] in a checkout, else [cyan]pip install scikit-learn pyarrow
matplotlib[/]); serving does not.

[bold]First steps[/]

  [cyan]sightline collections train --source cats/[/]    a folder with cats/in and cats/out
  [cyan]sightline collections show cats[/]               its versions, and which one serves
  [cyan]sightline analyze photo.jpg --task classify:collection_id=cats[/]
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=_HELP)

app.command("train")(train)
app.command("list")(list_)
app.command("show")(show)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("evaluate")(evaluate)
app.command("import")(import_)
