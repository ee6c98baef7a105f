"""What the archive could send, or the disk could do, to a download; and what of it gets away unharmed."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest
from koopserver import Decision, KoopServer, faults, pdf, quirks
from rig import Rig

from sightline.errors import InvalidRequest
from sightline.imaging.pdf import PdfLimits
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.run.classifier import PageLimits, ZeroShotClassifier
from sightline.jobs.koop.store.folder import occupied
from sightline.jobs.koop.store.state import DayState
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Precision, Settings

FIRST = date(2024, 6, 3)
ODD = "gmb-2024-1550001"
Start = Callable[..., KoopServer]


@pytest.fixture
def koop(koop_server: Start) -> KoopServer:
    """Three decisions on one day, each with one map and nothing else, and none on others."""
    koop = koop_server(decisions_per_day={FIRST: 3})
    koop.alter("gmb", lambda decision: quirks.illustrated("map")(quirks.bare(decision)))
    return koop


@pytest.fixture
def rig(koop: KoopServer, tmp_path: Path) -> Rig:
    return Rig(koop, tmp_path / "out")


@pytest.fixture
async def seeing(rig: Rig, seeing_models: Path) -> AsyncIterator[Rig]:
    """Judged by the whole engine."""
    settings = Settings(
        _env_file=None,
        models_dir=seeing_models,
        offline=True,
        allow_random_weights=True,
        precision=Precision.F32,
    )
    rig.pages = PageLimits(PdfLimits(max_pages=4), 100.0, 150.0)
    async with Analyzer.create(settings) as analyzer:
        rig.judge = await ZeroShotClassifier.ready(analyzer, "map-or-aerial", rig.pages)
        yield rig


def only_attached(alteration: Callable[[Decision], Decision]) -> Callable[[Decision], Decision]:
    return lambda decision: alteration(quirks.bare(decision))


def of_odd(rig: Rig) -> list[dict[str, object]]:
    """The manifest's lines of the odd decision. The other two are as ever."""
    lines = rig.manifest()
    others = [line for line in lines if line["publication"] != ODD]
    assert Counter(line["state"] for line in others) == {"kept": 2}
    return [line for line in lines if line["publication"] == ODD]


# -- XML ---------------------------------------------------------------------------------------------------


async def test_an_entity_bomb_in_the_search_fails_the_day_at_once(rig: Rig) -> None:
    rig.koop.fail("/sru", faults.entity_bomb, times=math.inf)
    (ended,) = await rig.run(FIRST)
    assert ended.state is DayState.FAILED
    assert "entit" in (ended.error or "")
    assert len(rig.koop.requests("/sru")) == 1


async def test_an_entity_bomb_in_a_text_fails_that_publication(rig: Rig) -> None:
    rig.koop.alter(ODD, quirks.entity_bomb)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.publications, ended.failed) == (DayState.PARTIAL, 2, 1)
    (line,) = of_odd(rig)
    assert (line["state"], line["kind"]) == ("failed", None)
    assert "entit" in str(line["note"])


@pytest.mark.parametrize("fault", [faults.html, faults.tag_soup, faults.cut(0.5), faults.wrong_charset])
async def test_a_text_that_is_none_fails_that_publication_until_it_is_one(
    fault: faults.Fault, rig: Rig
) -> None:
    rig.koop.fail(f"{ODD}.xml", fault, times=math.inf)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.publications) == (DayState.PARTIAL, 2)
    assert [line["state"] for line in of_odd(rig)] == ["failed"]
    rig.koop.heal()
    (ended,) = await rig.run(FIRST, retry_failed=True)
    assert ended.state is DayState.COMPLETE
    assert [line["state"] for line in of_odd(rig)] == ["kept"]


