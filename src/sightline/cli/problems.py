"""Errors as one line on stderr and an exit code."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from sightline.cli.console import stderr
from sightline.errors import ConfigurationError, InputError, SightlineError

FAILED = 1
MISTAKEN = 2
INTERRUPTED = 130


class Commands(TyperGroup):
    """A group whose commands end in one clear line, whatever goes wrong in them.

    The traceback is printed too when the log level is ``debug``.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, EOFError, BrokenPipeError):
            raise  # typer knows how to end for these
        except SightlineError as error:
            mistaken = isinstance(error, InputError | ConfigurationError)
            raise _ended(str(error), MISTAKEN if mistaken else FAILED) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise _ended(f"{where}{error.strerror or error}", FAILED) from error
        except Exception as error:
            if hasattr(error, "exit_code"):  # a mistake in the call, which typer explains with the usage
                raise
            message = f"internal error: {type(error).__name__}: {error}"
            hint = "" if debugging() else " (SIGHTLINE_LOG_LEVEL=debug shows where)"
            raise _ended(message + hint, FAILED) from error


def say(message: str) -> None:
    """One line about what went wrong."""
    stderr().print("[bold red]error:[/] ", end="")
    stderr().print(message, markup=False, soft_wrap=True)


def debugging() -> bool:
    """Whether the settings ask for everything there is to know. False where they cannot even be read."""
    from sightline.settings import Settings

    try:
        return Settings().log_level.lower() == "debug"
    except ValueError:
        return False


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


def _ended(message: str, exit_code: int) -> typer.Exit:
    """Says it while the error is being handled, so that its traceback can be shown."""
    say(message)
    if debugging():
        stderr().print_exception()
    return typer.Exit(exit_code)
