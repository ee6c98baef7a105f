"""Options of ``sightline koop download``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

First = Annotated[
    str | None,
    typer.Option("--from", metavar="DATE", show_default=False, help="First day, such as 2024-01-15."),
]
Last = Annotated[
    str | None, typer.Option("--to", metavar="DATE", show_default=False, help="Last day, included.")
]

# -- what stays --------------------------------------------------------------------------------------------

Keep = Annotated[
    Literal["would-download", "all", "none"],
    typer.Option(help="Files that stay: maps and aerial images, all, or none (only verdicts)."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Classifier images; keep no more files and write no manifest.")
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune",
        help="Let another --keep, --label-set or --look-dpi, or fewer --max-pages, remove kept files.",
    ),
]

# -- what is done again ------------------------------------------------------------------------------------

RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Work again on days that failed; without dates, on all of them."),
]
JudgeAgain = Annotated[
    bool,
    typer.Option(
        "--judge-again",
        help="Fetch again what was let go and was judged by another model, or at other --look-dpi or limits.",
    ),
]

# -- which days and decisions ------------------------------------------------------------------------------

DateField = Annotated[
    Literal["available", "modified"],
    typer.Option(help="Whether a day is that of publication or that of the record's last change."),
]
Order = Annotated[Literal["oldest", "newest"], typer.Option(help="Which days come first.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="WORD", show_default=False, help="Leave out decisions with this in a title."),
]
ExcludeType = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORDS", show_default=False, help="Leave out types of decision with all these words."
    ),
]

# -- which pictures ----------------------------------------------------------------------------------------

Attachments = Annotated[
    bool, typer.Option("--attachments/--no-attachments", help="Look at external attachments too.")
]
Logos = Annotated[bool, typer.Option("--logos", help="Fetch logos and heading pictures too.")]
MinWidth = Annotated[
    float, typer.Option(min=0, metavar="MM", help="Fetch no illustration printed narrower than this.")
]
MaxPages = Annotated[int, typer.Option(min=1, max=10_000, help="Pages looked at of one PDF.")]
LookDpi = Annotated[float, typer.Option(min=10, max=600, help="At which pages are judged.")]
Dpi = Annotated[float, typer.Option(min=10, max=1200, help="At which pages that stay are drawn.")]
LabelSet = Annotated[str, typer.Option(metavar="NAME", help="Label set that pictures are told apart by.")]

# -- the rest ----------------------------------------------------------------------------------------------

Parquet = Annotated[bool, typer.Option("--parquet", help="Write the manifest as Parquet too; needs pyarrow.")]
Contact = Annotated[
    str | None,
    typer.Option(metavar="URL", show_default="SIGHTLINE_KOOP_CONTACT", help="Where the archive finds you."),
]
Patience = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        metavar="MINUTES",
        show_default="SIGHTLINE_KOOP_PATIENCE_S or 30",
        help="How long a host that gives no answer is waited for.",
    ),
]
