"""What commands that look at photos in this process have in common."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from sightline.cli.console import printable, stderr
from sightline.cli.problems import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from sightline.jobs.looking import Complaints


def exit_with(complaints: Complaints) -> None:
    """Say what went wrong, if anything did, and exit with 1."""
    lines = list(complaints.lines())
    for line in lines:
        stderr().print(printable(line), style="red", markup=False, soft_wrap=True)
    if lines:
        raise typer.Exit(FAILED)


@contextmanager
def leave_on_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process at once: threads that read, download or compute cannot be interrupted, and
    the store survives being killed at any time."""

    def leave(signum: int, frame: object) -> None:
        stderr().show_cursor(True)
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
