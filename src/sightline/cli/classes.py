"""How ``sightline classify`` writes what it found: as tables and as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from sightline.cli.console import printable, stdout, table

if TYPE_CHECKING:
    from sightline.jobs.asking import Asked

# Labels with less are not shown, except the first few.
_LEAST_SHOWN, _ALWAYS_SHOWN = 0.01, 3
_BAR = 20


class EntryLines:
    """One line per photo: ``source`` and the image's entry of ``/v1/analyze``."""

    def show(self, asked: Asked) -> None:
        print(json.dumps({"source": asked.source, **asked.entry}), flush=True)  # noqa: T201 - rich would wrap it


class ClassTables:
    """A table per photo: the probable labels, and what the rules of their set say."""

    def show(self, asked: Asked) -> None:
        console = stdout()
        title = Text(printable(asked.source), style="bold")
        if error := asked.entry.get("error"):
            title.append(f"\n  {printable(error['message'])}\n", style="red")
        console.print(title, soft_wrap=True)
        for result in asked.entry["results"].values():
            if result["status"] != "ok":
                console.print(
                    Text(f"  {printable(result['error']['message'])}\n", style="red"), soft_wrap=True
                )
            for warning in result.get("warnings", ()):
                console.print(Text(f"  {printable(warning)}", style="yellow"), soft_wrap=True)
            if result["data"] is not None:
                self._found(result["data"])

    def _found(self, found: Mapping[str, Any]) -> None:
        console = stdout()
        rows = table(("Label", "Probability", ""), numbers=("Probability",))
        by_share = sorted(found["probabilities"].items(), key=lambda pair: -pair[1])
        for place, (label, share) in enumerate(by_share):
            if share >= _LEAST_SHOWN or place < _ALWAYS_SHOWN:
                style = "bold green" if place == 0 else ""
                rows.add_row(
                    Text(printable(label), style=style), f"{100 * share:.1f} %", "█" * round(_BAR * share)
                )
        console.print(rows, end="")
        for rule, verdict in found["verdicts"].items():
            console.print(Text(f"{printable(rule)}: {'yes' if verdict else 'no'}"), soft_wrap=True)
        console.print()
