"""``sightline serve``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sightline.cli.options import ModelsDir, Offline, settings_from


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            show_default="SIGHTLINE_HOST or 127.0.0.1",
            help="Address to listen on. One that others can reach needs a key or --insecure.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, show_default="SIGHTLINE_PORT or 8000", help="Port. 0: any free one."),
    ] = None,
    preload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default="SIGHTLINE_PRELOAD or none",
            help="Model to load at start and keep loaded, or [cyan]all[/]. Repeat for more.",
        ),
    ] = None,
    models_dir: ModelsDir = None,
    offline: Offline = False,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            show_default="SIGHTLINE_INSECURE or no",
            help="Allow a public address without an API key.",
        ),
    ] = False,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="Answer everything with made-up models, without a download"),
    ] = False,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(show_default="SIGHTLINE_LOG_LEVEL or info", help="How much to log."),
    ] = None,
) -> None:
    """Answer over HTTP.

    Models load when they are first asked for, unless preloaded. Ctrl-C or SIGTERM stops the server after
    the requests under way. On a loopback address and without a key it answers only to localhost and that
    address; behind a proxy name yours in [cyan]SIGHTLINE_ALLOWED_HOSTS[/]. [cyan]sightline settings[/] lists
    every setting.

    [bold]Examples[/]

      [cyan]sightline serve[/]
      [cyan]sightline serve --preload all --offline[/]
      [cyan]sightline serve --rehearse[/]
      [cyan]SIGHTLINE_API_KEYS=secret sightline serve --host 0.0.0.0 --port 80[/]
    """
    settings = settings_from(
        logs=True,
        host=host,
        port=port,
        preload=tuple(preload or ()),
        models_dir=models_dir,
        offline=offline,
        insecure=insecure,
        rehearse=rehearse or None,
        log_level=log_level.value if log_level else None,
    )
    from sightline.server.app import serve as run

    run(settings)
