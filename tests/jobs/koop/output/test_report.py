"""The contact sheet: every picture that was kept, and nothing from outside."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from koopserver.pictures import picture
from PIL import Image
from stored import MONDAY, ended_day, record, sha256_of

from sightline.imaging.limits import ImageLimits
from sightline.jobs.koop.output.report import write_report
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.files import KeptFile, KeptFiles
from sightline.jobs.koop.store.state import State

LIMITS = ImageLimits(25 * 2**20, 50_000_000, 30_000)
MARCH = dt.date(2024, 3, 1)


class Links(HTMLParser):
    """What a page leads to and shows."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name == "href":
                self.hrefs.append(value or "")
            if name == "src":
                self.sources.append(value or "")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "koop.sqlite") as opened:
        yield opened


def keep(state: State, folder: Path, date: dt.date, publication: str, name: str, data: bytes) -> None:
    """One kept picture of a day."""
    ended_day(state, date, {publication: [name]})
    (folder / "blobs").mkdir(exist_ok=True)
    (folder / "blobs" / name).write_bytes(data)
    KeptFiles(state).replace(sha256_of(name), [KeptFile(0, f"blobs/{name}", len(data), 600, 400)])


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_picture_has_its_words_with_it(state: State, tmp_path: Path) -> None:
    keep(state, tmp_path, MONDAY, "a", "1.png", picture("map", 1, "png", (600, 400)))
    write_report(tmp_path, state, LIMITS)
    page = (tmp_path / "report" / "2024-01.html").read_text("utf-8")
    assert all(f"<br>{words}\n" in page for words in ("Kaart", "Locatie", "Kaart van de wijk"))


def test_nothing_of_an_earlier_report_stays(state: State, tmp_path: Path) -> None:
    keep(state, tmp_path, MONDAY, "a", "1.png", picture("map", 1, "png", (600, 400)))
    keep(state, tmp_path, MARCH, "b", "2.jpg", picture("aerial", 1, "jpg", (100, 300)))
    write_report(tmp_path, state, LIMITS)
    report = tmp_path / "report"
    assert len(list(report.rglob("*.png"))) == 2
    KeptFiles(state).replace(sha256_of("1.png"), [])  # let go
    write_report(tmp_path, state, LIMITS)
    assert sorted(each.name for each in report.glob("*.html")) == ["2024-03.html", "index.html"]
    (thumbnail,) = report.rglob("*.png")
    assert str(thumbnail.relative_to(report)) in Links(report / "2024-03.html").sources
    write_report(tmp_path, state, LIMITS, MONDAY, MONDAY)  # another range: its copy is still of use
    assert [each.name for each in report.glob("*.html")] == ["index.html"]
    assert thumbnail.is_file()


def test_pictures_are_shown_by_month_and_day(state: State, tmp_path: Path) -> None:
    keep(state, tmp_path, MONDAY, "a", "1.png", picture("map", 1, "png", (600, 400)))
    keep(state, tmp_path, MARCH, "b", "2.jpg", picture("aerial", 1, "jpg", (100, 300)))
    ended_day(state, MARCH + dt.timedelta(days=1), {"c": ["3.png"]}, wanted=False)
    written = write_report(tmp_path, state, LIMITS)
    assert (written.pictures, written.days) == (2, 2)
    report = tmp_path / "report"
    assert written.index == report / "index.html"
    assert Links(written.index).hrefs == ["2024-01.html", "2024-03.html"]
    page = Links(report / "2024-01.html")
    assert page.hrefs == ["index.html", "../blobs/1.png", "https://reader.example/a.html"]
    (thumbnail,) = page.sources
    assert size_of(report / thumbnail) == (240, 160)
    assert (report / page.hrefs[1]).resolve().is_file()
    assert size_of(report / Links(report / "2024-03.html").sources[0]) == (80, 240)
    text = (report / "2024-01.html").read_text("utf-8")
    assert "maps 75 %" in text
    assert "Kaart" in text


def test_nothing_comes_from_outside_and_nothing_runs(state: State, tmp_path: Path) -> None:
    keep(state, tmp_path, MONDAY, "a", "1.png", picture("map", 1, "png", (600, 400)))
    write_report(tmp_path, state, LIMITS)
    for path in (tmp_path / "report").glob("*.html"):
        page = Links(path)
        assert not page.tags & {"script", "link", "iframe", "object"}
        assert not [each for each in page.sources if re.match(r"\w+:|//", each)]
        assert "default-src 'none'" in path.read_text("utf-8")


def test_words_of_the_archive_are_words(state: State, tmp_path: Path) -> None:
    keep(state, tmp_path, MONDAY, "a", "1.png", picture("map", 1, "png", (600, 400)))
    nasty = record("a", title="<script>alert(1)</script>", page_url="javascript:alert(1)", sha256="x")
    Documents(state).add(MONDAY, [nasty])
    write_report(tmp_path, state, LIMITS)
    text = (tmp_path / "report" / "2024-01.html").read_text("utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "javascript:" not in text


@pytest.mark.parametrize("data", [b"%PDF-1.7", picture("map", 1, "png", (600, 400))[:200], None])
def test_what_cannot_be_shown_is_named(data: bytes | None, state: State, tmp_path: Path) -> None:
    keep(state, tmp_path, MONDAY, "a", "1.pdf", data or b"")
    if data is None:
        (tmp_path / "blobs" / "1.pdf").unlink()
    assert write_report(tmp_path, state, LIMITS).pictures == 1
    page = Links(tmp_path / "report" / "2024-01.html")
    assert page.sources == []
    assert "../blobs/1.pdf" in page.hrefs


def test_a_range_may_be_chosen_and_thumbnails_are_made_once(state: State, tmp_path: Path) -> None:
    keep(state, tmp_path, MONDAY, "a", "1.png", picture("map", 1, "png", (600, 400)))
    keep(state, tmp_path, MARCH, "b", "2.png", picture("map", 2, "png", (600, 400)))
    assert write_report(tmp_path, state, LIMITS, MARCH, MARCH).pictures == 1
    (first,) = (tmp_path / "report" / "thumbnails").rglob("*.png")
    made = first.stat().st_mtime_ns
    assert write_report(tmp_path, state, LIMITS).pictures == 2
    assert first.stat().st_mtime_ns == made
    assert len(list((tmp_path / "report" / "thumbnails").rglob("*"))) >= 2


def test_of_nothing_there_is_a_page_that_says_so(state: State, tmp_path: Path) -> None:
    assert write_report(tmp_path, state, LIMITS).pictures == 0
    assert "Nothing was kept" in (tmp_path / "report" / "index.html").read_text("utf-8")
