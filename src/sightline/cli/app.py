"""All commands. Those of ``sightline.commands`` and of plug-ins load through the hook."""

from __future__ import annotations

from typing import Annotated

import typer

from sightline import __version__
from sightline.cli import collections, keys, libraries, models
from sightline.cli.analyze import analyze
from sightline.cli.caption import caption
from sightline.cli.classify import classify
from sightline.cli.doctor import doctor
from sightline.cli.locate import locate
from sightline.cli.operations import operations
from sightline.cli.plugins import PluggableCommands
from sightline.cli.serve import serve
from sightline.cli.settings import settings
from sightline.cli.wildlife import wildlife

app = typer.Typer(
    name="sightline",
    cls=PluggableCommands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sightline {__version__}")
        raise typer.Exit


@app.callback()
def sightline(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """[bold]Sightline says what is in a photo[/]: people and faces, animals, places, captions, vectors.

    [bold]First steps[/]

      [cyan]sightline doctor[/]               what runs here, and what is missing
      [cyan]sightline models pull --all[/]    download the models, once
      [cyan]sightline analyze photo.jpg[/]    ask about a photo, no server needed
      [cyan]sightline locate photo.jpg[/]     ask where it was taken
      [cyan]sightline classify photo.jpg[/]   ask what kind of picture it is
      [cyan]sightline index ~/Pictures[/]     make photos searchable, then [cyan]sightline search[/]
      [cyan]sightline serve[/]                answer over HTTP at http://127.0.0.1:8000

    Each command explains itself by example, as in [cyan]sightline analyze --help[/].

    Settings come from SIGHTLINE_* variables or a .env file; options given here go before them.
    """


app.command()(serve)
app.command()(analyze)
app.command()(locate)
app.command()(classify)
app.command()(caption)
app.command()(wildlife)
app.command()(operations)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(collections.app, name="collections")
app.command()(libraries.index)
app.command()(libraries.search)
app.command()(libraries.duplicates)
app.add_typer(libraries.app, name="libraries")
app.command()(settings)
app.command()(doctor)
