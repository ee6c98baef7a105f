"""``sightline koop download``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sightline.cli.console import stderr
from sightline.cli.koop.folders import DEFAULT, Out, state_in
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, INTERRUPTED, quiet_log

if TYPE_CHECKING:
    import datetime as dt

    from sightline.jobs.koop.options import Options
    from sightline.settings import Settings


def download(
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DATE", show_default=False, help="First day, such as 2024-01-15."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", show_default=False, help="Last day, included.")
    ] = None,
    out: Out = DEFAULT,
    keep: Annotated[
        Literal["would-download", "all", "none"],
        typer.Option(help="Files that stay: maps and aerial images, all, or none (only verdicts)."),
    ] = "would-download",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge images; keep no more files and write no manifest.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Let another --keep or --label-set remove files that were kept before."),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Work again on days that failed; without dates, on all of them."),
    ] = False,
    date_field: Annotated[
        Literal["available", "modified"],
        typer.Option(help="Whether a day is that of publication or that of the record's last change."),
    ] = "available",
    order: Annotated[Literal["oldest", "newest"], typer.Option(help="Which days come first.")] = "oldest",
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", show_default=False, help="Leave out decisions with this in a title."),
    ] = None,
    exclude_type: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORDS", show_default=False, help="Leave out types of decision with all these words."
        ),
    ] = None,
    attachments: Annotated[
        bool, typer.Option("--attachments/--no-attachments", help="Look at external attachments too.")
    ] = True,
    logos: Annotated[bool, typer.Option("--logos", help="Fetch logos and heading pictures too.")] = False,
    min_width: Annotated[
        float, typer.Option(min=0, metavar="MM", help="Fetch no illustration printed narrower than this.")
    ] = 25.0,
    max_pages: Annotated[int, typer.Option(min=1, max=10_000, help="Pages looked at of one PDF.")] = 50,
    look_dpi: Annotated[float, typer.Option(min=10, max=600, help="At which pages are judged.")] = 100.0,
    dpi: Annotated[float, typer.Option(min=10, max=1200, help="At which pages that stay are drawn.")] = 300.0,
    label_set: Annotated[
        str, typer.Option(metavar="NAME", help="Label set that pictures are told apart by.")
    ] = "map-or-aerial",
    parquet: Annotated[
        bool,
        typer.Option("--parquet", help="Write the manifest as Parquet too; needs pyarrow."),
    ] = False,
    contact: Annotated[
        str | None,
        typer.Option(
            metavar="URL", show_default="SIGHTLINE_KOOP_CONTACT", help="Where the archive finds you."
        ),
    ] = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Download the pictures in Dutch traffic decisions, day by day, and keep those that are maps.

    A run that was stopped, in whatever way, goes on where it was with the same command. Days, publications
    and images that fail stop nothing: they are listed at the end, and the exit code is 1. Where stdout is no
    terminal it gets a line of JSON per day, and one at the end.

    [bold]Examples[/]

      [cyan]sightline koop download --from 2024-01-01 --to 2024-12-31 --contact https://example.org/about[/]
      [cyan]sightline koop download --from 2024-01-15 --to 2024-01-15 --dry-run[/]
      [cyan]sightline koop download --retry-failed --out koop[/]
    """
    import asyncio
    import datetime as dt

    from sightline.jobs.koop.manifests import require_parquet
    from sightline.jobs.koop.options import Keep, Options
    from sightline.jobs.koop.query import DateField, Exclusions

    with quiet_log():
        settings = settings_from(models_dir=models_dir, offline=offline, koop_contact=contact)
        if parquet:
            require_parquet()
        today = dt.datetime.now(dt.UTC).astimezone().date()
        days = _days(first, last, out, retry_failed=retry_failed)
        if days is None:
            stderr().print("nothing has failed", markup=False)
            return
        options = Options(
            first=days[0],
            last=days[1],
            keep=Keep(keep),
            dry_run=dry_run,
            prune=prune,
            retry_failed=retry_failed,
            field=DateField(date_field),
            exclusions=Exclusions(tuple(exclude or ()), tuple(exclude_type or ())),
            newest_first=order == "newest",
            logos=logos,
            min_width_mm=min_width,
            attachments=attachments,
            label_set=label_set,
            look_dpi=look_dpi,
            keep_dpi=dpi,
            max_pages=max_pages,
            attachments_at=settings.koop_attachments_url,
            reader_at=settings.koop_reader_url,
            from_repository=settings.koop_texts_from == "repository",
            max_bytes=settings.koop_file_max_bytes,
            at_once=settings.koop_concurrency,
            day_timeout_s=settings.koop_day_timeout_s,
            today=today,
        )
        sound = asyncio.run(_run(settings, options, out, parquet=parquet and not dry_run))
    if not sound:
        raise typer.Exit(FAILED)


def _days(
    first: str | None, last: str | None, out: Path, *, retry_failed: bool
) -> tuple[dt.date, dt.date] | None:
    """First and last day. Without dates those of the failed days, and None if there are none."""
    from sightline.errors import InvalidRequest
    from sightline.jobs.koop.query import parse_day
    from sightline.jobs.koop.state import UNSOUND

    if first is not None and last is not None:
        return parse_day(first), parse_day(last)
    if not (retry_failed and first is None and last is None):
        raise InvalidRequest(
            "a range of days needs both --from and --to, such as --from 2024-01-01 --to 2024-01-31"
        )
    with state_in(out) as state:
        return state.ends(UNSOUND)


async def _run(settings: Settings, options: Options, out: Path, *, parquet: bool) -> bool:
    """Everything between the call and the exit code: whether all days of the range are sound."""
    import asyncio

    from sightline.cli.koop.watch import Watch
    from sightline.jobs.describing import RunEnded
    from sightline.jobs.koop.folder import PARQUET_NAME
    from sightline.jobs.koop.manifests import write_parquet
    from sightline.jobs.koop.opening import downloading
    from sightline.jobs.koop.summary import summarized

    watch = Watch(options.number_of_days)
    async with downloading(settings, options, out, watch) as (job, state):
        try:
            with watch:
                await job.run()
            if parquet:
                write_parquet(out / PARQUET_NAME, state)
        except asyncio.CancelledError:
            watch.end(summarized(state, options.first, options.last))
            _leave()
        except RunEnded:
            watch.end(summarized(state, options.first, options.last))
            raise
        summary = summarized(state, options.first, options.last)
        watch.end(summary)
    return summary.is_sound


def _leave() -> None:
    """Ctrl-C: what is written is whole, and threads that still compute or read would only be waited for."""
    stderr().print("interrupted; the same command goes on from here", markup=False)
    sys.stdout.flush()
    os._exit(INTERRUPTED)
