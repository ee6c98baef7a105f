"""Which pictures are worth keeping: zero-shot classification of images, and of documents page by page."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sightline.errors import (
    ConfigurationError,
    ImageError,
    ImageTooLarge,
    InferenceFailed,
    InvalidParameters,
    ModelBroken,
    ModelLoading,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
)
from sightline.imaging import Picture, encode_png, open_picture, picture_from_pixels
from sightline.imaging.limits import ImageLimits
from sightline.imaging.pdf import Pdf, PdfLimits, is_pdf, open_pdf
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.verdicts import PDF_TYPE, WHOLE, Fingerprints, Judgement, Verdict
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


class Judge(Protocol):
    """Says of files which of their pictures to keep. Several at a time."""

    @property
    def fingerprints(self) -> Fingerprints:
        """Of everything that a verdict depends on."""
        ...

    async def judge(self, data: bytes, sha256: str) -> Judgement:
        """A verdict on each picture of a file; an error in it if it is no file with pictures.

        Raises:
            RunEnded: no file can be judged.
            SightlineError: this one could not be; another time it may.
        """
        ...


class ZeroShotJudge:
    """A judge that asks ``classify_zero_shot``. Made by :meth:`ready`."""

    def __init__(
        self, analyzer: Analyzer, label_set: str, model: str, warnings: tuple[str, ...], pages: PageLimits
    ) -> None:
        limits = dataclasses.astuple(analyzer.limits)
        self.fingerprints = Fingerprints(
            f"{model}-{_digest(limits)}", f"{model}-{_digest(limits, pages.seen_by)}"
        )
        self.warnings = warnings
        self._analyzer = analyzer
        self._task = analyzer.bind(Task("kind", OPERATION, {"label_set": label_set}))
        self._pages = pages

    @classmethod
    async def ready(cls, analyzer: Analyzer, label_set: str, pages: PageLimits) -> ZeroShotJudge:
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

    async def judge(self, data: bytes, sha256: str) -> Judgement:
        try:
            if is_pdf(data):
                return await self._judge_pdf(data, sha256)
            picture = await self._analyzer.engine.work(open_picture, data, self._analyzer.limits)
            return Judgement(sha256, self.fingerprints.image, 0, (await self._verdict(picture, WHOLE),))
        except ImageError as error:
            by = self.fingerprints.of(PDF_TYPE if is_pdf(data) else None)
            return Judgement(sha256, by, 0, code=error.code, error=str(error))

    async def _judge_pdf(self, data: bytes, sha256: str) -> Judgement:
        pdf = await asyncio.to_thread(open_pdf, data, self._pages.pdf)
        verdicts: list[asyncio.Task[Verdict]] = []
        notes: list[str] = []
        try:
            free = asyncio.Semaphore(_PAGES_AHEAD)
            async with asyncio.TaskGroup() as looks:
                for number in pdf.numbers:
                    await free.acquire()
                    try:
                        picture = await asyncio.to_thread(self._drawn, pdf, number)
                    except ImageError as error:
                        free.release()
                        notes.append(f"page {number}: {error}")
                        if isinstance(error, ImageTooLarge):  # the document's time is up
                            break
                        continue
                    look = looks.create_task(self._verdict(picture, number))
                    look.add_done_callback(lambda _: free.release())
                    verdicts.append(look)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            await asyncio.to_thread(pdf.close)
        if len(pdf.numbers) < pdf.num_pages:
            notes.append(f"only the first {len(pdf.numbers)} of {pdf.num_pages} pages were looked at")
        note = "; ".join(notes[:3]) or None
        by = self.fingerprints.document
        if not verdicts:
            return Judgement(sha256, by, pdf.num_pages, code=ImageError.code, error=note)
        return Judgement(sha256, by, pdf.num_pages, tuple(look.result() for look in verdicts), note=note)

    def _drawn(self, pdf: Pdf, number: int) -> Picture:
        page = pdf.render(number, self._pages.look_dpi)
        return picture_from_pixels(page.pixels, self._analyzer.limits, source="pdf")

    async def _verdict(self, picture: Picture, page: int) -> Verdict:
        outcome = await self._look(picture)
        if isinstance(outcome.error, _HOPELESS):
            raise RunEnded(str(outcome.error)) from outcome.error
        if outcome.error is not None:
            raise outcome.error
        if outcome.answer is None or outcome.answer.data is None:
            raise InferenceFailed("there was no verdict")
        found = outcome.answer.data
        return Verdict(page, found.label, found.confidence, found.probabilities, any(found.verdicts.values()))

    async def _look(self, picture: Picture) -> Outcome:
        context = Context.lasting(_TIMEOUT_S, Priority.BULK)
        (outcome,) = await self._analyzer.analyze(picture, [self._task], context)
        return outcome


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


def full_pages(data: bytes, numbers: list[int], limits: PageLimits) -> Iterator[FullPage]:
    """Pages of a PDF to keep, drawn at ``keep_dpi`` or what the limits allow. Blocks.

    Raises:
        ImageError: a page cannot be drawn.
    """
    with open_pdf(data, limits.pdf) as pdf:
        for number in numbers:
            pixels = pdf.render(number, limits.keep_dpi).pixels
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
