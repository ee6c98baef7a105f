"""The run: day after day searched, gathered, judged and written down, each on its own.

One search is under way at a time, a few publications, and a bounded number of files waiting for the model;
while the last files of a day are judged the next day begins. Any error is one day's, one publication's or
one file's, except those that nothing after them could escape.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import logging
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from sightline.errors import SightlineError
from sightline.imaging.limits import ImageLimits
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.lifecycle import UNAVAILABLE, Included, Item, ItemState, Policy, transition
from sightline.jobs.koop.output.manifest import Manifest
from sightline.jobs.koop.polite import PoliteClient
from sightline.jobs.koop.run.classifier import Classifier, PageLimits
from sightline.jobs.koop.run.day_search import DaySearch
from sightline.jobs.koop.run.decisions import Decisions
from sightline.jobs.koop.run.fetcher import Fetcher
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.run.outcome import Outcomes
from sightline.jobs.koop.run.progress import Report, Warned, Working, reporting_silences
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.counts import Counts
from sightline.jobs.koop.store.documents import Documents, Placement, PublicationState
from sightline.jobs.koop.store.files import remove_abandoned
from sightline.jobs.koop.store.folder import MANIFEST_NAME
from sightline.jobs.koop.store.locks import KeyedLock
from sightline.jobs.koop.store.rates import remember_rates
from sightline.jobs.koop.store.revisions import Revisions
from sightline.jobs.koop.store.state import ENDED, RETRIED, UNSOUND, Day, DayState, State, now

_log = logging.getLogger(__name__)

# Files that wait for a verdict: for each half of the cores (see ``jobs.looking.for_many``) a batch that is
# computed and one that comes in.
_MOST_WAITING = 64
# Written in a second or two.
_MOST_LINES_AT_AN_EARLY_END = 30_000


@dataclass(frozen=True, slots=True)
class Sources:
    """Where everything comes from: the archive's client and search, and who judges (None: nobody)."""

    client: PoliteClient
    search: Search
    judge: Classifier | None


