"""``sightline collections list`` and ``show``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from sightline.cli.collections.choosing import CollectionsDir, Identity, collections_of
from sightline.cli.collections.tables import (
    SCORES,
    complain,
    recipe_words,
    scores_cells,
    served_text,
    versions_table,
    write_plot,
)
from sightline.cli.console import stdout
from sightline.cli.options import AsJson, ModelsDir, settings_from


def list_(
    as_json: AsJson = False, collections_dir: CollectionsDir = None, models_dir: ModelsDir = None
) -> None:
    """List collections, which version of each serves, and how it did on held-out examples.

    [cyan]sightline collections show ID[/] has all versions of one.

    [bold]Examples[/]

      [cyan]sightline collections list[/]
      [cyan]sightline collections list --json | jq '.[] | select(.problem) | .collection'[/]
    """
    from sightline.jobs.collections.reports import collections_report

    settings = settings_from(models_dir=models_dir, collections_dir=collections_dir)
    found = collections_report(collections_of(settings))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found:
        stdout().print("No collections yet: [cyan]sightline collections train --source FOLDER[/] makes one.")
        return
    shown = versions_table("Collection", "Serving", "Versions", "Judges by", "Threshold", *SCORES)
    for each in found:
        shown.add_row(Text(each["collection"], style="bold"), *_serving(each))
    stdout().print(shown)
    for each in found:
        if each["problem"]:
            complain(f"collection {each['collection']}: {each['problem']}")


def _serving(summary: dict[str, Any]) -> list[str]:
    serving, count = summary["serving"], str(summary["versions"])
    if serving is None:
        return ["–", count, "–", "–", *scores_cells(None)]
    threshold = f"{serving['threshold']:.3f}"
    recipe = recipe_words(serving["recipe"])
    return [serving["version"], count, recipe, threshold, *scores_cells(serving["held_out"])]


def show(
    collection: Identity,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="OUT.png",
            dir_okay=False,
            show_default="none",
            help="Draw precision and recall of all versions.",
        ),
    ] = None,
    as_json: AsJson = False,
    collections_dir: CollectionsDir = None,
    models_dir: ModelsDir = None,
) -> None:
    """Show all versions of a collection, the newest first, and which one serves.

    Scores are those on the examples held out by the last training; of versions that could not be compared
    then, in brackets, those of their own. Versions are ranked by macro precision.

    [bold]Examples[/]

      [cyan]sightline collections show 7[/]
      [cyan]sightline collections show cats --plot cats.png[/]
    """
    from sightline.jobs.collections.reports import collection_report

    settings = settings_from(models_dir=models_dir, collections_dir=collections_dir)
    report = collection_report(collections_of(settings).collection(collection))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _show(report)
    if plot is not None:
        write_plot(report, plot)


def _show(report: dict[str, Any]) -> None:
    shown = versions_table("Version", "Judges by", "Examples", "Threshold", *SCORES, "Origin", "Fingerprint")
    for version in report["versions"]:
        name = served_text(version["version"], serving=version["serving"])
        if version["problem"]:
            shown.add_row(name, Text(version["problem"], style="red"))
            continue
        newest = version["newest_held_out"]
        cells = scores_cells(newest or version["held_out"])
        if not newest and version["held_out"]:
            cells = [f"({cell})" for cell in cells]
        shown.add_row(
            name,
            Text(recipe_words(version["recipe"])),
            str(version["examples"] or "–"),
            f"{version['threshold']:.3f}",
            *cells,
            Text(version["origin"]),
            version["fingerprint"],
        )
    stdout().print(shown)
    if report["serving"]:
        stdout().print(Text(f"{report['serving']} serves"))
    if report["problem"]:
        complain(report["problem"])
