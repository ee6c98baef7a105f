"""``sightline models``: one module per command or two that belong together."""

from __future__ import annotations

import typer

from sightline.cli.models.adopting import adopt
from sightline.cli.models.bundling import bundle, import_
from sightline.cli.models.drifting import drift
from sightline.cli.models.keeping import remove, verify
from sightline.cli.models.listing import list_
from sightline.cli.models.pulling import pull

_HELP = """See, get, check, measure and carry model files.

Models are downloaded and converted when they are first needed.

[bold]First steps[/]

  [cyan]sightline models list[/]                  what there is, and what is missing
  [cyan]sightline models pull clip-vit-b-32[/]    download one now
  [cyan]sightline models pull wildlife[/]         download what a purpose needs
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=_HELP)

app.command("list")(list_)
app.command("pull")(pull)
app.command("adopt")(adopt)
app.command("verify")(verify)
app.command("drift")(drift)
app.command("remove")(remove)
app.command("bundle")(bundle)
app.command("import")(import_)
