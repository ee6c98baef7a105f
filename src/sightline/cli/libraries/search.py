"""``sightline search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.console import printable, stderr, stdout
from sightline.cli.libraries.options import DEFAULT_NAME, Name, as_json, shelf_of
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.cli.problems import quiet_log
from sightline.cli.session import leave_on_interrupt
from sightline.errors import InvalidRequest

if TYPE_CHECKING:
    from sightline.jobs.libraries.searching import Found
    from sightline.libraries import Library
    from sightline.settings import Settings

_TIMEOUT_S = 600.0


def search(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", show_default="none", help="What the photos show, in words.")
    ] = "",
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="PHOTO", show_default="none", help="A photo they are like: a file or a URL."),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", show_default="none", help="What they do not show."),
    ] = None,
    library: Name = DEFAULT_NAME,
    near: Annotated[
        str | None,
        typer.Option(metavar="LAT,LON,KM", show_default="anywhere", help="In this circle: 52.1,5.1,20km."),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="DATE", show_default="any", help="Taken on this day or later.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", show_default="any", help="Taken before this day.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            show_default="any",
            help='On stored facts and answers: [cyan]species = "Vulpes vulpes" and width > 1000[/].',
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", show_default="all", help="In this folder or below.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Most photos.")] = 20,
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=1, show_default="0.15", help="Leave out photos that match less clearly."),
    ] = None,
    copies: Annotated[bool, typer.Option("--copies", help="Show equal files each on its own.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", dir_okay=False, show_default="none", help="Write a page with small copies."
        ),
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="Print a line of JSON per photo.")] = False,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Find photos of a library by words, by example, by place, date and stored answers.

    A score says how clearly a photo stands out of the library for this query: 0.5 and more is a good match.
    Without words and examples, all photos that pass the filters come, the newest first.

    [bold]Examples[/]

      [cyan]sightline search "red bicycle in snow"[/]
      [cyan]sightline search --like photo.jpg --minus people[/]
      [cyan]sightline search beach --near 52.1,4.3,20km --after 2021 --report beach.html[/]
    """
    import asyncio

    from sightline.libraries import Filter
    from sightline.libraries.filters import read_date, read_near

    settings = settings_from(models_dir=models_dir, offline=offline)
    wanted = Filter(
        after=read_date("after", after) if after else None,
        before=read_date("before", before) if before else None,
        near=read_near(near) if near else None,
        folder=str(folder.resolve()) if folder else None,
        where=where,
    )
    asked: dict[str, Any] = {"text": text, "minus": minus or [], "wanted": wanted}
    asked |= {"most": limit, "with_copies": copies}
    if min_score is not None:
        asked["min_score"] = min_score
    with quiet_log(), leave_on_interrupt(), shelf_of(settings).open(library) as opened:
        found = asyncio.run(_run(settings, opened, like or [], asked))
        if report:
            _write_report(report, found, settings)
    if found.model is not None and found.model.warning:
        stderr().print(f"warning: {found.model.warning}", style="yellow", markup=False)
    if json_lines:
        for hit in found.hits:
            as_json(hit.facts())
    else:
        _show(found, library)


async def _run(settings: Settings, library: Library, like: list[str], asked: dict[str, Any]) -> Found:
    from sightline.jobs.libraries.searching import Query, Searcher
    from sightline.jobs.looking import look, unrefused
    from sightline.runtime.analyzer import Analyzer
    from sightline.runtime.engine import Context

    async with Analyzer.create(unrefused(settings)) as analyzer:
        pictures = []
        for source in like:
            seen = await look(analyzer, source, [], _TIMEOUT_S)
            if seen.picture is None:
                raise seen.error or InvalidRequest(f"{source}: it cannot be read")
            pictures.append(seen.picture)
        searcher = Searcher(analyzer, library)
        return await searcher.search(Query(like=pictures, **asked), Context.lasting(_TIMEOUT_S))


def _show(found: Found, library: str) -> None:
    if not found.hits:
        searched = f"none of {found.searched:,} photos matches clearly" if found.searched else "no photos"
        stderr().print(f"{library}: {searched}", markup=False)
        return
    for hit in found.hits:
        item = hit.item
        score = "    " if hit.score is None else f"{hit.score:.2f}"
        about = [item.taken_at[:10] if item.taken_at else None, item.place]
        about += [f"{len(hit.copies)} copies"] if hit.copies else []
        line = "  ".join([score, item.path, *(each for each in about if each)])
        stdout().print(printable(line), markup=False, soft_wrap=True, highlight=False)


def _write_report(path: Path, found: Found, settings: Settings) -> None:
    from sightline.errors import SightlineError
    from sightline.imaging import ImageLimits, open_picture
    from sightline.jobs.looking import Seen, read_image
    from sightline.jobs.photo_report import PhotoReport

    limits = ImageLimits.from_settings(settings)
    with PhotoReport(path, ["score", "taken", "place"]) as report:
        for hit in found.hits:
            item = hit.item
            score = "" if hit.score is None else f"{hit.score:.2f}"
            answers = {"score": score, "taken": item.taken_at or "", "place": item.place or ""}
            try:
                seen = Seen(item.path, open_picture(read_image(item.path, limits.max_bytes), limits))
            except SightlineError as error:
                seen = Seen(item.path, error=error)
            report.add(seen, answers)
