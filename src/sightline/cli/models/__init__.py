"""``sightline models``: one module per command or two that belong together."""

from __future__ import annotations

import typer

from sightline.cli.models.adopting import adopt
from sightline.cli.models.bundling import bundle, import_
from sightline.cli.models.drifting import drift
from sightline.cli.models.exporting import export
from sightline.cli.models.keeping import remove, verify
from sightline.cli.models.listing import list_
from sightline.cli.models.pulling import pull

_HELP = """See, get, check, measure and carry model files.

Many models are downloaded when they are first needed. The others are converted here, once, from their
published weights.

[bold]First steps[/]

  [cyan]sightline models list[/]                  what there is, and what is missing
  [cyan]sightline models pull clip-vit-b-32[/]    download one now
  [cyan]sightline models export blip-base[/]      convert one
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=_HELP)

app.command("list")(list_)
app.command("pull")(pull)
app.command("export")(export)
app.command("adopt")(adopt)
app.command("verify")(verify)
app.command("drift")(drift)
app.command("remove")(remove)
app.command("bundle")(bundle)
app.command("import")(import_)
