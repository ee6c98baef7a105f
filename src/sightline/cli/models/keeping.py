"""``sightline models verify`` and ``remove``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from sightline.cli.console import megabytes, stdout
from sightline.cli.models.choosing import EveryModel, Names, chosen, open_store, store_of_any_weights, wanted
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, say


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", show_default="all that are installed", help="Models to check."),
    ] = None,
    models_dir: ModelsDir = None,
) -> None:
    """Read installed models again and compare every file with its recorded digest.

    The copies that the server keeps of their graphs are compared too. Damaged files are named, nothing is
    changed, and the exit code is 1.

    [bold]Examples[/]

      [cyan]sightline models verify[/]
      [cyan]sightline models verify clip-vit-b-32[/]
    """
    from sightline.errors import WeightsError
    from sightline.runtime import intermediate

    settings = settings_from(models_dir=models_dir)
    store = store_of_any_weights(settings)
    copies = intermediate.folder(settings.models_dir)
    failed = False
    for definition in chosen(settings, names or (), everything=not names):
        if not definition.card.artifacts:
            continue
        try:
            installed = store.installed(wanted(definition), verify=True)
        except WeightsError as error:
            failed = True
            say(str(error))
            continue
        if installed is not None:
            damaged = intermediate.damaged(copies, installed.files.values())
            failed = failed or bool(damaged)
            for path in damaged:
                say(
                    f"{definition.name}: the compiled copy of {path.name} is damaged; "
                    "the next load makes it anew"
                )
            if not damaged:
                stdout().print(Text(f"{definition.name} is intact: {len(installed.files)} files"))
        elif names:
            failed = True
            say(f"{definition.name} is not installed; get it with: sightline models pull {definition.name}")
    if failed:
        raise typer.Exit(FAILED)


def remove(
    names: Names = None,
    everything: EveryModel = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Delete the files of models, unfinished downloads and random weights included.

    It asks first. They can be had again by [cyan]sightline models pull[/].

    [bold]Examples[/]

      [cyan]sightline models remove clip-vit-l-14[/]
      [cyan]sightline models remove --all --yes[/]
    """
    settings = settings_from(models_dir=models_dir, offline=offline)
    store = open_store(settings)
    definitions = chosen(settings, names or (), everything=everything)
    sizes = {definition.name: store.disk_bytes(definition.name) for definition in definitions}
    if not any(sizes.values()):
        stdout().print("Nothing of that is here.")
        return
    listed = ", ".join(name for name, num_bytes in sizes.items() if num_bytes)
    if not yes:
        typer.confirm(f"Delete {listed} ({megabytes(sum(sizes.values()))})?", abort=True)
    for name, num_bytes in sizes.items():
        if num_bytes:
            store.remove(name)
            stdout().print(Text(f"{name} is gone: {megabytes(num_bytes)} freed"))
