"""Versions and scores as rows of tables. "Macro" and "Average" are macro and average precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sightline.cli.console import printable, stderr, table

if TYPE_CHECKING:
    from sightline.jobs.collections.runs import Ended

SCORES = ("Precision", "Recall", "Macro", "Average", "Held out")
_NUMBERS = (*SCORES, "Threshold", "Examples")


def versions_table(*columns: str) -> Table:
    return table(columns, numbers=_NUMBERS)


def scores_cells(scores: Mapping[str, Any] | None) -> list[str]:
    """Cells for the columns of ``SCORES``."""
    if not scores:
        return ["–"] * len(SCORES)
    shares = [scores[name] for name in ("precision", "recall", "macro_precision", "average_precision")]
    return [f"{share:.3f}" for share in shares] + [f"{scores['positives']}/{scores['examples']}"]


def served_text(version: str, *, serving: bool) -> Text:
    return Text(version, style="bold green") if serving else Text(version)


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """Which embeddings of which part."""
    spaces = " + ".join(space["name"] for space in recipe["spaces"])
    return f"{spaces}, {recipe['target'].replace('_', ' ')}"


def complain(line: str, style: str = "red") -> None:
    stderr().print(printable(line), style=style, markup=False, soft_wrap=True)


def tell_source(ended: Ended[Any]) -> None:
    """Which pictures taught nothing, and what a reader must know."""
    if ended.source is None:
        return
    for warning in ended.source.warnings:
        complain(f"warning: collection {ended.collection}: {warning}", "yellow")
    for skipped in ended.source.skipped:
        complain(f"skipped: {skipped.name}: {skipped.reason}", "yellow")


def tell_failures(failures: Iterable[Ended[Any]]) -> bool:
    """A line for each collection that failed. Whether there were any."""
    failed = False
    for ended in failures:
        failed = True
        title = f" ({ended.title})" if ended.title else ""
        complain(f"collection {ended.collection}{title}: {ended.error}")
    return failed


def write_plot(report: dict[str, Any], path: Path) -> None:
    """Raises ExtraMissing without matplotlib, UnknownCollection without scores, OSError."""
    from sightline.jobs.collections.plotting import precision_recall_png

    path.write_bytes(precision_recall_png(report))
    stderr().print(f"plot: {escape(str(path))}", soft_wrap=True)
