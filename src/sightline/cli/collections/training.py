"""``sightline collections train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.collections.choosing import (
    CollectionsDir,
    Embedding,
    FaceWithin,
    Fingerprints,
    Only,
    Part,
    SourceName,
    collections_of,
    fingerprints_of,
    plan_of,
)
from sightline.cli.collections.tables import (
    SCORES,
    complain,
    scores_cells,
    served_text,
    tell_failures,
    tell_source,
    versions_table,
    write_plot,
)
from sightline.cli.console import stdout
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, quiet_log
from sightline.cli.session import leave_on_interrupt
from sightline.types import FaceContext, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sightline.jobs.collections.plans import Plan
    from sightline.jobs.collections.runs import Ended
    from sightline.jobs.collections.training import Training
    from sightline.settings import Settings


def train(
    source: SourceName = None,
    collection: Only = None,
    embedding: Embedding = "clip",
    target: Part = Target.WHOLE_IMAGE,
    face_context: FaceWithin = FaceContext.PROMINENT_PERSON,
    fingerprint: Fingerprints = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            "--plots",
            metavar="DIR",
            file_okay=False,
            show_default="none",
            help="Draw precision and recall of each trained collection's versions there, as ID.png.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per collection.")] = False,
    collections_dir: CollectionsDir = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Train a classifier for each collection of a source, and let the best version of each serve.

    A fifth of the examples is held out; all stored versions are measured on it, the ten best are kept.
    Running servers use what was trained at once, without a restart. Pictures that cannot be used are listed
    and left out. A collection that fails does not stop the others: it is listed at the end, what served of
    it goes on, and the exit code is 1. Vectors of pictures are kept, so training again embeds only new ones.

    [bold]Examples[/]

      [cyan]sightline collections train --source cats/[/]   a folder with cats/in and cats/out
      [cyan]sightline collections train --source faces/ --embedding clip+dinov2 --target prominent_face[/]
      [cyan]sightline collections train --source vectors.parquet --collection 7[/]
      [cyan]sightline collections train --source https://collections.example[/]
    """
    import asyncio

    settings = settings_from(models_dir=models_dir, offline=offline, collections_dir=collections_dir)
    plan, fingerprints = plan_of(settings, embedding, target, face_context), fingerprints_of(fingerprint)
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
    with quiet_log(), leave_on_interrupt():
        ended = asyncio.run(
            _run(settings, source or settings.collections_source, plan, fingerprints, collection or ())
        )
    if as_json:
        for each in ended:
            typer.echo(json.dumps(_line(each)))
    else:
        _show(ended)
    for each in ended:
        tell_source(each)
        if plots is not None and each.done is not None:
            _plot(settings, each.collection, plots)
    if not ended:
        complain("the source has no collections", "yellow")
    if tell_failures(each for each in ended if each.error is not None):
        raise typer.Exit(FAILED)


async def _run(
    settings: Settings, source: str, plan: Plan, fingerprints: dict[str, str], only: Sequence[str]
) -> list[Ended[Training]]:
    from sightline.cli.collections.progress import Steps
    from sightline.jobs.collections.opening import source_of
    from sightline.jobs.collections.runs import train_all

    name = only[0] if len(only) == 1 else None
    with Steps() as report:
        async with source_of(source, settings, plan, fingerprints=fingerprints, name=name) as opened:
            return [each async for each in train_all(opened, collections_of(settings), report, only)]


def _line(ended: Ended[Training]) -> dict[str, Any]:
    from sightline.jobs.collections.reports import source_report, training_report
    from sightline.runtime.report import error_report

    line: dict[str, Any] = {"collection": ended.collection, "title": ended.title}
    if ended.done is not None:
        line |= training_report(ended.done)
    if ended.source is not None:
        line |= source_report(ended.source)
    if ended.error is not None:
        line["error"] = error_report(ended.error)
    return line


def _show(ended: Sequence[Ended[Training]]) -> None:
    from sightline.jobs.collections.reports import scores_report

    shown = versions_table("Collection", "Trained", "Serving", "Examples", *SCORES)
    for each in ended:
        if each.done is not None:
            trained, serving = each.done.trained.record, each.done.serving.record
            shown.add_row(
                " ".join(part for part in (each.collection, each.title) if part),
                served_text(trained.version, serving=trained.version == serving.version),
                served_text(serving.version, serving=True),
                str(trained.examples),
                *scores_cells(scores_report(trained.held_out)),
            )
    if shown.row_count:
        stdout().print(shown)


def _plot(settings: Settings, collection: str, folder: Path) -> None:
    from sightline.jobs.collections.reports import collection_report

    found = collections_of(settings).collection(collection)
    write_plot(collection_report(found), folder / f"{collection}.png")
