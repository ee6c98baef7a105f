"""``sightline models export``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sightline.cli.console import stderr, stdout
from sightline.cli.models.choosing import EveryModel, Names, chosen, open_store, wanted
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, say

if TYPE_CHECKING:
    from sightline.models import ModelDefinition
    from sightline.settings import Settings


class Weights(StrEnum):
    CANONICAL = "canonical"
    RANDOM = "random"


class Size(StrEnum):
    FULL = "full"
    TINY = "tiny"


_SHA256 = re.compile("[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class _Order:
    """What was asked for, of every model named."""

    weights: Weights
    seed: int
    size: Size
    source: Path | None
    trust: str | None


def export(
    names: Names = None,
    everything: EveryModel = False,
    weights: Annotated[
        Weights, typer.Option(help="canonical: the published numbers. random: the architecture only.")
    ] = Weights.CANONICAL,
    seed: Annotated[int, typer.Option(min=0, help="For random weights: equal seeds, equal numbers.")] = 0,
    size: Annotated[
        Size, typer.Option(help="tiny: a few layers, for tests; only with random weights.")
    ] = Size.FULL,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            exists=True,
            show_default="fetched",
            help="File or folder with the published weights.",
        ),
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="Digest of published weights that you trust to run code when they are read.",
        ),
    ] = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Make model files on this machine, from canonical weights or at random.

    PyTorch is needed for this alone, so it runs in an environment of its own (made by uv, several GB the
    first time). Models with random weights are for tests and benchmarks: their answers mean nothing, and the
    server loads them only with SIGHTLINE_ALLOW_RANDOM_WEIGHTS=1.

    [bold]Examples[/]

      [cyan]sightline models export fasterrcnn-resnet50-fpn[/]
      [cyan]sightline models export --all --weights random --size tiny[/]
      [cyan]sightline models export speciesnet-v4.0.3a --from ~/Downloads/speciesnet-v4.0.3a.tar.gz[/]
    """
    from sightline.errors import InvalidRequest, WeightsError

    if size is Size.TINY and weights is Weights.CANONICAL:
        raise InvalidRequest("canonical weights have one size; --size tiny goes with --weights random")
    if weights is Weights.RANDOM and (source or trust):
        raise InvalidRequest("--from and --trust are about published weights; random ones come from nowhere")
    if trust is not None and not _SHA256.fullmatch(trust):
        raise InvalidRequest("--trust takes a sha256, which has 64 hexadecimal digits")
    settings = settings_from(models_dir=models_dir, offline=offline)
    order = _Order(weights, seed, size, source, trust)
    failed = False
    for definition in chosen(settings, names or (), everything=everything):
        if definition.card.exporter is None:
            if not everything:
                failed = True
                say(
                    f"{definition.name} has no exporter; get it with: sightline models pull {definition.name}"
                )
            continue
        try:
            _export(settings, definition, order)
        except WeightsError as error:
            failed = True
            say(str(error))
    if failed:
        raise typer.Exit(FAILED)


def _export(settings: Settings, definition: ModelDefinition, order: _Order) -> None:
    from sightline.cli.models.bars import Bars
    from sightline.types import Provenance
    from sightline.weights.exporting import run_exporter

    family = definition.card.exporter or ""
    origin, provenance = f"exporter {family!r} of canonical weights", Provenance.EXPORTED
    if order.weights is Weights.RANDOM:
        origin = f"random weights, seed {order.seed}, size {order.size.value}"
        provenance = Provenance.RANDOM
    root = settings.models_dir.expanduser()
    root.mkdir(parents=True, exist_ok=True)
    # Beside the models, so that gigabytes are renamed into place and not copied.
    with TemporaryDirectory(dir=root, prefix=".export-") as folder:
        log = stderr()
        run_exporter(
            family,
            model=definition.name,
            weights=order.weights.value,
            seed=order.seed,
            size=order.size.value,
            output=Path(folder),
            offline=settings.offline,
            hub_endpoint=settings.hub_endpoint,
            hub_token=settings.hub_token.get_secret_value() if settings.hub_token else None,
            source=order.source,
            trusted_sha256=order.trust,
            log=lambda line: log.print(line, style="dim", markup=False, soft_wrap=True),
        )
        want = wanted(definition)
        with Bars(want) as bars:
            installed = open_store(settings).adopt(want, Path(folder), provenance, origin, bars.of(want))
    marked = " [bold red]random weights[/]" if provenance is Provenance.RANDOM else ""
    stdout().print(f"{escape(installed.model)} is here: fingerprint {installed.fingerprint}{marked}")