class Download:
    """One run over a range of days, in a folder that is held alone."""

    def __init__(
        self,
        options: Options,
        state: State,
        blobs: Blobs,
        sources: Sources,
        report: Report,
        pages: PageLimits,
        limits: ImageLimits,
    ) -> None:
        self._options = options
        self._state = state
        self._documents = Documents(state)
        self._counts = Counts(state)
        self._policy = Policy(options.keep, options.dry_run)
        self._client = sources.client
        self._report = report
        locks = KeyedLock()
        self._urls = KeyedLock()
        self._revisions = Revisions(state)
        self._blobs = blobs
        self._gathering = Fetcher(sources.client, self._documents, blobs, locks, options)
        self._settling = Decisions(state, blobs, sources.judge, locks, options, pages, limits)
        self._manifest = Manifest(blobs.root / MANIFEST_NAME, state)
        self._searching = DaySearch(sources.search, state, self._revisions, self._manifest, options)
        self._fingerprints = None if sources.judge is None else sources.judge.fingerprints
        known_by = () if self._fingerprints is None else dataclasses.astuple(self._fingerprints)
        self._terms = options.terms(*known_by, pages.drawn)
        self._waiting = asyncio.Semaphore(_MOST_WAITING)
        self._standing = Outcomes(state, sources.client, options, self._fingerprints, self._terms)
        self._pace = self._standing.pace

    async def run(self) -> None:
        """Go through all days; the state holds what came of them, even if this raises or is cancelled.

        Raises:
            RunEnded: nothing can be written any more, or nothing be judged, or the search does not answer.
        """
        self._settling.clear()
        self._manifest.repair()
        try:
            with self._client.remembering(partial(remember_rates, self._state)):
                await self._go_through()
        except RunEnded as error:
            if not _is_of_the_disk(error):
                self._finish_early()
            raise
        except asyncio.CancelledError:
            self._finish_early()
            raise
        finally:
            with suppress(RunEnded):  # the disk is full, and there is an error that says so
                remember_rates(self._state, self._client.learned())
        if not self._options.dry_run:
            remove_abandoned(self._state, self._blobs)
            self._manifest.finish()
        self._tell_of_other_models()

    def _finish_early(self) -> None:
        """Days that are done may not be in the manifest yet. One that takes long to write is left to the next
        run."""
        if self._options.dry_run or self._manifest.number_of_lines() > _MOST_LINES_AT_AN_EARLY_END:
            return
        with suppress(RunEnded):
            self._manifest.finish()

    async def _go_through(self) -> None:
        """All days. Raises as :meth:`run`."""
        try:
            async with reporting_silences(self._client, self._report), asyncio.TaskGroup() as group:
                ending: asyncio.Task[None] | None = None
                for date in self._options.dates():
                    day = self._state.day(date)
                    if not self._wants(day):
                        self._pace.passed(worked=False)
                        await asyncio.sleep(0)  # or thousands of finished days would be deaf to Ctrl-C
                        continue
                    settling = await self._gathered(date, day, group)
                    if ending is not None:
                        await ending
                    ending = group.create_task(self._end(date, settling))
        except ExceptionGroup as failures:
            first = failures.exceptions[0]
            raise first from first.__cause__

    def _tell_of_other_models(self) -> None:
        if self._fingerprints is None:
            return
        number = self._counts.count_judged_otherwise(self._fingerprints)
        if number:
            self._report(
                Warned(
                    f"{number} images of this folder were judged by another model, or at other --look-dpi, "
                    "--max-pages or limits. Where they are not here any more those verdicts stay, and the "
                    "manifest has the model's fingerprint; --judge-again fetches them again"
                )
            )

    # -- days ----------------------------------------------------------------------------------------------

    def _wants(self, day: Day | None) -> bool:
        """Whether there is anything to do for a day."""
        if self._options.only_failed and (day is None or day.state not in RETRIED):
            return False
        if day is None or day.state not in ENDED or day.provisional or self._asks_anew(day):
            return True
        if self._options.retry_failed and (day.state in UNSOUND or self._revisions.has_gone(day.date)):
            return True
        if day.state not in (DayState.COMPLETE, DayState.PARTIAL):
            return False
        return day.terms != self._terms or (self._options.judge_again and self._is_judged_otherwise(day))

    def _is_judged_otherwise(self, day: Day) -> bool:
        by = self._fingerprints
        if by is None:
            return False
        counts, date = self._counts, day.date
        return counts.count_judged_otherwise(by, date) > 0 or counts.has_pages_to_look_at(date)

    def _asks_anew(self, day: Day) -> bool:
        return day.query_hash != self._options.query_hash(day.date)

    def _must_search(self, day: Day | None) -> bool:
        if day is None or day.state in (DayState.PENDING, DayState.SEARCHING) or self._asks_anew(day):
            return True
        if day.state is DayState.DOCUMENTS:
            return False
        return day.provisional or not day.whole

    async def _gathered(
        self, date: dt.date, day: Day | None, group: asyncio.TaskGroup
    ) -> list[asyncio.Task[None]]:
        """Search a day and fetch what it has; returns what is still being judged. Errors are the day's."""
        settling: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self._options.day_timeout_s):
                if self._must_search(day):
                    for remark in await self._searching.day(date, day):
                        self._report(Warned(f"{date}: {remark}"))
                else:
                    assert day is not None
                    self._state.save_day(replace(day, state=DayState.DOCUMENTS, error=None))
                if self._options.retry_failed:
                    self._revisions.ask_again(date)
                await self._gather(date, group, settling)
        except RunEnded:
            raise
        except TimeoutError:
            hours = self._options.day_timeout_s / 3600
            self._fail(date, f"it took longer than {hours:.3g} hours; --retry-failed goes on from there")
        except SightlineError as error:
            self._fail(date, str(error))
        except Exception as error:  # or the day would end every run that comes to it
            _log.exception("the day %s", date)
            self._fail(date, f"internal error: {type(error).__name__}: {error}")
        return settling

    def _fail(self, date: dt.date, reason: str) -> None:
        day = self._state.day(date) or Day(date, self._options.field.value, DayState.SEARCHING)
        self._state.save_day(replace(day, state=DayState.FAILED, error=reason))

    async def _end(self, date: dt.date, settling: list[asyncio.Task[None]]) -> None:
        """When the last file of a day is settled: its outcome, and its lines in the manifest."""
        await asyncio.gather(*settling)
        day = self._state.day(date)
        assert day is not None
        if day.state is not DayState.FAILED:
            outcome, error = self._standing.outcome(day)
            completed_at = day.completed_at if self._options.dry_run else now()
            day = replace(day, state=outcome, error=error, completed_at=completed_at)
        elif day.completed_at is not None and self._documents.identifiers(date):
            day = replace(day, state=DayState.PARTIAL)  # what an earlier run knew of it stands
        day = replace(day, terms=self._terms)
        with self._state.transaction():
            self._state.save_day(day)
            if self._options.dry_run:
                self._manifest.mark_stale()
            else:
                self._manifest.append(date)
        self._pace.passed(worked=True)
        self._report(self._standing.ended(day))

    # -- publications --------------------------------------------------------------------------------------

    async def _gather(
        self, date: dt.date, group: asyncio.TaskGroup, settling: list[asyncio.Task[None]]
    ) -> None:
        """All publications of a day, a few at a time."""
        identifiers = self._documents.identifiers(date)
        remaining = iter(identifiers)
        done = 0

        async def work() -> None:
            nonlocal done
            for identifier in remaining:
                await self._publication(identifier, group, settling)
                done += 1
                self._report(Working(date, done, len(identifiers)))

        workers = [asyncio.ensure_future(work()) for _ in range(self._options.at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _publication(
        self, identifier: str, group: asyncio.TaskGroup, settling: list[asyncio.Task[None]]
    ) -> None:
        """Errors that are not the run's are the publication's."""
        try:
            publication = self._documents.publication(identifier)
            if publication.state is PublicationState.PENDING or (
                publication.state is PublicationState.FAILED and self._options.retry_failed
            ):
                await self._gathering.read(publication)
            for placement in self._documents.placements(identifier):
                if await self._is_ready(placement):
                    await self._waiting.acquire()
                    settling.append(group.create_task(self._settle(placement.url)))
        except (RunEnded, asyncio.CancelledError):
            raise
        except SightlineError as error:
            self._documents.mark(identifier, PublicationState.FAILED, str(error))
        except Exception as error:  # or one publication would end its day
            _log.exception("publication %s", identifier)
            reason = f"internal error: {type(error).__name__}: {error}"
            self._documents.mark(identifier, PublicationState.FAILED, reason)

    async def _is_ready(self, placement: Placement) -> bool:
        """Have an item's bytes here, if they are needed; whether there is anything to settle."""
        async with self._urls.take(placement.url):
            item = self._documents.item(placement.url)
            reason = self._options.skip_reason(placement)
            if reason is not None:
                await self._settling.skip(item, reason)
                return False
            item = transition(item, Included(), self._policy).item
            if self._is_tried_again(item):
                item = self._settling.forget_failure(item)
            if self._settling.must_fetch(item):
                item = await self._gathering.fetch(item)
                if item.state in UNAVAILABLE:
                    self._revisions.in_vain.add(item.url)
                self._revisions.settle(item.url)
            elif self._is_in_doubt(item):
                item = await self._renewed(item)
            return item.state not in UNAVAILABLE

    def _is_tried_again(self, item: Item) -> bool:
        if item.state not in UNAVAILABLE or item.url in self._revisions.in_vain:
            return False
        if self._is_in_doubt(item):
            return True
        is_failed = item.state is ItemState.FAILED
        return is_failed and (self._options.retry_failed or self._settling.is_outdated(item))

    def _is_in_doubt(self, item: Item) -> bool:
        """Whether an item is to be asked for again. A dry run leaves that to one that may change it."""
        retried = self._options.retry_failed
        return not self._options.dry_run and self._revisions.is_in_doubt(item.url, retried=retried)

    async def _renewed(self, item: Item) -> Item:
        """An item as the archive has it now, or as it was if that cannot be known."""
        try:
            item = await self._gathering.renew(item)
        except RunEnded:
            raise
        except SightlineError as error:
            self._revisions.fail(item.url, str(error))
        else:
            self._revisions.settle(item.url)
        return item

    async def _settle(self, url: str) -> None:
        try:
            async with self._urls.take(url):
                await self._settling.settle(self._documents.item(url))
                if self._documents.item(url).state is ItemState.FAILED:
                    self._revisions.in_vain.add(url)
        finally:
            self._waiting.release()


def _is_of_the_disk(error: RunEnded) -> bool:
    """Whether writing would end like this again."""
    return isinstance(error.__cause__, (OSError, sqlite3.Error))
