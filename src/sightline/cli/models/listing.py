"""``sightline models list``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from sightline.cli.console import megabytes, stdout, table
from sightline.cli.models.choosing import catalogue, is_random, open_store, store_of_any_weights, wanted
from sightline.cli.options import AsJson, ModelsDir, settings_from

if TYPE_CHECKING:
    from sightline.models import ModelDefinition
    from sightline.settings import Settings

_STYLES = {
    "installed": "green",
    "built in": "green",
    "configured": "green",
    "missing": "yellow",
    "not configured": "yellow",
}


def list_(as_json: AsJson = False, models_dir: ModelsDir = None) -> None:
    """List all models: what they give, whether they are here, what they weigh, who may use them.

    What is missing comes with [cyan]sightline models pull[/], or with [cyan]sightline models export[/] where
    weights have to be converted here.

    [bold]Examples[/]

      [cyan]sightline models list[/]
      [cyan]sightline models list --json | jq '.[] | select(.state == "missing") | .name'[/]
    """
    settings = settings_from(models_dir=models_dir)
    rows = [_row(settings, definition) for definition in catalogue(settings).values()]
    if as_json:
        stdout().print_json(json.dumps(rows))
        return
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
    if any(row["state"] == "missing" for row in rows):
        stdout().print(
            "Missing models come with [cyan]sightline models pull NAME[/], those that are made here with "
            "[cyan]sightline models export NAME[/]."
        )


def _row(settings: Settings, definition: ModelDefinition) -> dict[str, Any]:
    from sightline.runtime.precision import choose, obeys_choice

    card, want, store = definition.card, wanted(definition), open_store(settings)
    installed = store.installed(want)
    lacking = definition.lacking(settings)
    state = "installed" if card.artifacts else "built in"
    if definition.connect is not None:
        state = "not configured" if lacking else "configured"
    elif installed is None:
        installed = store_of_any_weights(settings).installed(want)
        state = "random, not allowed" if installed else "missing"
    elif is_random(installed):
        state = "random"
    # What stands on settings has weights elsewhere; its answers say which.
    weights = None if definition.connect is not None else installed
    choice = choose(settings, weights) if weights and obeys_choice(card) else None
    sizes = [artifact.size_bytes for artifact in card.artifacts]
    return {
        "name": card.name,
        "gives": sorted(capability.value for capability in card.capabilities),
        "state": state,
        "lacking": lacking,
        "disk_bytes": store.disk_bytes(card.name),
        "download_bytes": None if None in sizes else sum(size or 0 for size in sizes),
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
