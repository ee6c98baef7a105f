"""What a day has: the search's answer noted in the state."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from sightline.errors import ArchiveError, HostSilent, SearchFailed, SightlineError
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.archive.query import DateField
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.output.manifest import Manifest
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.revisions import Revisions
from sightline.jobs.koop.store.state import Day, DayState, State, now


class DaySearch:
    """Searches for one run, one day at a time."""

    def __init__(
        self, search: Search, state: State, revisions: Revisions, manifest: Manifest, options: Options
    ) -> None:
        self._search = search
        self._state = state
        self._documents = Documents(state)
        self._revisions = revisions
        self._manifest = manifest
        self._options = options
        self._is_sound = False
        self._trouble: SearchFailed | None = None

    async def day(self, date: dt.date, day: Day | None) -> tuple[str, ...]:
        """Note what a day has, and return what was odd about an answer that is whole.

        ``day`` is what was known of it. If it was searched before and cannot be now, what was found then
        stands, and the day is not whole. If it was searched too soon, what was gone then is to be asked for
        again.

        A day whose search did not answer is searched again by the next run.

        Raises:
            ArchiveError: the search failed, and nothing is known of the day.
            RunEnded: the search does not answer at all.
        """
        options = self._options
        before = day or Day(date, options.field.value, DayState.SEARCHING)
        begun = replace(
            before,
            state=DayState.SEARCHING,
            attempts=before.attempts + 1,
            error=None,
            query_hash=options.query_hash(date),
            # Whatever was found before was the answer to what was asked then.
            whole=False,
            # A search that was too soon is still to be done again, whenever that works.
            provisional=options.is_provisional(date) or before.provisional,
        )
        self._state.save_day(begun)
        try:
            found = await self._search.day(date, options.field, options.exclusions)
            if not found.records and found.number_of_records == 0:
                await self._check()
        except RunEnded:
            raise
        except SightlineError as error:
            if isinstance(error, HostSilent):
                await self._require_other_answers(error)
            if not (isinstance(error, ArchiveError) and error.permanent):
                begun = replace(begun, query_hash=None)  # no question was answered, so the next run asks
            if not self._documents.identifiers(date):
                self._state.save_day(begun)
                raise
            said = f"it could not be searched again: {error}"
            with self._state.transaction():
                self._state.save_day(replace(begun, state=DayState.DOCUMENTS, whole=False, error=said))
                self._ask_again(before)
            return ()
        with self._state.transaction():
            by_available = options.field is DateField.AVAILABLE
            if self._documents.add(date, found.records, by_available=by_available):
                self._manifest.mark_stale()
            if found.complete and before.query_hash == begun.query_hash:
                self._revisions.note_absent(date, {each.identifier for each in found.records})
            self._ask_again(before)
            self._state.save_day(
                replace(
                    begun,
                    state=DayState.DOCUMENTS,
                    number_of_records=found.number_of_records,
                    unique_ids=found.unique_ids,
                    whole=found.complete,
                    provisional=options.is_provisional(date),
                    searched_at=now(),
                    error=None if found.complete else "; ".join(found.warnings),
                )
            )
        return found.warnings if found.complete else ()

    async def _require_other_answers(self, silence: HostSilent) -> None:
        """Ask the search something else.

        Raises:
            RunEnded: it does not answer that either.
        """
        try:
            if silence.status is None:  # not even an error came
                raise silence
            await self._search.check_anew(self._options.field)
        except SightlineError:
            raise RunEnded(f"{silence}. The same command goes on from here") from silence
        self._is_sound = True

    def _ask_again(self, before: Day) -> None:
        if before.provisional:
            self._revisions.ask_again(before.date)

    async def _check(self) -> None:
        """Once a run: an index that broke answers "none" for every day, and without an error.

        Raises:
            ArchiveError: nothing is found where something must be.
        """
        if self._trouble is not None:
            raise SearchFailed(str(self._trouble), permanent=self._trouble.permanent)
        if not self._is_sound:
            try:
                await self._search.check(self._options.field)
            except SearchFailed as error:
                self._trouble = error
                raise
            self._is_sound = True
