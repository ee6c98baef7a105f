"""Where and how things are printed: answers to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

# Rich takes 80 columns where there is no terminal, which breaks fingerprints and commands in files and pipes.
_PIPED_WIDTH = 160


def stdout() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def stderr() -> Console:
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _PIPED_WIDTH)


def table(columns: Iterable[str], *, numbers: Iterable[str] = ()) -> Table:
    """An empty table. Columns named in ``numbers`` are set flush right."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def printable(text: str) -> str:
    """``text`` without what could steer a terminal: file names and captions come from strangers."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.2f} GB"
