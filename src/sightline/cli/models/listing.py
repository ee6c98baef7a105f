"""``sightline models list``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from sightline.cli.console import megabytes, stdout, table
from sightline.cli.models.choosing import catalogue, is_random, open_store, store_of_any_weights, wanted
from sightline.cli.options import AsJson, ModelsDir, settings_from

if TYPE_CHECKING:
    from sightline.models import Catalogue, ModelDefinition
    from sightline.runtime.readiness import Readiness
    from sightline.settings import Settings

_STYLES = {
    "installed": "green",
    "built in": "green",
    "configured": "green",
    "ready": "green",
    "missing": "yellow",
    "not configured": "yellow",
    "setting": "yellow",
}


def list_(
    long: Annotated[
        bool, typer.Option("--long", "-l", help="One row per model, with licence and fingerprint")
    ] = False,
    as_json: AsJson = False,
    models_dir: ModelsDir = None,
) -> None:
    """List the models by the operations that use them, what is missing, and the size of its download.

    Missing models are downloaded by the first request that needs them, or by
    [cyan]sightline models pull[/].

    [bold]Examples[/]

      [cyan]sightline models list[/]
      [cyan]sightline models list --long[/]
      [cyan]sightline models list --json | jq '.[] | select(.state == "missing") | .name'[/]
    """
    settings = settings_from(models_dir=models_dir)
    known = catalogue(settings)
    rows = [_row(settings, definition) for definition in known.values()]
    if as_json:
        stdout().print_json(json.dumps(rows))
    elif long:
        _print_models(rows)
    else:
        _print_operations(settings, known, rows)


def _print_operations(settings: Settings, known: Catalogue, rows: list[dict[str, Any]]) -> None:
    from sightline import operations
    from sightline.runtime.readiness import download_words, readiness

    asked = operations.catalogue(settings.plugins_dir).values()
    entries = readiness(asked, known, open_store(settings), settings)
    shown = table(("Operation", "State", "Download", "Models"), numbers=("Download",))
    for entry in entries:
        state = "setting" if entry.lacking else "ready" if entry.ready else "missing"
        shown.add_row(
            Text(entry.operation, style="bold"),
            Text(state, style=_STYLES[state]),
            Text(_download(entry), style="dim"),
            Text(entry.lacking or ", ".join(entry.models)),
        )
    stdout().print(shown, end="")
    used = {name for entry in entries for name in entry.models}
    if others := [_other(row) for row in rows if row["name"] not in used]:
        stdout().print(
            Text("Chosen by parameters: ", style="bold").append(", ".join(others), style="default")
        )
    missing = list(dict.fromkeys(name for entry in entries for name in entry.missing))
    if missing:
        size = download_words(known, missing)
        stdout().print(f"\nTo download everything that is missing above ({size}), run:")
        stdout().print(Text("  sightline models pull", style="cyan"))


def _download(entry: Readiness) -> str:
    if not entry.missing:
        return "–"
    return entry.download


def _other(row: dict[str, Any]) -> str:
    state = row["state"]
    size = f", {megabytes(row['download_bytes'])}" if state == "missing" and row["download_bytes"] else ""
    return f"{row['name']} ({state}{size})"


def _print_models(rows: list[dict[str, Any]]) -> None:
    shown = table(
        ("Model", "Gives", "State", "On disk", "Licence", "Provenance", "Fingerprint"), numbers=("On disk",)
    )
    for row in rows:
        state = row["state"]
        shown.add_row(
            Text(row["name"], style="bold"),
            Text(", ".join(row["gives"])),
            Text(
                f"{state}: {row['lacking']}" if row["lacking"] else state,
                style=_STYLES.get(state, "bold red"),
            ),
            _size(row),
            Text(row["licence"]),
            Text(row["provenance"] or "–"),
            Text(row["fingerprint"] or "–"),
        )
    stdout().print(shown)


def _row(settings: Settings, definition: ModelDefinition) -> dict[str, Any]:
    from sightline.runtime.precision import choose, obeys_choice
    from sightline.runtime.readiness import download_bytes

    card, want, store = definition.card, wanted(definition), open_store(settings)
    installed = store.installed(want)
    lacking = definition.lacking(settings)
    state = "built in" if want.is_built_in else "installed"
    if definition.connect is not None:
        state = "not configured" if lacking else "configured"
    elif installed is None:
        installed = store_of_any_weights(settings).installed(want)
        state = "damaged" if store.is_damaged(want) else "random, not allowed" if installed else "missing"
    elif is_random(installed):
        state = "random"
    # A model that is reached by settings has its weights elsewhere; its answers name them.
    weights = None if definition.connect is not None else installed
    choice = choose(settings, weights) if weights and obeys_choice(card) else None
    return {
        "name": card.name,
        "gives": sorted(capability.name for capability in card.capabilities),
        "state": state,
        "lacking": lacking,
        "disk_bytes": store.disk_bytes(card.name),
        "download_bytes": download_bytes({card.name: definition}, [card.name]),
        "licence": card.licence,
        "homepage": card.homepage,
        "provenance": weights.provenance.value if weights else None,
        "fingerprint": weights.fingerprint if weights else None,
        "computes_in": choice.precision.value if choice else None,
        "computes_in_because": choice.why if choice else None,
        "description": card.description,
    }


def _size(row: dict[str, Any]) -> Text:
    if row["disk_bytes"]:
        return Text(megabytes(row["disk_bytes"]))
    coming = row["download_bytes"] if row["state"] == "missing" else None
    return Text(f"({megabytes(coming)})" if coming else "–", style="dim")
