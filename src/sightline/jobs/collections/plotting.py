"""Precision and recall of a collection's versions, drawn. matplotlib is imported when it is needed."""

from __future__ import annotations

import io
from typing import Any

from sightline.errors import UnknownCollection
from sightline.jobs.collections.extras import required

SIZE_INCHES = (9.0, 5.0)
DOTS_PER_INCH = 120
_LINES = {"precision": "o", "recall": "s", "macro_precision": "^"}


def precision_recall_png(report: dict[str, Any]) -> bytes:
    """A PNG file of ``reports.collection_report``: one place per version, the oldest left.

    Versions of the last comparison are drawn by their scores in it, on the same examples, and joined by
    lines; others, hollow, by those of their own training. The version that serves is marked.

    Raises:
        ExtraMissing: matplotlib is not installed.
        UnknownCollection: no version of it has scores.
    """
    figure_module = required("matplotlib.figure", "matplotlib")
    backend = required("matplotlib.backends.backend_agg", "matplotlib")
    versions = [each for each in reversed(report["versions"]) if _scores(each)]
    if not versions:
        raise UnknownCollection(report["collection"])
    # Without pyplot there is no state that threads would share.
    figure = figure_module.Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    canvas = backend.FigureCanvasAgg(figure)
    axes = figure.subplots()
    for measure, marker in _LINES.items():
        _draw(axes, versions, measure, marker)
    _label(axes, report["collection"], versions)
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _scores(version: dict[str, Any]) -> dict[str, float] | None:
    found: dict[str, float] | None = version["newest_held_out"] or version.get("held_out")
    return found


def _draw(axes: Any, versions: list[dict[str, Any]], measure: str, marker: str) -> None:
    compared = [number for number, each in enumerate(versions) if each["newest_held_out"]]
    alone = [number for number, each in enumerate(versions) if not each["newest_held_out"]]
    heights = [(_scores(each) or {})[measure] for each in versions]
    name = measure.replace("_", " ")
    (line,) = axes.plot(compared, [heights[number] for number in compared], marker=marker, label=name)
    axes.plot(
        alone,
        [heights[number] for number in alone],
        marker=marker,
        linestyle="none",
        fillstyle="none",
        color=line.get_color(),
    )


def _label(axes: Any, collection: str, versions: list[dict[str, Any]]) -> None:
    for number, each in enumerate(versions):
        if each["serving"]:
            axes.axvline(number, color="0.6", linestyle=":", label="serving")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(-0.5, len(versions) - 0.5)
    axes.set_xticks(range(len(versions)), [each["version"] for each in versions], rotation=40, ha="right")
    # Names of collections are people's own; a dollar sign would begin a formula.
    axes.set_title(f"Collection {collection}: held-out scores by version", parse_math=False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower left")
