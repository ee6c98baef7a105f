"""Results by the real operation on a small CLIP that tells the loopback servers' pictures apart."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from koopserver.pdf import pdf
from koopserver.pictures import picture
from PIL import Image

from sightline.errors import ImageError, ImageTooLarge, InvalidImage, InvalidParameters, ModelUnavailable
from sightline.imaging.limits import ImageLimits
from sightline.imaging.pdf import DrawingEnded, Pdf, PdfLimits, RenderedPage, open_pdf
from sightline.jobs.koop.run import classifier as judging
from sightline.jobs.koop.run.classifier import FullPage, PageLimits, ZeroShotClassifier, full_pages, size_of
from sightline.jobs.looking import unrefused
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings

LIMITS = ImageLimits(25 * 2**20, 50_000_000, 30_000)


def pages(**changes: object) -> PageLimits:
    return PageLimits(PdfLimits(**changes), look_dpi=100.0, keep_dpi=200.0)


def settings_of(models_dir: Path, **changes: object) -> Settings:
    usual = {
        "models_dir": models_dir, "offline": True, "allow_random_weights": True, "precision": "f32",
    }  # fmt: skip
    return unrefused(Settings(**{**usual, **changes}))


@pytest.fixture
async def analyzer(seeing_models: Path) -> AsyncIterator[Analyzer]:
    async with Analyzer.create(settings_of(seeing_models)) as opened:
        yield opened


@pytest.fixture
async def judge(analyzer: Analyzer) -> ZeroShotClassifier:
    return await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages())


@pytest.mark.parametrize(
    ("kind", "wanted"), [("map", True), ("aerial", True), ("logo", False), ("sign", False)]
)
async def test_maps_and_aerial_views_are_wanted(kind: str, wanted: bool, judge: ZeroShotClassifier) -> None:
    found = await judge.judge(picture(kind, 5, "png", (160, 110)), "abc")
    (verdict,) = found.verdicts
    assert (found.sha256, found.model, found.pages, found.error) == ("abc", judge.fingerprints.image, 0, None)
    assert (verdict.page, verdict.would_download, found.would_download) == (0, wanted, wanted)
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert verdict.confidence == verdict.probabilities[verdict.label]


async def test_every_page_of_a_document_is_judged(judge: ZeroShotClassifier) -> None:
    found = await judge.judge(pdf("text", "map", "text", seed=3), "abc")
    assert found.pages == 3
    assert [(each.page, each.would_download) for each in found.verdicts] == [
        (1, False), (2, True), (3, False),
    ]  # fmt: skip
    assert found.note is None


def tiff(*kinds: str) -> bytes:
    """A scan with a page for each kind."""
    images = [Image.open(io.BytesIO(picture(kind, 5, "png", (160, 110)))) for kind in kinds]
    buffer = io.BytesIO()
    images[0].save(buffer, "TIFF", save_all=True, append_images=images[1:], compression="tiff_lzw")
    return buffer.getvalue()


async def test_every_page_of_a_tiff_is_judged(judge: ZeroShotClassifier) -> None:
    file = tiff("logo", "map", "sign")
    found = await judge.judge(file, "abc")
    assert (found.pages, found.model) == (3, judge.fingerprints.document)
    assert [(each.page, each.would_download) for each in found.verdicts] == [
        (1, False), (2, True), (3, False),
    ]  # fmt: skip
    (page,) = full_pages(file, [2], pages(), LIMITS)
    assert isinstance(page, FullPage)
    assert (page.page, page.width, page.height) == (2, 160, 110)
    (error,) = full_pages(file, [4], pages(), LIMITS)
    assert isinstance(error, InvalidImage)


async def test_a_tiff_of_one_page_is_an_image(judge: ZeroShotClassifier) -> None:
    found = await judge.judge(tiff("map"), "abc")
    assert (found.pages, [each.page for each in found.verdicts]) == (0, [0])
    assert found.model == judge.fingerprints.of("image/tiff")


async def test_damaged_pages_of_a_tiff_are_noted(judge: ZeroShotClassifier) -> None:
    file = bytearray(tiff("map", "sign", "map"))
    with Image.open(io.BytesIO(bytes(file))) as image:
        image.seek(1)
        (start, *_), (size, *_) = image.tag_v2[273], image.tag_v2[279]
    file[start : start + size] = b"\xff" * size
    found = await judge.judge(bytes(file), "abc")
    assert [(each.page, each.would_download) for each in found.verdicts] == [(1, True), (3, True)]
    assert found.note is not None
    assert found.note.startswith("page 2: ")


async def test_the_cap_holds_for_pages_of_a_tiff(analyzer: Analyzer) -> None:
    judge = await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages(max_pages=1))
    found = await judge.judge(tiff("sign", "map"), "abc")
    assert [each.page for each in found.verdicts] == [1]
    assert found.note == "only the first 1 of 2 pages were looked at"


async def test_a_pdf_that_is_still_being_opened_is_closed_when_judging_is_cancelled(
    judge: ZeroShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, may_end, closed = threading.Event(), threading.Event(), threading.Event()
    opened: list[Pdf] = []
    close = Pdf.close

    def and_tell(self: Pdf) -> None:
        close(self)
        closed.set()

    def slowly(data: bytes, limits: PdfLimits) -> Pdf:
        opening.set()
        may_end.wait(30)
        opened.append(open_pdf(data, limits))
        return opened[0]

    monkeypatch.setattr(judging, "open_pdf", slowly)
    monkeypatch.setattr(Pdf, "close", and_tell)
    judged = asyncio.create_task(judge.judge(pdf("text", seed=3), "abc"))
    await asyncio.to_thread(opening.wait, 30)
    judged.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judged
    may_end.set()
    assert await asyncio.to_thread(closed.wait, 30)
    with pytest.raises(ValueError, match="closed"):
        opened[0].render(1, 72)


async def test_pages_past_the_cap_are_noted(analyzer: Analyzer) -> None:
    judge = await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages(max_pages=1))
    found = await judge.judge(pdf("text", "map", seed=3), "abc")
    assert [each.page for each in found.verdicts] == [1]
    assert found.note == "only the first 1 of 2 pages were looked at"


def slow_on(monkeypatch: pytest.MonkeyPatch, errors: dict[int, ImageError]) -> None:
    """Have pages fail to be drawn."""
    render = Pdf.render

    def failing(self: Pdf, number: int, dpi: float) -> RenderedPage:
        if number in errors:
            raise errors[number]
        return render(self, number, dpi)

    monkeypatch.setattr(Pdf, "render", failing)


SLOW, UP, DAMAGED = DrawingEnded("it took too long"), ImageTooLarge("no time is left"), InvalidImage("torn")


@pytest.mark.parametrize(
    ("kinds", "errors", "note"),
    [
        (["text", "map", "text"], {2: SLOW}, "page 2 was not looked at: it took too long"),
        (["text", "map", "text"], {1: SLOW, 2: SLOW}, "pages 1 to 2 were not looked at: it took too long"),
        (["text", "map", "text"], {2: UP}, "pages 2 to 3 were not looked at: no time is left"),
        (
            ["text"] * 6, {1: SLOW, 3: SLOW, 4: DAMAGED, 5: UP},
            "pages 1, 3, 5 to 6 were not looked at: it took too long; page 4: torn",
        ),
    ],
)  # fmt: skip
async def test_without_a_yes_a_document_with_pages_that_were_too_slow_is_not_judged(
    kinds: list[str], errors: dict[int, ImageError], note: str, judge: ZeroShotClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    slow_on(monkeypatch, errors)
    found = await judge.judge(pdf(*kinds, seed=3), "abc")
    assert (found.error, found.verdicts, found.in_part) == (note, (), False)
    assert found.code == next(iter(errors.values())).code
    assert found.model == judge.fingerprints.document


async def test_with_a_yes_a_document_with_pages_that_were_too_slow_is_judged_in_part(
    judge: ZeroShotClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_on(monkeypatch, {1: SLOW, 4: UP})
    found = await judge.judge(pdf("map", "map", "text", "map", seed=3), "abc")
    assert [each.page for each in found.verdicts] == [2, 3]
    assert (found.error, found.in_part, found.would_download) == (None, True, True)
    assert found.note == "pages 1, 4 were not looked at: it took too long"


async def test_a_damaged_page_is_noted_and_the_others_are_judged(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages(max_pages=2))
    slow_on(monkeypatch, {2: DAMAGED})
    found = await judge.judge(pdf("text", "map", "text", seed=3), "abc")
    assert [each.page for each in found.verdicts] == [1]
    assert (found.error, found.in_part) == (None, False)
    assert found.note == "page 2: torn; only the first 2 of 3 pages were looked at"


async def test_a_page_of_more_pixels_than_the_judge_takes_costs_only_itself(seeing_models: Path) -> None:
    async with Analyzer.create(settings_of(seeing_models, image_max_pixels=10_000)) as analyzer:
        judge = await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages())
        found = await judge.judge(pdf("map", "map", seed=3), "abc")
        assert (found.code, found.in_part) == ("image_error", False)
        assert "page 1: " in (found.error or "")
        assert "page 2: " in (found.error or "")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no picture at all", "unsupported_image"),
        (b"", "invalid_image"),
        (picture("map", 1, "png", (160, 110))[:60], "invalid_image"),
        (b"%PDF-1.7 and nothing more", "invalid_image"),
    ],
)
async def test_files_without_good_pictures_have_the_reason(
    data: bytes, code: str, judge: ZeroShotClassifier
) -> None:
    found = await judge.judge(data, "abc")
    assert (found.code, found.verdicts) == (code, ())
    assert found.error


async def test_random_weights_are_told(judge: ZeroShotClassifier) -> None:
    assert any("random weights" in warning for warning in judge.warnings)


async def test_the_model_is_that_of_weights_and_words(
    analyzer: Analyzer, judge: ZeroShotClassifier, seeing_models: Path, tmp_path: Path
) -> None:
    assert (
        await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages())
    ).fingerprints == judge.fingerprints
    sets = tmp_path / "sets.toml"
    sets.write_text(
        '[mine.labels]\nmaps=["a plan"]\nrest=["a cat"]\n[mine.rules.yes]\nany_above={maps=0.5}\n'
    )
    async with Analyzer.create(settings_of(seeing_models, label_sets=sets)) as other:
        mine = (await ZeroShotClassifier.ready(other, "mine", pages())).fingerprints
        assert mine.image != judge.fingerprints.image


@pytest.mark.parametrize(
    ("changed", "of_images", "of_documents"),
    [
        (PageLimits(PdfLimits(), look_dpi=100.0, keep_dpi=72.0), True, True),
        (PageLimits(PdfLimits(), look_dpi=150.0, keep_dpi=200.0), True, False),
        (PageLimits(PdfLimits(max_pages=7), look_dpi=100.0, keep_dpi=200.0), True, False),
        (PageLimits(PdfLimits(max_page_pixels=10**6), look_dpi=100.0, keep_dpi=200.0), True, False),
        (PageLimits(PdfLimits(page_timeout_s=1.0), look_dpi=100.0, keep_dpi=200.0), True, False),
    ],
)
async def test_how_pages_are_seen_is_part_of_verdicts_on_documents(
    changed: PageLimits, of_images: bool, of_documents: bool, analyzer: Analyzer, judge: ZeroShotClassifier
) -> None:
    other = (await ZeroShotClassifier.ready(analyzer, "map-or-aerial", changed)).fingerprints
    assert (other.image == judge.fingerprints.image) is of_images
    assert (other.document == judge.fingerprints.document) is of_documents
    assert other.image != other.document


async def test_the_cap_on_pixels_is_part_of_every_verdict(
    judge: ZeroShotClassifier, seeing_models: Path
) -> None:
    async with Analyzer.create(settings_of(seeing_models, image_max_pixels=10_000)) as analyzer:
        other = await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages())
        assert other.fingerprints.image != judge.fingerprints.image
        assert (await other.judge(picture("map", 1, "png", (160, 110)), "abc")).code == "image_too_large"
        found = await other.judge(b"%PDF-1.7 and nothing more", "abc")
        assert (found.code, found.model) == ("invalid_image", other.fingerprints.document)


async def test_a_set_without_rules_cannot_judge(analyzer: Analyzer) -> None:
    with pytest.raises(InvalidParameters, match=r"kind-of-picture.*no rules.*--label-set"):
        await ZeroShotClassifier.ready(analyzer, "kind-of-picture", pages())
    with pytest.raises(InvalidParameters, match="no label set 'none'"):
        await ZeroShotClassifier.ready(analyzer, "none", pages())


async def test_missing_weights_are_told_at_once(tmp_path: Path) -> None:
    async with Analyzer.create(settings_of(tmp_path / "empty")) as analyzer:
        with pytest.raises(ModelUnavailable, match="sightline models"):
            await ZeroShotClassifier.ready(analyzer, "map-or-aerial", pages())


def test_pages_to_keep_are_drawn_larger() -> None:
    (page,) = full_pages(pdf("text", "map", seed=3), [2], pages(), LIMITS)
    (smaller,) = full_pages(pdf("text", "map", seed=3), [2], PageLimits(PdfLimits(), 100, 100), LIMITS)
    assert page.page == 2
    assert page.width == pytest.approx(2 * smaller.width, abs=2)
    assert size_of(page.png, LIMITS) == (page.width, page.height)


def test_a_page_that_cannot_be_drawn_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_on(monkeypatch, {1: SLOW})
    error, page = full_pages(pdf("text", "map", seed=3), [1, 2], pages(), LIMITS)
    assert error is SLOW
    assert isinstance(page, FullPage)
    assert page.page == 2


def test_sizes_are_of_pictures_alone() -> None:
    assert size_of(picture("map", 1, "png", (160, 110)), LIMITS) == (160, 110)
    assert size_of(b"%PDF-1.7", LIMITS) is None
