"""``sightline models pull``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sightline.cli.console import megabytes, stdout
from sightline.cli.models.choosing import EveryModel, NamesOrPurposes, chosen, is_random, open_store, wanted
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, say
from sightline.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sightline.models import ModelDefinition
    from sightline.settings import Settings
    from sightline.weights.sources import Report
    from sightline.weights.store import Installed, Store, Wanted

    # Installs one model, telling how far it is.
    Install = Callable[[Wanted, Report], Installed]


class Size(StrEnum):
    FULL = "full"
    TINY = "tiny"


def pull(
    names: NamesOrPurposes = None,
    everything: EveryModel = False,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch again what is here, and forget recorded digests")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            exists=True,
            show_default="downloaded",
            help="Take published files from this file, folder or archive; download only the rest",
        ),
    ] = None,
    any_digest: Annotated[
        bool, typer.Option("--any-digest", help="With --from, accept files other than the published ones")
    ] = False,
    random: Annotated[
        bool, typer.Option("--random", help="Make up weights, for tests; answers mean nothing")
    ] = False,
    size: Annotated[
        Size | None,
        typer.Option(show_default="full", help="With --random: tiny has a few layers and needs no network"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, show_default="0", help="With --random: equal seeds, equal weights")
    ] = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Download models and convert them. Interrupted downloads resume; installed models are skipped.

    Every file is checked against its digest, and nothing in it is executed. A model is named by itself or by
    what it is for: an operation, a capability, or a word such as wildlife, geolocation, captions, faces.
    Without a name, the models come that the operations use by default.
    The exit code is 1 if a model could not be installed.

    With [cyan]--random[/] nothing is downloaded that can be made up. The server loads such models only with
    SIGHTLINE_ALLOW_RANDOM_WEIGHTS=1.

    [bold]Examples[/]

      [cyan]sightline models pull[/]
      [cyan]sightline models pull wildlife geolocation[/]
      [cyan]sightline models pull megadetector-v5a --from ~/Downloads/md_v5a.0.0.pt[/]
      [cyan]sightline models pull --all --random --size tiny[/]
      [cyan]HF_ENDPOINT=https://mirror.example sightline models pull clip-vit-b-32[/]
    """
    _require_sensible(force, source, any_digest, random, size, seed)
    settings = settings_from(models_dir=models_dir, offline=offline)
    definitions = chosen(settings, names or (), everything=everything, by_purpose=True)
    store = open_store(settings)
    wanteds = []
    for definition in definitions:
        if definition.connect is None:
            wanteds.append(wanted(definition))
        elif not everything:
            stdout().print(Text(_nothing_to_pull(settings, definition)))
    if random:
        succeeded = _install_all(wanteds, (), _making_up(store, size or Size.FULL, seed or 0))
    else:
        coming = [want for want in wanteds if force or store.installed(want) is None]
        with store.together(wanteds):
            install = _pulling(store, force, source, any_digest=any_digest, required=len(wanteds) == 1)
            succeeded = _install_all(wanteds, coming, install)
    if not succeeded:
        raise typer.Exit(FAILED)


def _require_sensible(
    force: bool, source: Path | None, any_digest: bool, random: bool, size: Size | None, seed: int | None
) -> None:
    if random and (force or source or any_digest):
        raise InvalidRequest("--force, --from and --any-digest are for published weights, not for --random")
    if not random and (size is not None or seed is not None):
        raise InvalidRequest("--size and --seed go with --random; published weights have one size")
    if any_digest and source is None:
        raise InvalidRequest("--any-digest goes with --from")


def _making_up(store: Store, size: Size, seed: int) -> Install:
    from sightline.weights.sources import Recipe

    recipe = Recipe(seed, size.value)
    return lambda want, report: store.make_up(want, recipe, report)


def _pulling(store: Store, force: bool, source: Path | None, *, any_digest: bool, required: bool) -> Install:
    from sightline.weights.offers import Offer

    offer = Offer(source, any_digest=any_digest, required=required) if source else None
    return lambda want, report: store.pull(want, report, force=force, offer=offer)


def _install_all(wanteds: Sequence[Wanted], coming: Sequence[Wanted], install: Install) -> bool:
    """Install one model after another, and return whether all succeeded. ``coming`` are to be downloaded."""
    from sightline.cli.models.bars import Bars
    from sightline.errors import WeightsError

    succeeded = True
    with Bars(*coming) as bars:
        for want in wanteds:
            try:
                installed = install(want, bars.of(want))
            except WeightsError as error:
                succeeded = False
                say(str(error))
            else:
                stdout().print(_done(installed))
    return succeeded


def _nothing_to_pull(settings: Settings, definition: ModelDefinition) -> str:
    lacking = definition.lacking(settings)
    state = f"not configured: {lacking}" if lacking else "configured"
    return f"{definition.name} is reached by settings, there is nothing to download; it is {state}"


def _done(installed: Installed) -> Text:
    num_bytes = sum(path.stat().st_size for path in installed.files.values())
    text = Text(f"{installed.model} is here: {megabytes(num_bytes)}, fingerprint {installed.fingerprint}")
    return text.append(" random weights", style="bold red") if is_random(installed) else text
