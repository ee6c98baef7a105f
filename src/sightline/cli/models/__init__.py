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

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="See, get, check, measure and carry model files."
)

app.command("list")(list_)
app.command("pull")(pull)
app.command("export")(export)
app.command("adopt")(adopt)
app.command("verify")(verify)
app.command("drift")(drift)
app.command("remove")(remove)
app.command("bundle")(bundle)
app.command("import")(import_)
