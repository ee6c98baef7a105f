"""``sightline models pull``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sightline.cli.console import megabytes, stdout
from sightline.cli.models.choosing import EveryModel, Names, chosen, open_store, wanted
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, say

if TYPE_CHECKING:
    from sightline.models import ModelDefinition
    from sightline.settings import Settings
    from sightline.weights.store import Installed


def pull(
    names: Names = None,
    everything: EveryModel = False,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch again what is here, and forget recorded digests.")
    ] = False,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Download models. What broke off goes on where it stopped; what is here is not fetched again.

    Every file is checked against its digest. The exit code is 1 if a model could not be had.

    [bold]Examples[/]

      [cyan]sightline models pull --all[/]
      [cyan]sightline models pull clip-vit-b-32 --models-dir /srv/models[/]
      [cyan]HF_ENDPOINT=https://mirror.example sightline models pull --all[/]
    """
    from sightline.cli.models.bars import Bars
    from sightline.errors import WeightsError

    settings = settings_from(models_dir=models_dir, offline=offline)
    store = open_store(settings)
    failed = False
    for definition in chosen(settings, names or (), everything=everything):
        if definition.connect is not None:
            if not everything:
                stdout().print(Text(_nothing_to_pull(settings, definition)))
            continue
        want = wanted(definition)
        try:
            with Bars(want) as bars:
                installed = store.pull(want, bars, force=force)
        except WeightsError as error:
            failed = True
            say(str(error))
        else:
            stdout().print(_done(installed))
    if failed:
        raise typer.Exit(FAILED)


def _nothing_to_pull(settings: Settings, definition: ModelDefinition) -> str:
    lacking = definition.lacking(settings)
    state = f"not configured: {lacking}" if lacking else "configured"
    return f"{definition.name} stands on settings, there is nothing to download; it is {state}"


def _done(installed: Installed) -> Text:
    num_bytes = sum(path.stat().st_size for path in installed.files.values())
    return Text(f"{installed.model} is here: {megabytes(num_bytes)}, fingerprint {installed.fingerprint}")