async def test_a_gzip_bomb_is_cut_off(rig: Rig) -> None:
    rig.koop.fail(f"{ODD}.xml", faults.gzip_bomb(megabytes=64), times=math.inf)
    tracemalloc.start()
    (ended,) = await rig.run(FIRST, max_bytes=2 * 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ended.state is DayState.PARTIAL
    assert [line["state"] for line in of_odd(rig)] == ["failed"]
    assert peak < 32 * 2**20


@pytest.mark.parametrize(
    "quirk",
    [quirks.repeated_type, quirks.ampersand_in_title, quirks.without_available, quirks.default_namespace,
     quirks.byte_order_mark, quirks.capitals],
    ids=lambda quirk: quirk.__name__,
)  # fmt: skip
async def test_odd_records_and_texts_are_read(quirk: Callable[[Decision], Decision], rig: Rig) -> None:
    rig.koop.alter(ODD, quirk)
    (ended,) = await rig.run(FIRST)
    assert (ended.publications, ended.kept, ended.failed) == (3, 3, 0)
    assert ended.state is DayState.COMPLETE
    (line,) = of_odd(rig)
    assert line["title"] == next(each.title for each in rig.koop.decisions(FIRST) if each.identifier == ODD)


async def test_a_record_without_a_text_is_kept_with_the_reason(seeing: Rig) -> None:
    seeing.koop.alter(ODD, lambda decision: quirks.bare(quirks.pdf_only(decision)))
    (ended,) = await seeing.run(FIRST)
    assert (ended.state, ended.publications) == (DayState.COMPLETE, 3)
    lines = of_odd(seeing)
    assert [(line["kind"], line["page"], line["would_download"]) for line in lines] == [
        ("pdf", 1, False),
        ("pdf", 2, True),
    ]


# -- pictures ----------------------------------------------------------------------------------------------


async def test_a_name_that_climbs_is_not_asked_for(rig: Rig) -> None:
    rig.koop.alter(ODD, quirks.climbing_name)
    (ended,) = await rig.run(FIRST)
    assert ended.publications == 3
    assert rig.koop.requests(r"\.\.") == []
    assert not list(rig.out.parent.rglob("x.png"))
    assert all(not str(line["file"]).startswith(("/", "..")) for line in rig.manifest())


async def test_a_picture_of_60000_pixels_fails_alone(seeing: Rig) -> None:
    seeing.koop.alter(ODD, quirks.huge_picture)
    (ended,) = await seeing.run(FIRST)
    assert (ended.state, ended.kept, ended.failed) == (DayState.PARTIAL, 2, 1)
    (line,) = of_odd(seeing)
    assert (line["state"], line["file"]) == ("failed", None)
    assert "pixels" in str(line["error"])


async def test_broken_missing_and_disguised_pictures(seeing: Rig) -> None:
    seeing.koop.alter(ODD, quirks.truncated_png)
    (ended,) = await seeing.run(FIRST)
    assert (ended.state, ended.failed) == (DayState.PARTIAL, 1)
    assert [line["state"] for line in of_odd(seeing)] == ["failed"]


async def test_a_picture_that_is_gone_is_noted_and_no_failure(rig: Rig) -> None:
    rig.koop.alter(ODD, quirks.missing_picture)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.failed) == (DayState.COMPLETE, 0)
    assert [line["state"] for line in of_odd(rig)] == ["gone"]


async def test_a_png_that_calls_itself_jpg_is_what_it_is(seeing: Rig) -> None:
    seeing.koop.alter(ODD, quirks.png_called_jpg)
    (ended,) = await seeing.run(FIRST)
    assert (ended.state, ended.kept) == (DayState.COMPLETE, 3)
    (line,) = of_odd(seeing)
    assert str(line["file"]).endswith(".png")
    assert line["mime"] == "image/png"


async def test_signs_are_judged_and_let_go(seeing: Rig) -> None:
    seeing.koop.alter(ODD, quirks.illustrated("sign", "aerial", size=(120, 120)))
    (ended,) = await seeing.run(FIRST)
    assert (ended.images, ended.kept) == (4, 3)
    assert [(line["label"], line["state"]) for line in of_odd(seeing)] == [
        ("miscellaneous", "rejected"),
        ("aerial_satellite", "kept"),
    ]
    assert len(seeing.blobs()) == 3


# -- attachments -------------------------------------------------------------------------------------------


async def test_an_attachment_that_leads_to_itself_fails_at_once(rig: Rig) -> None:
    rig.koop.alter(ODD, only_attached(quirks.attached(pdf.pdf("map"))))
    rig.koop.fail("/bijlage/", faults.redirect_to_itself, times=math.inf)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.failed) == (DayState.PARTIAL, 1)
    assert len(rig.koop.requests("/bijlage/")) == 1
    assert "redirect" in str(of_odd(rig)[0]["error"])


async def test_a_redirect_to_another_host_is_not_followed(rig: Rig, koop_server: Start) -> None:
    elsewhere = koop_server()
    rig.koop.alter(ODD, only_attached(quirks.attached(pdf.pdf("map"))))
    rig.koop.fail("/bijlage/", faults.redirect_to(f"{elsewhere.reader_url}/x.pdf"), times=math.inf)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.failed) == (DayState.PARTIAL, 1)
    assert elsewhere.log == []


@pytest.mark.parametrize("quirk", [quirks.old_label, quirks.capital_suffix, quirks.pipe_in_filename])
async def test_attachments_of_every_age_are_found(quirk: Callable[[Decision], Decision], seeing: Rig) -> None:
    seeing.koop.alter(ODD, only_attached(quirk))
    (ended,) = await seeing.run(FIRST)
    assert (ended.state, ended.kept) == (DayState.COMPLETE, 3)
    (line,) = of_odd(seeing)
    assert (line["kind"], line["label"], line["width"]) == ("exb", "maps", 1240)
    if quirk is quirks.pipe_in_filename:
        assert line["name"] == "advies|politie.PDF"


async def test_both_attachments_are_looked_at_and_every_page(seeing: Rig) -> None:
    seeing.koop.alter(ODD, only_attached(quirks.two_attachments))
    seeing.koop.alter("gmb-2024-1550002", only_attached(quirks.map_on_page_two))
    await seeing.run(FIRST)
    found = [
        (line["publication"][-1], line["page"], line["would_download"])
        for line in seeing.manifest()
        if line["kind"] == "exb"
    ]
    assert found == [("1", 1, True), ("1", 1, False), ("2", 1, False), ("2", 2, True), ("2", 3, False)]


