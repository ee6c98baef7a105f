"""Options that several commands have, and how options and the environment become settings."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sightline.settings import Settings


class OnTruncated(StrEnum):
    """What is done with a truncated photo."""

    ERROR = "error"
    FILL = "fill"


ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        metavar="DIR",
        file_okay=False,
        show_default="SIGHTLINE_MODELS_DIR or ~/.cache/sightline",
        help="Where model files lie.",
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        show_default="SIGHTLINE_OFFLINE or no",
        help="Open no outbound socket for weights, and delete none.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(metavar="URL", show_default="none, compute here", help="A running server to ask."),
]
ServerKey = Annotated[
    str | None,
    typer.Option(envvar="SIGHTLINE_API_KEY", show_default="none", help="The key that server wants."),
]
Truncated = Annotated[
    OnTruncated,
    typer.Option(
        help="What is done with a photo whose end is missing: look at what there is of it, or fail."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def settings_from(*, logs: bool = False, **given: Any) -> Settings:
    """Settings of the environment, overridden by the options that were given (not None, False or empty).

    Variables that look like settings and are not used are reported on stderr unless the caller ``logs`` them.

    Raises:
        ConfigurationError: a value does not fit; the message names the option or variable it came from.
    """
    from pydantic import ValidationError

    from sightline.errors import ConfigurationError
    from sightline.settings import Settings, unused_variables

    if not logs:
        _report(tuple(unused_variables()))
    # By identity: 0 equals False, and is a value.
    chosen = {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and value not in ((), [])
    }
    try:
        return Settings(**chosen)
    except ValidationError as error:
        problems = [
            f"{_origin(problem['loc'], chosen)}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise ConfigurationError("; ".join(problems)) from error


@functools.cache
def _report(complaints: tuple[str, ...]) -> None:
    """Once per process: some commands read settings more than once."""
    from sightline.cli.console import printable, stderr

    for complaint in complaints:
        stderr().print(printable(f"warning: {complaint}"), style="yellow", markup=False, soft_wrap=True)


def _origin(location: tuple[int | str, ...], chosen: dict[str, Any]) -> str:
    name = str(location[0]) if location else "settings"
    field = name.removeprefix("SIGHTLINE_").lower()
    return f"--{field.replace('_', '-')}" if field in chosen else f"SIGHTLINE_{field.upper()}"
