"""What commands that look at photos in this process have in common."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from sightline.cli.console import printable, stderr
from sightline.cli.problems import FAILED, debugging

if TYPE_CHECKING:
    from sightline.cli.looking import Complaints

# For queues: the process bounds its own work by the photos under way; it must not be refused on top of that.
UNBOUNDED = 1_000_000


def exit_with(complaints: Complaints) -> None:
    """Say what went wrong, if anything did, and exit with 1."""
    lines = list(complaints.lines())
    for line in lines:
        stderr().print(printable(line), style="red", markup=False, soft_wrap=True)
    if lines:
        raise typer.Exit(FAILED)


@contextmanager
def quiet_log() -> Iterator[None]:
    """The answers say what the log would; only ``debug`` adds to that."""
    log = logging.getLogger("sightline")
    before = log.level
    if debugging():
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    else:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def leave_on_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process at once: threads that read, download or compute cannot be interrupted, and
    the store survives being killed at any time."""

    def leave(signum: int, frame: object) -> None:
        stderr().show_cursor(True)
        os._exit(130)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
