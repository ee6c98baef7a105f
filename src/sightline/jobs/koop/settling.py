"""From bytes to a decision: judged once, kept or let go."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from sightline.errors import ImageError, SightlineError, UnsupportedImage
from sightline.imaging.limits import ImageLimits
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.blobs import Blobs
from sightline.jobs.koop.documents import Documents, Item, ItemState, KeptFile
from sightline.jobs.koop.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.judging import FullPage, Judge, PageLimits, full_pages, size_of
from sightline.jobs.koop.options import Keep, Options
from sightline.jobs.koop.state import State
from sightline.jobs.koop.turns import Turns
from sightline.jobs.koop.verdicts import WHOLE, Judgement, Verdicts

_log = logging.getLogger(__name__)


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
        self._verdicts = Verdicts(state)
        self._blobs = blobs
        self._judge = judge
        self._turns = turns
        self._options = options
        self._pages = pages
        self._limits = limits

    def must_fetch(self, item: Item) -> bool:
        """Whether an item cannot be settled without bytes that are not here."""
        if item.state in (ItemState.FAILED, ItemState.GONE) or self._is_here(item):
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
        """A failed item as if nobody had tried."""
        with self._state.transaction():
            if item.sha256 is not None:
                self._verdicts.forget_failures(item.sha256)
            item = replace(item, state=ItemState.PENDING, error=None)
            self._documents.save(item)
        return item

    def clear(self) -> None:
        """Remove the files that a process was letting go of when it ended."""
        for item in self._documents.undropped():
            self._let_go(item)

    async def settle(self, item: Item) -> None:
        """Judge an item, unless its bytes were, and keep it or let it go.

        Raises:
            RunEnded: no further item can be settled either.
        """
        if item.state in (ItemState.FAILED, ItemState.GONE):
            return
        assert item.sha256 is not None
        async with self._turns.take(item.sha256):
            try:
                await self._apply(item, await self._judged(item))
            except RunEnded:
                raise
            except SightlineError as error:
                self._end(item, ItemState.FAILED, error=str(error))
            except Exception as error:  # or one file would end its run
                _log.exception("file %s", item.url)
                reason = f"internal error: {type(error).__name__}: {error}"
                self._end(item, ItemState.FAILED, error=reason)

    # -- verdicts ------------------------------------------------------------------------------------------

    def _known(self, item: Item) -> Judgement | None:
        """What this run's judge said, or, of bytes that are not here any more, what another one did."""
        if self._judge is None or item.sha256 is None:
            return None
        known = self._verdicts.find(item.sha256, self._judge.fingerprints.of(item.mime))
        fetches_again = self._options.judge_again or self._is_here(item)
        if known is None and item.model is not None and not fetches_again:
            known = self._verdicts.find(item.sha256, item.model)
        return known

    async def _judged(self, item: Item) -> Judgement | None:
        known = self._known(item)
        if known is not None or self._judge is None:
            return known
        judgement = await self._judge.judge(await self._bytes(item), item.sha256 or "")
        self._verdicts.save(judgement)
        return judgement

    async def _bytes(self, item: Item) -> bytes:
        """Raises ImageError: the file is not what it was."""
        assert item.file is not None
        try:
            data = await asyncio.to_thread(self._blobs.read, item.file)
        except OSError as error:
            raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
        if await asyncio.to_thread(self._blobs.digest, data) != item.sha256:
            raise ImageError("the file was damaged on this machine; --retry-failed fetches it again")
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
        if self._options.dry_run and item.state is ItemState.KEPT:
            return  # an earlier run's, and not this one's to let go
        state = self._decision(judgement)
        if judgement is not None:
            item = replace(item, model=judgement.model, error=judgement.error or judgement.note)
        if state is ItemState.KEPT:
            await self._keep(item, judgement)
        else:
            self._end(item, state, error=item.error)

    # -- files ---------------------------------------------------------------------------------------------

    def _is_here(self, item: Item) -> bool:
        return item.file is not None and self._blobs.has(item.file)

    async def _keep(self, item: Item, judgement: Judgement | None) -> None:
        assert item.sha256 is not None
        files, problem = await self._files(item, judgement)
        with self._state.transaction():
            unneeded = self._documents.keep_files(item.sha256, files)
            self._documents.save(replace(item, state=ItemState.KEPT, error=problem or item.error))
        for path in unneeded:
            self._remove(path)

    async def _files(self, item: Item, judgement: Judgement | None) -> tuple[list[KeptFile], str | None]:
        """What stays of an item: itself, or pages of it. And why not all of those could be drawn."""
        assert item.file is not None
        assert item.sha256 is not None
        have = self._documents.kept_files(item.sha256)
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
        try:
            with disk_trouble_ends_the_run(self._blobs.root):
                for page in full_pages(data, numbers, self._pages):
                    drawn.append(self._stored(page))  # noqa: PERF401 - what was drawn before an error stays
        except ImageError as error:
            return drawn, f"not every page could be drawn in full: {error}"
        return drawn, None

    def _stored(self, page: FullPage) -> KeptFile:
        file = self._blobs.put(page.png, self._blobs.digest(page.png), "png")
        return KeptFile(page.page, file, len(page.png), page.width, page.height, self._pages.drawn)

    def _end(self, item: Item, state: ItemState, *, error: str | None = None) -> None:
        """Write the decision, then let go of the bytes: a process that is killed between does it later."""
        item = replace(item, state=state, error=error)
        self._documents.save(item)
        if item.file is not None:
            self._let_go(item)

    def _let_go(self, item: Item) -> None:
        assert item.sha256 is not None
        if not self._documents.needs_bytes(item.sha256):
            paths = [*self._documents.keep_files(item.sha256, ())]
            if item.file is not None and not self._documents.is_kept(item.file):
                paths.append(item.file)
            for path in dict.fromkeys(paths):
                self._remove(path)
        self._documents.save(replace(item, file=None))

    def _remove(self, path: str) -> None:
        with disk_trouble_ends_the_run(self._blobs.root):
            self._blobs.remove(path)