async def test_a_pdf_of_2000_pages_is_looked_at_as_far_as_allowed(seeing: Rig) -> None:
    seeing.koop.alter(ODD, only_attached(quirks.attached(pdf.many_pages(2000))))
    (ended,) = await seeing.run(FIRST)
    assert ended.state is DayState.COMPLETE
    lines = of_odd(seeing)
    assert [line["page"] for line in lines] == [1, 2, 3, 4]
    assert all("4 of 2000 pages" in str(line["error"]) for line in lines)


async def test_what_is_no_picture_and_no_pdf_is_passed_over(seeing: Rig) -> None:
    seeing.koop.alter(ODD, only_attached(quirks.not_a_pdf))
    (ended,) = await seeing.run(FIRST)
    assert (ended.state, ended.failed) == (DayState.COMPLETE, 0)
    assert [line["state"] for line in of_odd(seeing)] == ["skipped"]


async def test_a_pdf_that_is_broken_fails_alone(seeing: Rig) -> None:
    seeing.koop.alter(ODD, only_attached(quirks.attached(pdf.pdf("map")[:400])))
    (ended,) = await seeing.run(FIRST)
    assert (ended.state, ended.failed) == (DayState.PARTIAL, 1)
    assert [line["state"] for line in of_odd(seeing)] == ["failed"]


@pytest.mark.parametrize(
    ("quirk", "state"), [(quirks.listing_missing, "gone"), (quirks.listing_broken, "failed")]
)
async def test_listings_that_are_missing_or_broken(
    quirk: Callable[[Decision], Decision], state: str, rig: Rig
) -> None:
    rig.koop.alter(ODD, only_attached(quirk))
    (ended,) = await rig.run(FIRST)
    assert ended.state is (DayState.COMPLETE if state == "gone" else DayState.PARTIAL)
    assert [line["state"] for line in of_odd(rig)] == [state]


# -- the disk ----------------------------------------------------------------------------------------------


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """The kernel lets no file grow beyond this. Python ignores the signal that comes with it."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture
def many(koop_server: Start, tmp_path: Path) -> Rig:
    """Three days with nine decisions, and the same servers' for comparison."""
    return Rig(koop_server(decisions_per_day=3), tmp_path / "out")


LAST = FIRST + timedelta(days=2)


async def uninterrupted(rig: Rig) -> tuple[bytes, set[str]]:
    """Manifest and files of a run in a folder beside, with which nothing happened."""
    other = Rig(rig.koop, rig.out.with_name("uninterrupted"))
    await other.run(FIRST, LAST)
    return other.manifest_bytes(), other.blobs()


@pytest.mark.parametrize("files", [1, 2, 5, 8])
async def test_a_full_disk_ends_the_run_and_harms_nothing(
    files: int, many: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await uninterrupted(many)
    left, fsync = files, os.fsync

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunEnded, match="No space left"):
            await many.run(FIRST, LAST)
    assert set(many.states()) <= {"searching", "documents", "complete"}
    await many.run(FIRST, LAST)
    assert (many.manifest_bytes(), many.blobs()) == expected


@pytest.mark.parametrize("kilobytes", [40, 110, 200])
async def test_a_file_that_may_not_grow_is_no_different(kilobytes: int, many: Rig) -> None:
    expected, _ = await uninterrupted(many)
    await many.run(date(2020, 1, 1), keep=Keep.NONE)  # so that the state is there
    with files_up_to(kilobytes * 1024), pytest.raises(RunEnded, match="cannot be written any more"):
        await many.run(FIRST, FIRST + timedelta(days=200))
    await many.run(FIRST, LAST)
    days = {str(FIRST + timedelta(days=number)) for number in range(3)}
    lines = [line for line in many.manifest() if line["day"] in days]
    assert lines == [json.loads(line) for line in expected.splitlines()]


async def test_two_downloads_into_one_folder(many: Rig) -> None:
    with occupied(many.out), pytest.raises(InvalidRequest, match="in use by another download"):
        await many.run(FIRST)
    assert many.koop.log == []
    await many.run(FIRST)


async def test_a_folder_that_is_a_file(many: Rig) -> None:
    many.out.write_text("mine")
    with pytest.raises(InvalidRequest, match="cannot be written"):
        await many.run(FIRST)
    assert many.out.read_text() == "mine"


async def test_a_state_that_is_none_is_left_alone(many: Rig) -> None:
    many.out.mkdir()
    (many.out / "koop.sqlite").write_bytes(b"my own notes, and more than a page of them" * 100)
    with pytest.raises(InvalidRequest, match="not the state of a download"):
        await many.run(FIRST)
    assert (many.out / "koop.sqlite").read_bytes().startswith(b"my own notes")
