"""A contact sheet of what was kept: ``report/index.html`` and a page per month, with nothing from outside."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from sightline.errors import ImageError
from sightline.imaging import ImageLimits, encode_png, open_picture, resize
from sightline.jobs.captioning import write_whole
from sightline.jobs.koop.output.manifest import rows
from sightline.jobs.koop.store.blobs import FOLDER as BLOBS
from sightline.jobs.koop.store.files import KeptFiles
from sightline.jobs.koop.store.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.store.state import State

FOLDER = "report"
_INDEX = "index.html"
_THUMBNAILS = "thumbnails"
# Longer side in pixels: six beside each other on a usual screen.
_THUMBNAIL_SIDE = 240


@dataclass(frozen=True, slots=True)
class Written:
    """What a report shows, and where it begins."""

    index: Path
    pictures: int
    days: int


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture on a page. ``file`` and ``thumbnail`` are relative to it; ``link`` leads to the archive."""

    title: str
    publication: str
    link: str | None
    file: str
    thumbnail: str | None
    name: str
    page: int | None
    captions: tuple[str, ...]
    label: str | None
    confidence: float | None
    text: str | None


def write_report(
    folder: Path,
    state: State,
    limits: ImageLimits,
    first: dt.date = dt.date.min,
    last: dt.date = dt.date.max,
) -> Written:
    """Write the pages for a range of days, both ends included, into ``folder``, which the state belongs to.
    Pages of an earlier report, and copies of pictures that were let go since, do not stay.

    Raises:
        RunEnded: the disk is full.
        OSError: a page cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("sightline.jobs.koop.output"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    report = folder / FOLDER
    months: list[dict[str, Any]] = []
    with disk_trouble_ends_the_run(folder):
        report.mkdir(exist_ok=True)
        for month, days in _months(state, folder, limits, first, last):
            page = environment.get_template("month.html").render(month=month, days=days)
            write_whole(report / f"{month}.html", page)
            pictures = sum(len(shown) for _, shown in days)
            months.append({"name": month, "page": f"{month}.html", "days": len(days), "pictures": pictures})
        index = environment.get_template("index.html").render(months=months, days=state.count_days())
        write_whole(report / _INDEX, index)
        _clear(report, state, {each["name"] for each in months})
    return Written(
        report / _INDEX, sum(each["pictures"] for each in months), sum(each["days"] for each in months)
    )


def _months(
    state: State, folder: Path, limits: ImageLimits, first: dt.date, last: dt.date
) -> Iterator[tuple[str, list[tuple[str, list[Shown]]]]]:
    """Each month that has pictures, with those of its days."""
    kept = (row for row in rows(state, first, last) if row["file"] is not None)
    for month, of_month in groupby(kept, key=lambda row: str(row["day"])[:7]):
        days = groupby(of_month, key=lambda row: str(row["day"]))
        yield month, [(day, [_shown(row, folder, limits) for row in of_day]) for day, of_day in days]


def _shown(row: dict[str, Any], folder: Path, limits: ImageLimits) -> Shown:
    link = row["page_url"] or ""
    return Shown(
        title=row["title"],
        publication=row["publication"],
        link=link if link.startswith(("https://", "http://")) else None,  # never a script
        file=f"../{row['file']}",
        thumbnail=_thumbnail(folder, row["file"], limits),
        name=row["name"],
        page=row["page"] or None,
        captions=tuple(dict.fromkeys(filter(None, (row["caption_before"], row["caption"], row["alt"])))),
        label=row["label"],
        confidence=row["confidence"],
        text=row["text"],
    )


def _thumbnail(folder: Path, file: str, limits: ImageLimits) -> str | None:
    """A small copy of a picture, made if it is not there yet; None of a file that is no good picture."""
    name = str(PurePosixPath(_THUMBNAILS, f"{PurePosixPath(file).relative_to(BLOBS)}.png"))
    path = folder / FOLDER / name
    if not path.exists():
        try:
            picture = open_picture((folder / file).read_bytes(), limits)
            scale = min(1.0, _THUMBNAIL_SIDE / max(picture.width, picture.height))
            width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
            pixels = resize(picture.reduced(min(width, height)), width, height)
        except (ImageError, OSError):
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_bytes(encode_png(pixels))
        temporary.replace(path)
    return name


def _clear(report: Path, state: State, months: set[str]) -> None:
    """Remove pages of other months, and small copies of pictures that are not kept any more."""
    for page in report.glob("????-??.html"):
        if page.stem not in months:
            page.unlink()
    kept, thumbnails = KeptFiles(state), report / _THUMBNAILS
    for path in thumbnails.rglob("*.png"):
        if not kept.names(str(PurePosixPath(BLOBS, path.relative_to(thumbnails).with_suffix("")))):
            path.unlink()
