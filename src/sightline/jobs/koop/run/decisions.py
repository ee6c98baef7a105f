"""From bytes to a decision: judged once, kept or let go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from itertools import islice

from sightline.errors import ImageError, SightlineError, UnsupportedImage
from sightline.imaging.limits import ImageLimits
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.archive.contents import PAGED_TYPES
from sightline.jobs.koop.lifecycle import (
    UNAVAILABLE,
    ClassificationFailed,
    Classified,
    Effect,
    Excluded,
    Item,
    ItemState,
    Policy,
    Retried,
    Transition,
    decision,
    transition,
)
from sightline.jobs.koop.run.classifier import Classifier, FullPage, PageLimits, full_pages, size_of
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.files import KeptFile, KeptFiles
from sightline.jobs.koop.store.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.store.locks import KeyedLock
from sightline.jobs.koop.store.results import WHOLE, Classification, Results
from sightline.jobs.koop.store.state import State

_log = logging.getLogger(__name__)

# A document that is drawn is a process of up to a gigabyte and a core. While the model looks at the pages of
# one, those of the other are drawn.
_DOCUMENTS_AT_ONCE = 2
_SWEPT_AT_ONCE = 200
# When the state was first used. Older files are not its leavings: somebody may have taken the state away.
_BEGAN = "began_unix_s"


class _Damaged(ImageError):
    """The bytes are not those that were fetched."""


class Decisions:
    """Decides what becomes of items whose bytes are here, or were.

    Args:
        judge: None: nothing is judged and everything stays.
        locks: of whoever touches files by their digest.
    """

    def __init__(
        self,
        state: State,
        blobs: Blobs,
        judge: Classifier | None,
        locks: KeyedLock,
        options: Options,
        pages: PageLimits,
        limits: ImageLimits,
    ) -> None:
        self._state = state
        self._documents = Documents(state)
        self._kept = KeptFiles(state)
        self._verdicts = Results(state)
        self._blobs = blobs
        self._judge = judge
        self._locks = locks
        self._options = options
        self._pages = pages
        self._limits = limits
        self._documents_at_once = asyncio.Semaphore(_DOCUMENTS_AT_ONCE)
        self._policy = Policy(options.keep, options.dry_run)
        self._tried: set[str] = set()

    def must_fetch(self, item: Item) -> bool:
        """Whether an item cannot be settled without bytes that are not here."""
        if item.state in (ItemState.FAILED, ItemState.GONE) or self._is_here(item):
            return False
        if self._options.dry_run and item.state is ItemState.KEPT:
            return False
        known = self._known(item)
        return known is None or decision(_event(known), self._policy) is ItemState.KEPT

    def is_outdated(self, item: Item) -> bool:
        """Whether it was decided by a verdict that this run's judge did not give."""
        return (
            self._judge is not None
            and item.model is not None
            and item.model != self._judge.fingerprints.of(item.mime)
        )

    def forget_failure(self, item: Item) -> Item:
        """Return an item that failed or was missing as if it had never been tried."""
        change = transition(item, Retried(), self._policy)
        with self._state.transaction():
            self._documents.save(change.item)
            if Effect.FORGET in change.effects and item.sha256 is not None and item.sha256 not in self._tried:
                self._verdicts.forget_failures(item.sha256)
        return change.item

    def clear(self) -> None:
        """Remove the files that a process was letting go of, or had not written down yet, when it ended."""
        for item in self._documents.undropped():
            self._release(item)
        began = self._state.get(_BEGAN)
        if began is None:
            began = int(time.time())
            self._state.put(_BEGAN, began)
        for paths in _pieces(self._blobs.paths(began), _SWEPT_AT_ONCE):
            for path in self._kept.unneeded(paths):
                self._remove(path)

    async def skip(self, item: Item, reason: str) -> None:
        """Skip an item that this run's options exclude. An earlier decision stays."""
        change = transition(item, Excluded(reason), self._policy)
        if change.item == item:
            return
        if Effect.RELEASE not in change.effects:
            self._documents.save(change.item)
            return
        assert item.sha256 is not None
        async with self._locks.take(item.sha256):
            self._perform(change)

    async def settle(self, item: Item) -> None:
        """Classify an item, unless its content was classified before, and keep or release it.

        Raises:
            RunEnded: no further item can be settled either.
        """
        if item.state in UNAVAILABLE:
            return
        assert item.sha256 is not None
        async with self._locks.take(item.sha256), self._place(item):
            try:
                await self._apply(item, await self._classified(item))
            except RunEnded:
                raise
            except _Damaged as error:
                self._fail(item, str(error), is_damaged=True)
            except SightlineError as error:
                self._fail(self._documents.item(item.url), str(error))
            except Exception as error:  # or one file would end its run
                _log.exception("file %s", item.url)
                reason = f"internal error: {type(error).__name__}: {error}"
                self._fail(self._documents.item(item.url), reason)

    def _place(self, item: Item) -> AbstractAsyncContextManager[object]:
        """Where an item's bytes may be held and drawn; images need not wait for documents."""
        return self._documents_at_once if item.mime in PAGED_TYPES else nullcontext()

    # -- verdicts ------------------------------------------------------------------------------------------

    def _known(self, item: Item) -> Classification | None:
        """What this run's judge said, or, of bytes that are not here any more, what another one did."""
        if self._judge is None or item.sha256 is None:
            return None
        known = self._verdicts.find(item.sha256, self._judge.fingerprints.of(item.mime))
        if known is not None and self._looks_again(item, known):
            known = None
        fetches_again = self._options.judge_again or self._is_here(item)
        if known is None and item.model is not None and not fetches_again:
            known = self._verdicts.find(item.sha256, item.model)
        return known

    def _looks_again(self, item: Item, known: Classification) -> bool:
        """Whether this run's judge is asked once more: where it failed and another one had not, and, if that
        is asked for, where it saw some of the pages only."""
        if known.sha256 in self._tried:
            return False
        if known.error is None:
            return known.in_part and self._options.judge_again
        is_of_another = item.model is not None and item.model != known.model
        return is_of_another or (item.state is ItemState.KEPT and item.model is None)

    async def _classified(self, item: Item) -> Classification | None:
        known = self._known(item)
        if known is not None or self._judge is None:
            return known
        assert item.sha256 is not None
        judgement = await self._judge.judge(await self._bytes(item), item.sha256)
        if judgement.code not in (None, UnsupportedImage.code):
            self._tried.add(item.sha256)
        before = self._verdicts.find(item.sha256, judgement.model)
        if before is not None and before.in_part:
            judgement = before.and_then(judgement)
        self._verdicts.save(judgement)
        return judgement

    async def _bytes(self, item: Item) -> bytes:
        """Raises ImageError: the file is not what it was, or cannot be read."""
        assert item.file is not None
        try:
            data = await asyncio.to_thread(self._blobs.read, item.file)
        except OSError as error:
            raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
        if await asyncio.to_thread(self._blobs.digest, data) != item.sha256:
            raise _Damaged("the file was damaged on this machine; --retry-failed fetches it again")
        return data

    async def _apply(self, item: Item, result: Classification | None) -> None:
        event = _event(result)
        if item.sha256 is not None:
            before = None if item.model is None else self._verdicts.find(item.sha256, item.model)
            event = replace(
                event,
                was_wanted=before is not None and before.would_download,
                is_here=self._is_here(item),
                has_files=bool(self._kept.of(item.sha256)),
            )
        change = transition(item, event, self._policy)
        if Effect.STORE in change.effects:
            await self._keep(change.item, result)
        elif change.item != item or change.effects:
            self._perform(change)

    def _fail(self, item: Item, reason: str, *, is_damaged: bool = False) -> None:
        """Record that an item could not be classified. Other items with the same damaged bytes fetch them
        again when they are settled."""
        assert item.sha256 is not None
        has_files = bool(self._kept.of(item.sha256))
        event = ClassificationFailed(reason, self._is_here(item), has_files, is_damaged=is_damaged)
        self._perform(transition(item, event, self._policy))

    def _perform(self, change: Transition) -> None:
        """Save the item, then release its bytes: the next run does so if this process is killed between."""
        if Effect.DISCARD in change.effects and change.item.file is not None:
            self._remove(change.item.file)
        self._documents.save(change.item)
        if Effect.RELEASE in change.effects:
            self._release(change.item)

    # -- files ---------------------------------------------------------------------------------------------

    def _is_here(self, item: Item) -> bool:
        return item.file is not None and self._blobs.has(item.file)

    async def _keep(self, item: Item, judgement: Classification | None) -> None:
        assert item.sha256 is not None
        files, problem = await self._files(item, judgement)
        with self._state.transaction():
            self._documents.save(replace(item, error=problem or item.error))
            stay = {**self._staying(item.sha256), **{each.page: each for each in files}}
            unneeded = self._kept.replace(item.sha256, stay.values())
        for path in unneeded:
            self._remove(path)

    def _staying(self, sha256: str) -> dict[int, KeptFile]:
        """What is here of a file and must stay, for any of the items that are this file."""
        wanted = self._kept.wanted_pages(sha256)
        return {
            page: each
            for page, each in self._kept.of(sha256).items()
            if page in wanted and self._blobs.has(each.file)
        }

    async def _files(self, item: Item, judgement: Classification | None) -> tuple[list[KeptFile], str | None]:
        """What stays of an item: itself, or pages of it. And why not all of those could be drawn."""
        assert item.file is not None
        assert item.sha256 is not None
        have = self._kept.of(item.sha256)
        if judgement is None and have:
            return list(have.values()), None  # such as pages that someone judged before
        if judgement is None or judgement.pages == 0:
            if WHOLE in have:
                return [have[WHOLE]], None
            data = await self._bytes(item)
            width, height = await asyncio.to_thread(size_of, data, self._limits) or (None, None)
            return [KeptFile(WHOLE, item.file, len(data), width, height)], None
        wanted = [verdict.page for verdict in judgement.verdicts if verdict.would_download]
        here = {page: have[page] for page in wanted if page in have and self._blobs.has(have[page].file)}
        missing = [page for page in wanted if page not in here or here[page].drawn != self._pages.drawn]
        if not missing:
            return list(here.values()), None
        data = await self._bytes(item)
        drawn, problem = await asyncio.to_thread(self._draw, data, missing)
        here |= {each.page: each for each in drawn}  # one that cannot be drawn anew stays as it was
        return [here[page] for page in sorted(here)], problem

    def _draw(self, data: bytes, numbers: list[int]) -> tuple[list[KeptFile], str | None]:
        drawn: list[KeptFile] = []
        problem: ImageError | None = None
        try:
            with disk_trouble_ends_the_run(self._blobs.root):
                for page in full_pages(data, numbers, self._pages, self._limits):
                    if isinstance(page, ImageError):
                        problem = problem or page
                    else:
                        drawn.append(self._stored(page))
        except ImageError as error:
            problem = error
        return drawn, None if problem is None else f"not every page could be drawn in full: {problem}"

    def _stored(self, page: FullPage) -> KeptFile:
        file = self._blobs.put(page.png, self._blobs.digest(page.png), "png")
        return KeptFile(page.page, file, len(page.png), page.width, page.height, self._pages.drawn)

    def _release(self, item: Item) -> None:
        """Remove an item's bytes and pages, except those that other items need."""
        assert item.sha256 is not None
        gone = set() if item.file is None or self._kept.needs_bytes(item.sha256) else {item.file}
        stay = [each for each in self._staying(item.sha256).values() if each.file not in gone]
        paths = gone.union(self._kept.replace(item.sha256, stay))
        for path in self._kept.unneeded(sorted(paths)):
            self._remove(path)
        if item.file is not None:
            self._documents.save(replace(item, file=None))

    def _remove(self, path: str) -> None:
        """One that cannot be removed goes at the start of a later run."""
        try:
            with disk_trouble_ends_the_run(self._blobs.root):
                self._blobs.remove(path)
        except OSError as error:
            _log.warning("%s cannot be removed: %s", path, error)


def _pieces(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while piece := list(islice(paths, size)):
        yield piece


def _event(result: Classification | None) -> Classified:
    """Return the event of a result; None: no classifier is used."""
    if result is None:
        return Classified()
    return Classified(
        model=result.model,
        would_download=result.would_download,
        error=result.error,
        is_no_picture=result.code == UnsupportedImage.code,
        note=result.note,
    )
