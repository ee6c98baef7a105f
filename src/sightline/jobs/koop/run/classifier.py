"""Which pictures are worth keeping: zero-shot classification of images, and of documents page by page."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sightline.errors import (
    ConfigurationError,
    ImageError,
    ImageTooLarge,
    InferenceFailed,
    InvalidImage,
    InvalidParameters,
    ModelBroken,
    ModelLoading,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
)
from sightline.imaging import Picture, count_pages, encode_png, open_picture, picture_from_pixels
from sightline.imaging.limits import ImageLimits
from sightline.imaging.pdf import DrawingEnded, Pdf, PdfLimits, is_pdf, open_pdf
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.archive.contents import kind_of
from sightline.jobs.koop.store.results import WHOLE, Classification, Fingerprints, PageResult
from sightline.runtime.analyzer import Analyzer, Outcome, Task
from sightline.runtime.engine import Context
from sightline.runtime.report import warnings_of
from sightline.types import Priority

OPERATION = "classify_zero_shot"
# The first picture may wait for the download of a model; of later ones nobody waits for any single one.
_TIMEOUT_S = 3600.0
# Pages of one document that wait for the model while the next is drawn.
_PAGES_AHEAD = 8
_BLANK_SIDE = 64
# Damaged pages of one document that are told of.
_MOST_NOTES = 3
# The next picture would fail for these as well.
_HOPELESS = (
    ConfigurationError, InvalidParameters, ModelBroken, ModelLoading, ModelUnavailable, UnknownModel,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FullPage:
    """A page of a document as a PNG file, ``width`` × ``height`` pixels."""

    page: int
    png: bytes
    width: int
    height: int


class Classifier(Protocol):
    """Says of files which of their pictures to keep. Several at a time."""

    @property
    def fingerprints(self) -> Fingerprints:
        """Of everything that a verdict depends on."""
        ...

    async def judge(self, data: bytes, sha256: str) -> Classification:
        """A verdict on each picture of a file; an error in it if it is no file with pictures.

        Raises:
            RunEnded: no file can be judged.
            SightlineError: this one could not be; another time it may.
        """
        ...


class ZeroShotClassifier:
    """A judge that asks ``classify_zero_shot``. Made by :meth:`ready`."""

    def __init__(
        self, analyzer: Analyzer, label_set: str, model: str, warnings: tuple[str, ...], pages: PageLimits
    ) -> None:
        limits = analyzer.limits.written
        self.fingerprints = Fingerprints(
            f"{model}-{_digest(limits)}", f"{model}-{_digest(limits, pages.seen_by)}"
        )
        self.warnings = warnings
        self._analyzer = analyzer
        self._task = analyzer.bind(Task("kind", OPERATION, {"label_set": label_set}))
        self._pages = pages

    @classmethod
    async def ready(cls, analyzer: Analyzer, label_set: str, pages: PageLimits) -> ZeroShotClassifier:
        """Load the models, by having them look at a blank picture.

        Raises:
            ModelError: a model is missing or broken; the message says how to get it.
            InvalidParameters: there is no such label set, or it has no rule that could say yes.
        """
        judge = cls(analyzer, label_set, "", (), pages)
        blank = np.full((_BLANK_SIDE, _BLANK_SIDE, 3), 255, np.uint8)
        outcome = await judge._look(picture_from_pixels(blank, analyzer.limits, source="blank"))
        if outcome.error is not None:
            raise outcome.error
        answer = outcome.answer
        assert answer is not None
        assert answer.data is not None
        assert answer.model is not None
        if not answer.data.verdicts:
            raise InvalidParameters(
                f"the label set {label_set!r} has no rules, so nothing says which pictures to keep; "
                "give it one, or take another with --label-set"
            )
        model = f"{answer.model.fingerprint}-{answer.data.fingerprint}"
        return cls(analyzer, label_set, model, tuple(warnings_of(outcome)), pages)

    async def judge(self, data: bytes, sha256: str) -> Classification:
        try:
            if is_pdf(data):
                return await self._judge_pdf(data, sha256)
            limits = self._analyzer.limits
            picture = await self._analyzer.engine.work(open_picture, data, limits)
            num_pages = await self._analyzer.engine.work(count_pages, data, limits)
            if num_pages > 1:
                return await self._judge_pages(_TiffPages(data, num_pages, limits, self._pages), sha256)
            by = self.fingerprints.of(kind_of(data)[0])
            return Classification(sha256, by, 0, (await self._verdict(picture, WHOLE),))
        except ImageError as error:
            by = self.fingerprints.of(kind_of(data)[0])
            return Classification(sha256, by, 0, code=error.code, error=str(error))

    async def _judge_pdf(self, data: bytes, sha256: str) -> Classification:
        pages = _PdfPages(data, self._analyzer.limits, self._pages)
        try:
            await asyncio.to_thread(pages.open)
            return await self._judge_pages(pages, sha256)
        finally:
            # Also when it is still being opened: a thread does not end with the task that waits for it.
            await asyncio.to_thread(pages.close)

    async def _judge_pages(self, pages: _PagedFile, sha256: str) -> Classification:
        verdicts: list[asyncio.Task[PageResult]] = []
        unseen = _Unseen()
        try:
            free = asyncio.Semaphore(_PAGES_AHEAD)
            async with asyncio.TaskGroup() as looks:
                for number in pages.numbers:
                    await free.acquire()
                    try:
                        picture = await asyncio.to_thread(pages.picture, number)
                    except ImageError as error:
                        free.release()
                        if isinstance(error, ImageTooLarge):  # the document's time is up
                            unseen.missed(range(number, pages.numbers.stop), error)
                            break
                        unseen.add(number, error)
                        continue
                    look = looks.create_task(self._verdict(picture, number))
                    look.add_done_callback(lambda _: free.release())
                    verdicts.append(look)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        found = tuple(look.result() for look in verdicts)
        seen = Classification(sha256, self.fingerprints.document, pages.num_pages, found)
        return unseen.judgement(seen, len(pages.numbers))

    async def _verdict(self, picture: Picture, page: int) -> PageResult:
        outcome = await self._look(picture)
        if isinstance(outcome.error, _HOPELESS):
            raise RunEnded(str(outcome.error)) from outcome.error
        if outcome.error is not None:
            raise outcome.error
        if outcome.answer is None or outcome.answer.data is None:
            raise InferenceFailed("there was no verdict")
        found = outcome.answer.data
        return PageResult(
            page, found.label, found.confidence, found.probabilities, any(found.verdicts.values())
        )

    async def _look(self, picture: Picture) -> Outcome:
        context = Context.lasting(_TIMEOUT_S, Priority.BULK)
        (outcome,) = await self._analyzer.analyze(picture, [self._task], context)
        return outcome


class _PagedFile(Protocol):
    """A file whose pages are judged one by one. ``numbers``, from 1, are those that the limits allow."""

    @property
    def num_pages(self) -> int: ...

    @property
    def numbers(self) -> range: ...

    def picture(self, number: int) -> Picture:
        """Return a page, decoded. Blocks.

        Raises:
            ImageError: this page cannot be seen; ImageTooLarge: nor can those after it.
        """
        ...


class _PdfPages:
    """The pages of a PDF. ``close`` ends its process from any thread, even one that is only now starting."""

    def __init__(self, data: bytes, limits: ImageLimits, pages: PageLimits) -> None:
        self._data = data
        self._limits = limits
        self._pages = pages
        self._lock = threading.Lock()
        self._pdf: Pdf | None = None
        self._is_closed = False

    def open(self) -> None:
        """Raises ImageError: the PDF does not open."""
        pdf = open_pdf(self._data, self._pages.pdf)
        with self._lock:
            if not self._is_closed:
                self._pdf = pdf
                return
        pdf.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            pdf = self._pdf
        if pdf is not None:
            pdf.close()

    @property
    def num_pages(self) -> int:
        assert self._pdf is not None
        return self._pdf.num_pages

    @property
    def numbers(self) -> range:
        assert self._pdf is not None
        return self._pdf.numbers

    def picture(self, number: int) -> Picture:
        assert self._pdf is not None
        page = self._pdf.render(number, self._pages.look_dpi)
        with _of_one_page():
            return picture_from_pixels(page.pixels, self._limits, source="pdf")


class _TiffPages:
    """The pages of a TIFF, as many as of a PDF."""

    def __init__(self, data: bytes, num_pages: int, limits: ImageLimits, pages: PageLimits) -> None:
        self._data = data
        self._limits = limits
        self.num_pages = num_pages
        self.numbers = range(1, min(num_pages, pages.pdf.max_pages) + 1)

    def picture(self, number: int) -> Picture:
        with _of_one_page():
            picture = open_picture(self._data, self._limits, page=number)
            picture.rgb()
        return picture


@contextmanager
def _of_one_page() -> Iterator[None]:
    """Make an error of what is too large: those after it may be smaller."""
    try:
        yield
    except ImageTooLarge as error:
        raise InvalidImage(str(error)) from error


class _Unseen:
    """The pages of a document that could not be looked at: damaged ones, and those *missed* for want of time
    or memory, which another look may see."""

    def __init__(self) -> None:
        self._damaged: list[str] = []
        self._missed: list[int] = []
        self._first: ImageError | None = None

    def add(self, number: int, error: ImageError) -> None:
        if isinstance(error, DrawingEnded):
            self.missed([number], error)
        else:
            self._damaged.append(f"page {number}: {error}")

    def missed(self, numbers: Iterable[int], error: ImageError) -> None:
        self._missed += numbers
        self._first = self._first or error

    def judgement(self, seen: Classification, num_drawable: int) -> Classification:
        """What was ``seen``, with a note of what was not. Without a yes it is none if a page was missed:
        that one may be the map."""
        notes = [] if self._first is None else [f"{_pages(self._missed)} not looked at: {self._first}"]
        notes += self._damaged[:_MOST_NOTES]
        if num_drawable < seen.pages:
            notes.append(f"only the first {num_drawable} of {seen.pages} pages were looked at")
        note = "; ".join(notes) or None
        if self._first is not None and not seen.would_download:
            return replace(seen, verdicts=(), code=self._first.code, error=note)
        if not seen.verdicts:
            return replace(seen, code=ImageError.code, error=note)
        return replace(seen, code=None if self._first is None else self._first.code, note=note)


def _pages(numbers: list[int]) -> str:
    """``page 2 was``, or ``pages 2, 4 to 50 were``."""
    if len(numbers) == 1:
        return f"page {numbers[0]} was"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return f"pages {', '.join(_run(each) for each in runs)} were"


def _run(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How documents are drawn: to be judged at ``look_dpi``, to be kept at ``keep_dpi``."""

    pdf: PdfLimits
    look_dpi: float
    keep_dpi: float

    @property
    def seen_by(self) -> str:
        """Digest of what decides which pages are judged, and how they look then."""
        return _digest(dataclasses.astuple(self.pdf), self.look_dpi)

    @property
    def drawn(self) -> str:
        """Digest of what decides how pages that stay are drawn."""
        return _digest(self.pdf.max_page_pixels, self.pdf.max_side, self.keep_dpi)


