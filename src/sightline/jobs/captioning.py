"""Captions for a folder of images, each in a text file beside its image.

A caption appears whole or not at all, so a run can be ended at any moment, by cancelling it or by pulling the
plug, and the next one goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sightline.errors import SightlineError, TargetNotFound
from sightline.jobs.describing import Describer, Description, RunEnded
from sightline.jobs.images import FolderImage, holds_text, listings
from sightline.jobs.writing import DISK_ERRORS, replacing, temporary_in

_log = logging.getLogger(__name__)

# Two batches of a captioning model: one is computed while the next is read and decoded.
USUAL_CONCURRENCY = 8
HAS_CAPTION = "it has a caption"


class CaptionStatus(StrEnum):
    WRITTEN = "written"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Captioned:
    """What became of one image, or of a folder that could not be read.

    ``reason`` says why there is no new caption.
    """

    image: Path
    status: CaptionStatus
    caption: str | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_usual(self) -> bool:
        """Whether nobody need be told: it was written, or had been before."""
        return self.status is CaptionStatus.WRITTEN or self.reason == HAS_CAPTION


@dataclass(slots=True)
class Tally:
    """A run so far. ``unusual`` are the images worth a line at the end, ``warnings`` are each kept once."""

    counts: Counter[CaptionStatus] = field(default_factory=Counter)
    unusual: list[Captioned] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return self.counts[CaptionStatus.FAILED]

    def add(self, captioned: Captioned) -> None:
        self.counts[captioned.status] += 1
        if not captioned.is_usual:
            self.unusual.append(captioned)
        self.warnings += (warning for warning in captioned.warnings if warning not in self.warnings)


class Captioning:
    """One run over a folder.

    Args:
        report: called on the event loop with each image's end, in the order of those ends.
        recursive: go through the folders below as well.
        force: replace captions that are there.
        at_once: images under way, which bounds the memory that is taken.
    """

    def __init__(
        self,
        folder: Path,
        describer: Describer,
        report: Callable[[Captioned], None],
        *,
        recursive: bool = False,
        force: bool = False,
        at_once: int = USUAL_CONCURRENCY,
    ) -> None:
        self._folder = folder
        self._describer = describer
        self._report = report
        self._recursive = recursive
        self._force = force
        self._at_once = at_once
        self.tally = Tally()

    async def count(self) -> int:
        """How many images there are to describe."""
        return await asyncio.to_thread(self._count)

    async def run(self) -> None:
        """Go through all images; the tally holds what came of them, even if this raises or is cancelled.

        Raises:
            RunEnded: no image could be described, or no caption written.
            OSError: the folder cannot be read.
        """
        turn = asyncio.Lock()

        async def work(images: AsyncGenerator[FolderImage, None]) -> None:
            while True:
                async with turn:
                    image = await anext(images, None)
                if image is None:
                    return
                self._note(await self._captioned(image))

        async with aclosing(self._to_describe()) as images:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self._at_once):
                        workers.create_task(work(images))
            except ExceptionGroup as group:
                first = group.exceptions[0]
                raise first from first.__cause__

    # -- which ---------------------------------------------------------------------------------------------

    def _count(self) -> int:
        found = listings(self._folder, recursive=self._recursive)
        return sum(self._skip_reason(image) is None for listing in found for image in listing)

    def _skip_reason(self, image: FolderImage) -> str | None:
        if image.namesake is not None:
            return f"{image.caption.name} is the caption of {image.namesake}"
        return HAS_CAPTION if image.has_caption and not self._force else None

    async def _to_describe(self) -> AsyncGenerator[FolderImage, None]:
        """Every image that wants a caption; the others are noted."""
        found = listings(self._folder, recursive=self._recursive)
        while listing := await asyncio.to_thread(next, found, None):
            if listing.error is not None:
                self._unreadable(listing.folder, listing.error)
            refusal: str | None = None
            asked = False
            for image in listing:
                if reason := self._skip_reason(image):
                    self._note(Captioned(image.path, CaptionStatus.SKIPPED, reason=reason))
                    continue
                if not asked:
                    asked, refusal = True, await asyncio.to_thread(_write_refusal, listing.folder)
                if refusal is None:
                    yield image
                elif listing.folder == self._folder:
                    raise RunEnded(f"{self._folder}: {refusal}")
                else:
                    self._note(Captioned(image.path, CaptionStatus.FAILED, reason=refusal))

    def _unreadable(self, folder: Path, error: OSError) -> None:
        if folder == self._folder:
            raise error
        reason = f"the folder cannot be read: {error.strerror or error}"
        self._note(Captioned(folder, CaptionStatus.FAILED, reason=reason))

    # -- what ----------------------------------------------------------------------------------------------

    async def _captioned(self, image: FolderImage) -> Captioned:
        try:
            description = await self._describer.describe(image.path)
        except RunEnded:
            raise
        except TargetNotFound as error:
            return Captioned(image.path, CaptionStatus.SKIPPED, reason=str(error))
        except SightlineError as error:
            return Captioned(image.path, CaptionStatus.FAILED, reason=str(error))
        except Exception as error:  # or the image would end every run that comes to it
            _log.exception("describing %s", image.path)
            reason = f"internal error: {type(error).__name__}: {error}"
            return Captioned(image.path, CaptionStatus.FAILED, reason=reason)
        # On the event loop on purpose: nothing can come between the caption and its being counted.
        return self._written(image, description)

    def _written(self, image: FolderImage, description: Description) -> Captioned:
        text = description.text.strip()
        if not text:
            return Captioned(image.path, CaptionStatus.FAILED, reason="the description is empty")
        if not self._force and holds_text(image.caption):  # somebody wrote one meanwhile
            return Captioned(image.path, CaptionStatus.SKIPPED, reason=HAS_CAPTION)
        try:
            write_whole(image.caption, text)
        except OSError as error:
            reason = f"{image.caption.name} cannot be written: {error.strerror or error}"
            if error.errno in DISK_ERRORS:
                raise RunEnded(f"{image.caption.parent}: {reason}") from error
            return Captioned(image.path, CaptionStatus.FAILED, reason=reason)
        return Captioned(image.path, CaptionStatus.WRITTEN, caption=text, warnings=description.warnings)

    def _note(self, captioned: Captioned) -> None:
        self.tally.add(captioned)
        self._report(captioned)


def write_whole(path: Path, text: str) -> None:
    """Write a file that has either all of ``text``, in UTF-8, or its old content, even after a power cut.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))


def _write_refusal(folder: Path) -> str | None:
    """Why no file can be made in a folder; None if one can. Only trying tells on every kind of disk."""
    temporary = temporary_in(folder)
    try:
        temporary.open("xb").close()
        temporary.unlink()
    except OSError as error:
        return f"no captions can be written to this folder: {error.strerror or error}"
    return None
