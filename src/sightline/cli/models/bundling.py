"""``sightline models bundle`` and ``import``: models in one file, for machines without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sightline.cli.console import megabytes, stdout
from sightline.cli.models.choosing import EveryModel, Names, catalogue, chosen, open_store, wanted
from sightline.cli.options import ModelsDir, settings_from


def bundle(
    output: Annotated[
        Path, typer.Argument(metavar="OUT.tar", dir_okay=False, show_default=False, help="File to write.")
    ],
    names: Names = None,
    everything: EveryModel = False,
    models_dir: ModelsDir = None,
) -> None:
    """Write installed models to one file, with digests and licences.

    For machines without a network: [cyan]sightline models import[/] installs it there.

    [bold]Examples[/]

      [cyan]sightline models bundle models.tar --all[/]
      [cyan]sightline models bundle clip.tar clip-vit-b-32 clip-vit-b-32-text[/]
    """
    settings = settings_from(models_dir=models_dir)
    definitions = chosen(settings, names or (), everything=everything)
    open_store(settings).bundle([wanted(definition) for definition in definitions], output)
    stdout().print(Text(f"{output} holds {len(definitions)} models: {megabytes(output.stat().st_size)}"))


def import_(
    bundle_file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, show_default=False, help="A file written by bundle."
        ),
    ],
    models_dir: ModelsDir = None,
) -> None:
    """Install the models of a bundle. Nothing changes unless all of it is intact.

    [cyan]sightline models bundle[/] writes such files on another machine; no network is needed here.

    [bold]Example[/]

      [cyan]sightline models import models.tar[/]
    """
    settings = settings_from(models_dir=models_dir)
    known = {name: wanted(definition) for name, definition in catalogue(settings).items()}
    for installed in open_store(settings).import_bundle(bundle_file, known):
        text = f"{installed.model} is here: {installed.provenance.value}, fingerprint {installed.fingerprint}"
        stdout().print(Text(text))
