"""How ``sightline analyze`` writes what it saw: as tables, as lines of JSON, as files with crops."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from sightline.cli.console import printable, stdout, table
from sightline.cli.words import answer_in_words
from sightline.errors import ImageError
from sightline.runtime.analyzer import Outcome, Status
from sightline.runtime.report import error_report, picture_report
from sightline.types import ModelRef, Provenance

if TYPE_CHECKING:
    from sightline.jobs.looking import Seen
    from sightline.jobs.photo_report import PhotoReport

_STYLES = {Status.OK: "green", Status.SKIPPED: "yellow", Status.ERROR: "bold red"}


class JsonLines:
    """One line per photo: ``source`` and the image's entry of ``/v1/analyze``."""

    def show(self, seen: Seen) -> None:
        line = {"source": seen.source, **picture_report(seen.picture, seen.outcomes)}
        if seen.error is not None:
            line["error"] = error_report(seen.error)
        print(json.dumps(line), flush=True)  # noqa: T201 - rich would wrap and colour it


class Tables:
    """A table per photo, one row per task."""

    def show(self, seen: Seen) -> None:
        console = stdout()
        title = Text(printable(seen.source or "no photo"), style="bold")
        if seen.picture is not None:
            facts = seen.picture.facts
            title.append(f"  {facts.format} {facts.width}×{facts.height}", style="dim")
        if seen.error is not None:
            title.append(f"\n  {printable(str(seen.error))}\n", style="red")
        console.print(title, soft_wrap=True)
        if seen.error is not None:
            return
        rows = table(("Task", "Status", "Answer", "Model", "ms"), numbers=("ms",))
        for outcome in seen.outcomes:
            rows.add_row(
                printable(outcome.id),
                Text(outcome.status.value, style=_STYLES[outcome.status]),
                _answer(outcome),
                _model(outcome.answer.model if outcome.answer else None),
                _time(outcome),
            )
        console.print(rows)


class OutputFolder:
    """Files named after photos. A name that is taken gets a number."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._written: set[str] = set()

    def _path(self, source: str, ending: str, suffix: str) -> Path:
        # The end of a URL may hold anything.
        stem = re.sub(r"[^\w.-]+", "_", Path(source).stem).strip("._-")[:100] or "photo"
        name, number = f"{stem}-{ending}{suffix}", 1
        while name in self._written:
            number += 1
            name = f"{stem}-{ending}-{number}{suffix}"
        self._written.add(name)
        return self._folder / name


class CropFolder(OutputFolder):
    """The regions that answers are about, as PNG files named after photo and task."""

    def write(self, seen: Seen) -> None:
        for outcome in seen.outcomes:
            if outcome.crop_png is not None:
                self._path(seen.source or "", outcome.id, ".png").write_bytes(outcome.crop_png)


class DrawingFolder(OutputFolder):
    """Photos with their answers drawn over them, as JPEG files. A photo that did not open has none."""

    def write(self, seen: Seen) -> None:
        from sightline.jobs.annotating import annotated

        if seen.picture is None:
            return
        try:
            drawn = annotated(seen.picture, seen.outcomes)
        except ImageError:  # the answers say so as well
            return
        self._path(seen.source or "", "annotated", ".jpg").write_bytes(drawn)


class ReportFile:
    """An HTML page about the whole run; see ``jobs.photo_report``."""

    def __init__(self, report: PhotoReport) -> None:
        self._report = report

    def write(self, seen: Seen) -> None:
        self._report.add(seen, {outcome.id: _answer(outcome).plain for outcome in seen.outcomes})


def _answer(outcome: Outcome) -> Text:
    if outcome.error is not None:
        return Text(printable(str(outcome.error)))
    text = Text(answer_in_words(outcome.answer.data if outcome.answer else None, outcome.operation))
    for warning in outcome.trace.warnings:
        text.append(f"\n{printable(warning)}", style="yellow")
    return text


def _model(model: ModelRef | None) -> Text:
    if model is None:
        return Text("–", style="dim")
    text = Text(f"{model.name}\n{model.fingerprint}")
    if model.provenance is Provenance.RANDOM:
        text.append("\nrandom weights", style="bold red")
    return text


def _time(outcome: Outcome) -> str:
    load_ms = outcome.trace.load_ms
    return f"{outcome.total_ms:.0f}" + (f"\n(loading {load_ms:.0f})" if load_ms >= 1 else "")
