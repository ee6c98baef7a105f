"""``sightline koop download``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sightline.cli.console import stderr
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import FAILED, INTERRUPTED, quiet_log
from sightline.commands.koop import options
from sightline.commands.koop.folders import DEFAULT, Out, state_in

if TYPE_CHECKING:
    import asyncio
    import datetime as dt

    from sightline.jobs.koop.run.options import Options
    from sightline.settings import Settings

# 128 and the number of SIGTERM, as shells have it.
TERMINATED = 143


def download(
    first: options.First = None,
    last: options.Last = None,
    out: Out = DEFAULT,
    keep: options.Keep = "would-download",
    dry_run: options.DryRun = False,
    prune: options.Prune = False,
    retry_failed: options.RetryFailed = False,
    judge_again: options.JudgeAgain = False,
    date_field: options.DateField = "available",
    order: options.Order = "oldest",
    exclude: options.Exclude = None,
    exclude_type: options.ExcludeType = None,
    attachments: options.Attachments = True,
    logos: options.Logos = False,
    min_width: options.MinWidth = 25.0,
    max_pages: options.MaxPages = 50,
    look_dpi: options.LookDpi = 100.0,
    dpi: options.Dpi = 300.0,
    label_set: options.LabelSet = "map-or-aerial",
    parquet: options.Parquet = False,
    contact: options.Contact = None,
    patience: options.Patience = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Download the pictures in Dutch traffic decisions, day by day, and keep those that are maps.

    A run that was stopped, in whatever way, goes on where it was with the same command. Days, publications
    and images that fail stop nothing: they are listed at the end, and the exit code is 1. Where stdout is no
    terminal it gets a line of JSON per day, per minute in which a host gives no answer, and at the end.

    [bold]Examples[/]

      [cyan]sightline koop download --from 2024-01-01 --to 2024-12-31 --contact https://example.org/about[/]
      [cyan]sightline koop download --from 2024-01-15 --to 2024-01-15 --dry-run[/]
      [cyan]sightline koop download --retry-failed --out koop[/]
    """
    import asyncio
    from dataclasses import replace

    from sightline.jobs.koop.archive.query import DateField, Exclusions
    from sightline.jobs.koop.lifecycle import Keep
    from sightline.jobs.koop.output.manifest import require_parquet

    patience_s = None if patience is None else 60 * patience
    with quiet_log():
        settings = settings_from(
            models_dir=models_dir, offline=offline, koop_contact=contact, koop_patience_s=patience_s
        )
        if parquet:
            require_parquet()
        days = _days(first, last, out, retry_failed=retry_failed)
        if days is None:
            stderr().print("nothing has failed", markup=False)
            return
        chosen = replace(
            _options(settings, *days),
            keep=Keep(keep),
            dry_run=dry_run,
            prune=prune,
            retry_failed=retry_failed,
            only_failed=first is None,
            judge_again=judge_again,
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
        )
        sound = asyncio.run(_run(settings, chosen, out, parquet=parquet and not dry_run))
    if not sound:
        raise typer.Exit(FAILED)


def _options(settings: Settings, first: dt.date, last: dt.date) -> Options:
    """The usual ones of a run today, under these settings."""
    import datetime as dt

    from sightline.jobs.koop.run.options import Options

    return Options(
        first,
        last,
        attachments_at=settings.koop_attachments_url,
        reader_at=settings.koop_reader_url,
        from_repository=settings.koop_texts_from == "repository",
        max_bytes=settings.koop_file_max_bytes,
        at_once=settings.koop_concurrency,
        day_timeout_s=settings.koop_day_timeout_s,
        today=dt.datetime.now(dt.UTC).astimezone().date(),
    )


def _days(
    first: str | None, last: str | None, out: Path, *, retry_failed: bool
) -> tuple[dt.date, dt.date] | None:
    """First and last day. Without dates those of the failed days, and None if there are none."""
    from sightline.errors import InvalidRequest
    from sightline.jobs.koop.archive.query import parse_day
    from sightline.jobs.koop.store.state import RETRIED

    if first is not None and last is not None:
        return parse_day(first), parse_day(last)
    if not (retry_failed and first is None and last is None):
        raise InvalidRequest(
            "a range of days needs both --from and --to, such as --from 2024-01-01 --to 2024-01-31"
        )
    with state_in(out) as state:
        return state.ends(RETRIED)


async def _run(settings: Settings, options: Options, out: Path, *, parquet: bool) -> bool:
    """Everything between the call and the exit code: whether all days of the range are sound."""
    import asyncio

    from sightline.commands.koop.watch import Watch
    from sightline.jobs.describing import RunEnded
    from sightline.jobs.koop.output.manifest import write_parquet
    from sightline.jobs.koop.output.summary import summarized
    from sightline.jobs.koop.run.opening import downloading
    from sightline.jobs.koop.store.folder import PARQUET_NAME

    watch = Watch(options.number_of_days)
    async with downloading(settings, options, out, watch) as (job, state):
        terminated = asyncio.Event()
        try:
            with watch, _cancelled_by_sigterm(terminated):
                await job.run()
            if parquet:
                write_parquet(out / PARQUET_NAME, state)
        except asyncio.CancelledError:
            watch.end(summarized(state, options.first, options.last))
            _leave(TERMINATED if terminated.is_set() else INTERRUPTED)
        except RunEnded:
            watch.end(summarized(state, options.first, options.last))
            raise
        summary = summarized(state, options.first, options.last)
        watch.end(summary)
    return summary.is_sound


@contextmanager
def _cancelled_by_sigterm(terminated: asyncio.Event) -> Iterator[None]:
    """A service manager that ends the run ends it as Ctrl-C does, where the system has such signals."""
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end() -> None:
        terminated.set()
        task.cancel()

    try:
        loop.add_signal_handler(signal.SIGTERM, end)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows; or not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _leave(code: int) -> None:
    """What is written is whole, and threads that still compute or read would only be waited for."""
    stderr().print("interrupted; the same command goes on from here", markup=False)
    sys.stdout.flush()
    os._exit(code)
