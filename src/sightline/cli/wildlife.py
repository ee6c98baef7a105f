"""``sightline wildlife``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli.console import printable, stderr
from sightline.cli.folders import look_over
from sightline.cli.options import (
    ModelsDir,
    Offline,
    OnTruncated,
    Server,
    ServerKey,
    Truncated,
    settings_from,
)
from sightline.cli.problems import FAILED, INTERRUPTED, quiet_log
from sightline.jobs.wildlife.places import Place
from sightline.jobs.wildlife.predictions import PredictionsFormat

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from sightline.jobs.wildlife.identification import Tally
    from sightline.jobs.wildlife.identifying import Identifier, Query
    from sightline.jobs.wildlife.inputs import Inputs
    from sightline.settings import Settings


def wildlife(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, show_default=False, help="Where the photos are.")
    ],
    country: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            show_default="none, nothing is ruled out",
            help="Where they were taken: three letters such as [cyan]KEN[/].",
        ),
    ] = None,
    admin1_region: Annotated[
        str | None,
        typer.Option(metavar="CODE", show_default="none", help="State of the USA: two letters such as CA."),
    ] = None,
    latitude: Annotated[
        float | None,
        typer.Option(show_default="none", help="Degrees. Tells the country where it is not given."),
    ] = None,
    longitude: Annotated[
        float | None, typer.Option(show_default="none", help="Degrees, east positive.")
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            show_default="none",
            help="Places of single photos, which take precedence: JSON as speciesnet reads it, or CSV.",
        ),
    ] = None,
    filepaths: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="all photos",
            help="Look only at the photos listed in this file, one path a line; [cyan]-[/] is stdin.",
        ),
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            show_default="none",
            help="Boxes of another detector, instead of looking for them: batch results of MegaDetector or "
            "predictions of speciesnet.",
        ),
    ] = None,
    ignore_unmatched: Annotated[
        bool,
        typer.Option(
            "--ignore-unmatched",
            help="Continue if something in those files matches no photo, is contradictory or unknown.",
        ),
    ] = False,
    out: Annotated[
        Path, typer.Option(metavar="FILE", dir_okay=False, help="Where the predictions are written.")
    ] = Path("predictions.json"),
    predictions_format: Annotated[
        PredictionsFormat,
        typer.Option(
            "--format",
            help="megadetector is what Timelapse reads. speciesnet-5 has a prediction per animal, "
            "speciesnet-4 one per photo.",
        ),
    ] = PredictionsFormat.MEGADETECTOR,
    version: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default="the newest", help="Release of SpeciesNet."),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            show_default="0.1",
            help="Detections as sure as this are classified, except in speciesnet-4.",
        ),
    ] = None,
    max_classifications: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default="all",
            help="Most detections of a photo that are classified, the surest first; not in speciesnet-4.",
        ),
    ] = None,
    read_strip: Annotated[
        bool,
        typer.Option(
            "--read-strip",
            help="Read date, time, temperature and camera name from the strip that the camera printed into "
            "the photo, where EXIF lacks them.",
        ),
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Go through the folders below as well.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Start over, and replace what is there.")
    ] = False,
    server: Server = None,
    api_key: ServerKey = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Photos under way at once. Fewer take less memory.")
    ] = 8,
    truncated: Truncated = OnTruncated.ERROR,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Name the animals in all photos of a folder, in a file that camera-trap tools read.

    What is found is kept beside that file at once, so a run that was stopped goes on where it was, and one
    after new photos came does only those. Photos that fail stop nothing: they have [cyan]failures[/] in the
    file, are tried again by the next run, and the exit code is 1. Hidden files are left out. Where stdout is
    no terminal it gets a line of JSON per photo, and one with the counts.

    [bold]Examples[/]

      [cyan]sightline wildlife cameras --country KEN --out predictions.json[/]
      [cyan]sightline wildlife cameras --country USA --admin1-region CA --format speciesnet-5[/]
      [cyan]sightline wildlife cameras --instances places.csv[/]
      [cyan]sightline wildlife cameras --country KEN --read-strip[/]
      [cyan]sightline wildlife cameras --country KEN --server http://127.0.0.1:8000[/]
    """
    import asyncio

    from sightline.jobs.wildlife.identifying import Query
    from sightline.jobs.wildlife.inputs import read_inputs
    from sightline.jobs.wildlife.photos import PhotoFolder

    place = Place(country, admin1_region, latitude, longitude)
    asked = {
        "format": predictions_format.asked,
        "version": version,
        "min_confidence": min_confidence,
        "max_classifications": max_classifications,
    }
    with quiet_log():
        settings = settings_from(models_dir=models_dir, offline=offline)
        given = {name: value for name, value in asked.items() if value is not None}
        query = Query.create(settings, given, with_strip=read_strip)
        query.about(place)
        look_over(folder, recursive=recursive)
        inputs = read_inputs(
            PhotoFolder(folder, recursive),
            place,
            query,
            filepaths=filepaths,
            instances=instances,
            detections=detections,
            unmatched=_warn if ignore_unmatched else None,
        )
        identifying = _identifying(settings, server, api_key, query, inputs, truncated)
        run = _run(
            identifying, query, inputs, out, predictions_format,
            force=force, at_once=concurrency, max_bytes=settings.image_max_bytes,
        )  # fmt: skip
        tally = asyncio.run(run)
    if tally.failed:
        raise typer.Exit(FAILED)


