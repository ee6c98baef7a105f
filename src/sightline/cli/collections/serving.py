"""``sightline collections promote`` and ``rollback``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from sightline.cli.collections.choosing import CollectionsDir, Identity, collections_of
from sightline.cli.console import stdout
from sightline.cli.options import ModelsDir, settings_from


def promote(
    collection: Identity,
    version: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            show_default=False,
            help="A version, as [cyan]sightline collections show[/] lists them.",
        ),
    ],
    collections_dir: CollectionsDir = None,
    models_dir: ModelsDir = None,
) -> None:
    """Let a stored version serve. Running servers take it up at once.

    The one that served stays stored, and [cyan]sightline collections rollback[/] goes back to it.

    [bold]Example[/]

      [cyan]sightline collections promote 7 20261121T004105Z[/]
    """
    settings = settings_from(models_dir=models_dir, collections_dir=collections_dir)
    with collections_of(settings).collection(collection).changing() as change:
        serving = change.promote(version)
    stdout().print(Text(f"{serving.record.version} serves"))


def rollback(
    collection: Identity, collections_dir: CollectionsDir = None, models_dir: ModelsDir = None
) -> None:
    """Let the version serve that did before; again, the one before that.

    Running servers take it up at once. [cyan]sightline collections show[/] says which one serves.

    [bold]Example[/]

      [cyan]sightline collections rollback 7[/]
    """
    settings = settings_from(models_dir=models_dir, collections_dir=collections_dir)
    with collections_of(settings).collection(collection).changing() as change:
        serving = change.roll_back()
    stdout().print(Text(f"{serving.record.version} serves"))
