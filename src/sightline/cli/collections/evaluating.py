"""``sightline collections evaluate``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

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
    scores_cells,
    served_text,
    tell_failures,
    tell_source,
    versions_table,
)
from sightline.cli.console import stdout
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, quiet_log
from sightline.cli.session import leave_on_interrupt
from sightline.types import FaceContext, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sightline.jobs.collections.plans import Plan
    from sightline.jobs.collections.runs import Ended, Measured
    from sightline.settings import Settings


def evaluate(
    source: SourceName = None,
    collection: Only = None,
    embedding: Embedding = "clip",
    target: Part = Target.WHOLE_IMAGE,
    face_context: FaceWithin = FaceContext.PROMINENT_PERSON,
    fingerprint: Fingerprints = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Only on the fifth that a training on these would hold out."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per collection.")] = False,
    collections_dir: CollectionsDir = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Measure all stored versions on the examples of a source. Nothing is changed.

    A version that learnt from some of these examples is flattered by them. The exit code is 1 if a collection
    could not be measured.

    [bold]Examples[/]

      [cyan]sightline collections evaluate --source new-cats/ --collection cats[/]
      [cyan]sightline collections evaluate --source vectors.parquet --held-out[/]
    """
    import asyncio

    settings = settings_from(models_dir=models_dir, offline=offline, collections_dir=collections_dir)
    plan, fingerprints = plan_of(settings, embedding, target, face_context), fingerprints_of(fingerprint)
    where = source or settings.collections_source
    with quiet_log(), leave_on_interrupt():
        ended = asyncio.run(_run(settings, where, plan, fingerprints, collection or (), held_out=held_out))
    for each in ended:
        if as_json:
            typer.echo(json.dumps(_line(each)))
        elif each.done is not None:
            _show(each.collection, each.done)
        tell_source(each)
    if tell_failures(each for each in ended if each.error is not None):
        raise typer.Exit(FAILED)


async def _run(
    settings: Settings,
    source: str,
    plan: Plan,
    fingerprints: dict[str, str],
    only: Sequence[str],
    *,
    held_out: bool,
) -> list[Ended[tuple[Measured, ...]]]:
    from sightline.cli.collections.progress import Steps
    from sightline.jobs.collections.opening import source_of
    from sightline.jobs.collections.runs import measure_all

    name = only[0] if len(only) == 1 else None
    collections = collections_of(settings)
    with Steps() as report:
        async with source_of(source, settings, plan, fingerprints=fingerprints, name=name) as opened:
            found = measure_all(opened, collections, report, only, held_out=held_out)
            return [each async for each in found]


def _line(ended: Ended[tuple[Measured, ...]]) -> dict[str, Any]:
    from sightline.jobs.collections.reports import scores_report, source_report
    from sightline.runtime.report import error_report

    line: dict[str, Any] = {"collection": ended.collection, "title": ended.title}
    if ended.done is not None:
        line["versions"] = [
            {
                "version": each.version,
                "serving": each.serving,
                "scores": scores_report(each.scores),
                "problem": each.problem or None,
            }
            for each in ended.done
        ]
    if ended.source is not None:
        line |= source_report(ended.source)
    if ended.error is not None:
        line["error"] = error_report(ended.error)
    return line


def _show(collection: str, versions: Sequence[Measured]) -> None:
    from sightline.jobs.collections.reports import scores_report

    # These examples are all held out, as far as anybody knows.
    shown = versions_table(f"Collection {collection}", *SCORES[:-1], "Examples")
    for each in versions:
        name = served_text(each.version, serving=each.serving)
        if each.problem:
            shown.add_row(name, Text(each.problem, style="red"))
        else:
            shown.add_row(name, *scores_cells(scores_report(each.scores)))
    stdout().print(shown)
