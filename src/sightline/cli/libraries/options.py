"""Options that commands on libraries share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.options import settings_from

if TYPE_CHECKING:
    from sightline.libraries import Shelf
    from sightline.settings import Settings

DEFAULT_NAME = "photos"

Name = Annotated[str, typer.Option("--library", metavar="NAME", help="The library.")]


def shelf_of(settings: Settings | None = None) -> Shelf:
    """Return the libraries of the settings."""
    from sightline.libraries import Shelf

    return Shelf((settings or settings_from()).libraries_dir)


def as_json(report: Any) -> None:
    """Print one line of JSON."""
    print(json.dumps(report), flush=True)  # noqa: T201 - rich would wrap and colour it