def full_pages(
    data: bytes, numbers: list[int], limits: PageLimits, images: ImageLimits
) -> Iterator[FullPage | ImageError]:
    """Pages to keep, or why one cannot be: of a PDF drawn at ``keep_dpi`` or what the limits allow, of a TIFF
    as they are. Blocks.

    Raises:
        ImageError: the PDF cannot be opened.
    """
    if not is_pdf(data):
        yield from _full_tiff_pages(data, numbers, images)
        return
    with open_pdf(data, limits.pdf) as pdf:
        for number in numbers:
            try:
                pixels = pdf.render(number, limits.keep_dpi).pixels
            except ImageError as error:  # about this page alone
                yield error
                continue
            height, width = pixels.shape[:2]
            yield FullPage(number, encode_png(pixels), width, height)


def _full_tiff_pages(data: bytes, numbers: list[int], limits: ImageLimits) -> Iterator[FullPage | ImageError]:
    for number in numbers:
        try:
            pixels = open_picture(data, limits, page=number).rgb()
        except ImageError as error:  # about this page alone
            yield error
            continue
        height, width = pixels.shape[:2]
        yield FullPage(number, encode_png(pixels), width, height)


def size_of(data: bytes, limits: ImageLimits) -> tuple[int, int] | None:
    """Upright width and height in pixels, if it is an image within the limits."""
    try:
        facts = open_picture(data, limits).facts
    except SightlineError:
        return None
    return facts.width, facts.height


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
