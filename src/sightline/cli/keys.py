"""``sightline keys``."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.console import stderr, stdout, table
from sightline.cli.options import AsJson, settings_from

if TYPE_CHECKING:
    from sightline.server.keys import KeyFile, KeyScope, NamedKey

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True, rich_markup_mode="rich")

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_PERIOD = re.compile(r"([1-9][0-9]{0,4})([hdw])")

Name = Annotated[str, typer.Argument(help="Name of the key.")]
File = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        show_default="SIGHTLINE_KEYS_FILE or ~/.config/sightline/keys.json",
        help="File of named keys.",
    ),
]


@app.command()
def create(
    name: Name,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            show_default="never",
            help="Time until the key expires (12h, 30d, 4w), or its last day (2027-01-31, UTC).",
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            show_default="analyze",
            help="Routes the key may be used for: analyze, collections, metrics, admin. Repeat the option or "
            "separate with commas.",
        ),
    ] = None,
    file: File = None,
) -> None:
    """Create a key and print it. It cannot be shown again: the file has only its digest.

    A running server accepts the key at once, and refuses requests without a key from then on.

    [bold]Examples[/]

      [cyan]sightline keys create website[/]
      [cyan]sightline keys create nightly --expires 30d --scope analyze,collections[/]
      [cyan]sightline keys create prometheus --scope metrics[/]
    """
    keys = _file(file)
    secret = keys.create(name, _scopes(scope), _expiry(expires))
    stderr().print(f"{keys.path}: key {name} created. Store it now, it cannot be shown again:", markup=False)
    typer.echo(secret)


@app.command("list")
def list_keys(as_json: AsJson = False, file: File = None) -> None:
    """List names, scopes, dates and states of all keys.

    [bold]Example[/]

      [cyan]sightline keys list --json[/]
    """
    keys = _file(file).read()
    if as_json:
        typer.echo(json.dumps([_report(key) for key in keys], indent=2))
        return
    shown = table(["Name", "Scopes", "State", "Created", "Expires"])
    for key in keys:
        report = _report(key)
        shown.add_row(
            key.name, ", ".join(report["scopes"]), key.state, report["created"], report["expires"] or "never"
        )
    stdout().print(shown)


@app.command()
def revoke(name: Name, file: File = None) -> None:
    """Refuse a key from now on, also by running servers.

    [bold]Example[/]

      [cyan]sightline keys revoke website[/]
    """
    _file(file).revoke(name)
    stdout().print(f"{name} is revoked", markup=False)


def _file(path: Path | None) -> KeyFile:
    from sightline.server.keys import KeyFile

    return KeyFile(settings_from(keys_file=path).keys_file)


def _report(key: NamedKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": sorted(scope.value for scope in key.scopes),
        "state": key.state,
        "created": _written(key.created),
        "expires": _written(key.expires),
        "revoked": _written(key.revoked),
    }


def _written(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _scopes(given: list[str] | None) -> set[KeyScope]:
    from sightline.server.keys import KeyScope

    names = [part.strip() for each in given or ["analyze"] for part in each.split(",")]
    wrong = [name for name in names if name not in set(KeyScope)]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r}; expected {', '.join(KeyScope)}", param_hint="--scope")
    return {KeyScope(name) for name in names}


def _expiry(given: str | None) -> datetime | None:
    """Return the moment from which the key is refused: after a period, or at the end of a day in UTC."""
    if given is None:
        return None
    now = datetime.now(UTC).replace(microsecond=0)
    if period := _PERIOD.fullmatch(given):
        return now + int(period[1]) * _UNITS[period[2]]
    try:
        moment = datetime.combine(date.fromisoformat(given), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{given!r}; expected a period such as 30d or a date such as 2027-01-31", param_hint="--expires"
        ) from None
    if moment <= now:
        raise typer.BadParameter(f"{given} is in the past; expected a later date", param_hint="--expires")
    return moment