def _warn(problems: str) -> None:
    stderr().print(printable(f"warning: {problems}"), style="yellow", markup=False, soft_wrap=True)


def _identifying(
    settings: Settings,
    server: str | None,
    api_key: str | None,
    query: Query,
    inputs: Inputs,
    truncated: OnTruncated,
) -> AbstractAsyncContextManager[Identifier]:
    given = {
        "with_places": inputs.places.has_coordinates,
        "with_detector": inputs.needs_detector,
        "fill_truncated": truncated is OnTruncated.FILL,
    }
    if server is None:
        from sightline.jobs.wildlife.identifying import identifying_here

        return identifying_here(settings, query, **given)
    from sightline.imaging import ImageLimits
    from sightline.jobs.wildlife.remote import identifying_there

    limits = ImageLimits.from_settings(settings)
    return identifying_there(server, query, limits, api_key, **given)


async def _run(
    identifying: AbstractAsyncContextManager[Identifier],
    query: Query,
    inputs: Inputs,
    out: Path,
    predictions_format: PredictionsFormat,
    *,
    force: bool,
    at_once: int,
    max_bytes: int,
) -> Tally:
    """Everything between the options and the exit code."""
    import asyncio

    from sightline.cli.identifications import Watch
    from sightline.jobs.describing import RunEnded
    from sightline.jobs.wildlife.checkpoint import checkpoint_beside
    from sightline.jobs.wildlife.identification import Identification
    from sightline.jobs.wildlife.strip import WithStrip

    watch = Watch()
    with checkpoint_beside(out) as checkpoint:
        async with identifying as found:
            identifier = WithStrip(found, max_bytes) if query.with_strip else found
            job = Identification(inputs, query, identifier, checkpoint, watch, at_once=at_once)
            try:
                with watch:
                    await job.prepare(out, force=force)
                    watch.begin(await job.count())
                    await job.run()
                    job.write(out, predictions_format)
            except asyncio.CancelledError:
                watch.end(job.tally)
                _leave()
            except RunEnded:
                if job.tally.counts:
                    watch.end(job.tally)
                raise
    watch.end(job.tally)
    stderr().print(f"wrote {printable(str(out))}", style="dim", markup=False, soft_wrap=True)
    return job.tally


def _leave() -> None:
    """Ctrl-C: what was found is kept, and threads that still compute or load would only be waited for."""
    stderr().print("interrupted; the same command, without --force, goes on from here", markup=False)
    sys.stdout.flush()
    os._exit(INTERRUPTED)
