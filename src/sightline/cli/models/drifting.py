"""``sightline models drift``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.folders import look_over
from sightline.cli.models.choosing import chosen, open_store, store_of_any_weights, wanted
from sightline.cli.options import ModelsDir, settings_from
from sightline.cli.problems import FAILED, quiet_log
from sightline.errors import InvalidRequest, SightlineError

if TYPE_CHECKING:
    from sightline.cli.models.drift_words import Told, Watch
    from sightline.jobs.drift.comparing import Tally
    from sightline.jobs.drift.measuring import Measured, Twins
    from sightline.models import ModelDefinition
    from sightline.settings import Settings
    from sightline.weights.drift import Limits
    from sightline.weights.store import Installed


@dataclass(frozen=True)
class _Order:
    """What was asked for."""

    sources: list[Path]
    limits: Limits
    min_score: float
    keep: bool


def drift(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="An installed model.")],
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO|FOLDER...", exists=True, show_default=False, help="Photos like those it is to see."
        ),
    ],
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Let the server decide by this measurement. Detectors only."),
    ] = False,
    # No photo that is opened has a longer side.
    max_pixels: Annotated[
        float,
        typer.Option(min=0, max=30_000, help="95 of 100 finds may move by so many pixels of the photo."),
    ] = 1.0,
    max_score: Annotated[float, typer.Option(min=0, max=1, help="95 of 100 scores may move by this.")] = 0.02,
    # What MegaDetector's authors call typical for v5.
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Finds count that either precision is so sure of.")
    ] = 0.2,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    models_dir: ModelsDir = None,
) -> None:
    """Measure on your photos what half precision changes in a model's answers, and what it gains.

    Every photo is computed in f32 and in what [cyan]auto[/] means on this processor. Finds are the same if
    their labels are and their boxes overlap by half; besides the limits below, at most 1 of 100 may be in one
    precision only. Embeddings have one limit: no cosine below 0.999. Of species and places, at most 1 of 100
    photos may get another first one. Captions have no limit.

    [cyan]--keep[/] writes the result beside the weights, if there are 20 photos and 20 finds at least. A
    detector that stayed within the limits is then served in half precision, unless
    SIGHTLINE_DETECTOR_PRECISION says otherwise. Measure again when the weights change.

    The exit code is 1 beyond the limits, and where a photo could not be compared.

    [bold]Examples[/]

      [cyan]sightline models drift megadetector-v5a cameras/[/]
      [cyan]sightline models drift megadetector-v5a cameras/ --keep --max-pixels 3[/]
      [cyan]sightline models drift clip-vit-b-32 holiday/*.jpg --json[/]
    """
    from sightline.weights.drift import Limits

    with quiet_log():
        settings = settings_from(models_dir=models_dir)
        (definition,) = chosen(settings, [name], everything=False)
        for folder in filter(Path.is_dir, photos):
            look_over(folder, recursive=True)
        order = _Order(photos, Limits(max_pixels, max_score), min_score, keep)
        _drift(settings, definition, order, as_json=as_json)


def _drift(settings: Settings, definition: ModelDefinition, order: _Order, *, as_json: bool) -> None:
    from sightline.cli.models import drift_words
    from sightline.jobs.drift.comparing import Finds, tally_for
    from sightline.jobs.drift.measuring import loaded_twice
    from sightline.models import GraphOptions
    from sightline.runtime.graphs import Graphs
    from sightline.runtime.precision import choose, half_of
    from sightline.settings import Precision

    tally = tally_for(definition.card, order.min_score)
    if order.keep and not isinstance(tally, Finds):
        raise InvalidRequest(f"--keep is for detectors, and {definition.name} is none")
    installed = _installed(settings, definition)
    if half_of(settings) is Precision.F32:
        in_openvino = Graphs(settings).computes_in(GraphOptions(Precision.BF16)) is Precision.BF16
        drift_words.say_alike(installed, in_openvino=in_openvino, as_json=as_json)
        return
    watch = drift_words.Watch()
    with watch, loaded_twice(settings, definition, installed.files) as twins:
        measured = _measured(settings, definition, twins, tally, order, watch)
    choice = choose(settings, installed)
    told = drift_words.Told(installed, twins.precision, measured, order.limits, order.min_score, choice)
    refusal = None
    if order.keep:
        try:
            _keep(settings, definition, told)
        except SightlineError as error:
            refusal = error  # the figures are of use all the same
    told.show(watch.failures, as_json=as_json)
    if refusal is not None:
        raise refusal
    if watch.failures or measured.verdict.within is False:
        raise typer.Exit(FAILED)


def _installed(settings: Settings, definition: ModelDefinition) -> Installed:
    """Weights, real or random, whose digests are those of their manifest.

    Raises:
        InvalidRequest: the model has no files.
        SourceMissing: they are not here.
        DigestMismatch: they are not what was installed.
    """
    from sightline.errors import SourceMissing

    want = wanted(definition)
    if want.is_built_in:
        raise InvalidRequest(
            f"{definition.name} has no weights that are installed; expected a model with files to download"
        )
    installed = store_of_any_weights(settings).installed(want, verify=True)
    if installed is None:
        raise SourceMissing(f"{definition.name} is not installed; bring it in with {want.instructions}")
    return installed


def _measured(
    settings: Settings,
    definition: ModelDefinition,
    twins: Twins,
    tally: Tally,
    order: _Order,
    watch: Watch,
) -> Measured:
    from sightline.imaging import ImageLimits
    from sightline.jobs.drift.measuring import Measuring, photos_in

    photos = list(photos_in(order.sources))
    watch.begin(len(photos))
    run = Measuring(definition, twins, tally, ImageLimits.from_settings(settings), watch)
    run.run(photos)
    return run.measured(order.limits)


def _keep(settings: Settings, definition: ModelDefinition, told: Told) -> None:
    """Write the record, and note what comes of it."""
    from sightline.jobs.drift.keeping import record_of
    from sightline.runtime.graphs import Graphs
    from sightline.runtime.precision import choose

    record = record_of(
        told.measured,
        told.installed,
        told.precision,
        arithmetic=Graphs(settings).arithmetic,
        min_score=told.min_score,
        limits=told.limits,
    )
    open_store(settings).keep_drift(wanted(definition), record)
    told.choice, told.kept = choose(settings, told.installed), True
