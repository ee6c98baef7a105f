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
from sightline.jobs.koop.blobs import Blobs
from sightline.jobs.koop.documents import NOT_JUDGED, Documents, Item, ItemState
from sightline.jobs.koop.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.judging import FullPage, Judge, PageLimits, full_pages, size_of
from sightline.jobs.koop.kept import KeptFile, KeptFiles
from sightline.jobs.koop.options import Keep, Options
from sightline.jobs.koop.state import State
from sightline.jobs.koop.turns import Turns
from sightline.jobs.koop.verdicts import PAGED_TYPES, WHOLE, Judgement, Verdicts

_log = logging.getLogger(__name__)

# A document that is drawn is a process of up to a gigabyte and a core. While the model looks at the pages of
# one, those of the other are drawn.
_DOCUMENTS_AT_ONCE = 2
_SWEPT_AT_ONCE = 200
# When the state was first used. Older files are not its leavings: somebody may have taken the state away.
_BEGAN = "began_unix_s"


class _Damaged(ImageError):
    """The bytes are not those that were fetched."""


class Settling:
    """Decides what becomes of items whose bytes are here, or were.

    Args:
        judge: None: nothing is judged and everything stays.
        turns: of whoever touches files by their digest.
    """

    def __init__(
        self,
        state: State,
        blobs: Blobs,
        judge: Judge | None,
        turns: Turns,
        options: Options,
        pages: PageLimits,
        limits: ImageLimits,
    ) -> None:
        self._state = state
        self._documents = Documents(state)
        self._kept = KeptFiles(state)
        self._verdicts = Verdicts(state)
        self._blobs = blobs
        self._judge = judge
        self._turns = turns
        self._options = options
        self._pages = pages
        self._limits = limits
        self._documents_at_once = asyncio.Semaphore(_DOCUMENTS_AT_ONCE)
        self._tried: set[str] = set()

    def must_fetch(self, item: Item) -> bool:
        """Whether an item cannot be settled without bytes that are not here."""
        if item.state in (ItemState.FAILED, ItemState.GONE) or self._is_here(item):
            return False
        if self._options.dry_run and item.state is ItemState.KEPT:
            return False
        known = self._known(item)
        return known is None or self._decision(known) is ItemState.KEPT

    def is_outdated(self, item: Item) -> bool:
        """Whether it was decided by a verdict that this run's judge did not give."""
        return (
            self._judge is not None
            and item.model is not None
            and item.model != self._judge.fingerprints.of(item.mime)
        )

    def forget_failure(self, item: Item) -> Item:
        """A failed item as if nobody had tried, unless this run has."""
        with self._state.transaction():
            if item.sha256 is not None and item.sha256 not in self._tried:
                self._verdicts.forget_failures(item.sha256)
            item = replace(item, state=ItemState.PENDING, error=None)
            self._documents.save(item)
        return item

    def clear(self) -> None:
        """Remove the files that a process was letting go of, or had not written down yet, when it ended."""
        for item in self._documents.undropped():
            self._let_go(item)
        began = self._state.get(_BEGAN)
        if began is None:
            began = int(time.time())
            self._state.put(_BEGAN, began)
        for paths in _pieces(self._blobs.paths(began), _SWEPT_AT_ONCE):
            for path in self._kept.unneeded(paths):
                self._remove(path)

    async def skip(self, item: Item, reason: str) -> None:
        """Leave an item alone that is not worth having, by this run's options. What was decided stands."""
        if item.state in (ItemState.PENDING, ItemState.FAILED):
            self._documents.save(replace(item, state=ItemState.SKIPPED, error=reason))
        elif item.state is ItemState.FETCHED:
            assert item.sha256 is not None
            async with self._turns.take(item.sha256):
                self._end(item, ItemState.SKIPPED, error=reason)
        elif item.state is ItemState.KEPT and (item.error or "").startswith(NOT_JUDGED):
            self._documents.save(replace(item, error=None))  # nor is it judged again by this run

    async def settle(self, item: Item) -> None:
        """Judge an item, unless its bytes were, and keep it or let it go. What was kept and cannot be judged
        again stays as it is, and its error says why.

        Raises:
            RunEnded: no further item can be settled either.
        """
        if item.state in (ItemState.FAILED, ItemState.GONE):
            return
        assert item.sha256 is not None
        async with self._turns.take(item.sha256), self._place(item):
            try:
                await self._apply(item, await self._judged(item))
            except RunEnded:
                raise
            except _Damaged as error:
                self._drop_damaged(item, str(error))
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

    def _known(self, item: Item) -> Judgement | None:
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

    def _looks_again(self, item: Item, known: Judgement) -> bool:
        """Whether this run's judge is asked once more: where it failed and another one had not, and, if that
        is asked for, where it saw some of the pages only."""
        if known.sha256 in self._tried:
            return False
        if known.error is None:
            return known.in_part and self._options.judge_again
        is_of_another = item.model is not None and item.model != known.model
        return is_of_another or (item.state is ItemState.KEPT and item.model is None)

    async def _judged(self, item: Item) -> Judgement | None:
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

    def _decision(self, judgement: Judgement | None) -> ItemState:
        if judgement is None:
            return ItemState.KEPT
        keeps_nothing = self._options.dry_run or self._options.keep is Keep.NONE
        keeps_all = self._options.keep is Keep.ALL and not keeps_nothing
        if judgement.error is not None:
            if judgement.code != UnsupportedImage.code:
                return ItemState.FAILED
            return ItemState.KEPT if keeps_all else ItemState.SKIPPED
        if keeps_nothing:
            return ItemState.CLASSIFIED
        return ItemState.KEPT if keeps_all or judgement.would_download else ItemState.REJECTED

    async def _apply(self, item: Item, judgement: Judgement | None) -> None:
        if self._leaves_alone(item):
            return
        state = self._decision(judgement)
        if judgement is not None and judgement.error is not None and self._is_failure(item, state):
            self._fail(item, judgement.error, judgement.model)
            return
        if judgement is not None:
            item = replace(item, model=judgement.model, error=judgement.error or judgement.note)
        if state is ItemState.KEPT:
            await self._keep(item, judgement)
        else:
            self._end(item, state, error=item.error)

    def _leaves_alone(self, item: Item) -> bool:
        """Whether an item was decided by a run that was not dry, as this one is."""
        return self._options.dry_run and item.state in (ItemState.KEPT, ItemState.REJECTED)

    def _is_failure(self, item: Item, state: ItemState) -> bool:
        """Whether an error that leads to ``state`` is a failure. It also is if it
        says that there is no picture in what was kept for one, as where a decoder is missing."""
        if state is ItemState.FAILED:
            return True
        if item.state is not ItemState.KEPT or item.model is None or item.sha256 is None:
            return False
        known = self._verdicts.find(item.sha256, item.model)
        return known is not None and known.would_download

    def _fail(self, item: Item, reason: str, model: str | None = None) -> None:
        """What was kept stays, with the verdict it was kept by. The rest waits for --retry-failed, pages that
        are here along with it."""
        if self._leaves_alone(item):
            return
        if item.state is ItemState.KEPT and self._is_here(item):
            self._documents.save(replace(item, error=f"{NOT_JUDGED}{reason}"))
            return
        assert item.sha256 is not None
        if item.model is None or not self._kept.of(item.sha256):
            item = replace(item, model=model or item.model)
        self._end(item, ItemState.FAILED, error=reason)

    def _drop_damaged(self, item: Item, reason: str) -> None:
        """Make room for good bytes. Others that have the same fetch them when they are settled."""
        if self._leaves_alone(item):
            return
        assert item.file is not None
        self._remove(item.file)
        self._fail(item, reason)

    # -- files ---------------------------------------------------------------------------------------------

    def _is_here(self, item: Item) -> bool:
        return item.file is not None and self._blobs.has(item.file)

    async def _keep(self, item: Item, judgement: Judgement | None) -> None:
        assert item.sha256 is not None
        files, problem = await self._files(item, judgement)
        with self._state.transaction():
            self._documents.save(replace(item, state=ItemState.KEPT, error=problem or item.error))
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

    async def _files(self, item: Item, judgement: Judgement | None) -> tuple[list[KeptFile], str | None]:
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

    def _end(self, item: Item, state: ItemState, *, error: str | None = None) -> None:
        """Write the decision, then let go of the bytes: a process that is killed between does it later."""
        item = replace(item, state=state, error=error)
        self._documents.save(item)
        if item.sha256 is not None:
            self._let_go(item)

    def _let_go(self, item: Item) -> None:
        """Of an item's bytes, if nobody else needs them, and of pages that only it wanted."""
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
