"""``sightline doctor``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from sightline.cli.console import printable, stdout
from sightline.cli.options import AsJson, ModelsDir, settings_from
from sightline.cli.problems import FAILED
from sightline.errors import ConfigurationError

if TYPE_CHECKING:
    from sightline.cli.checks import Finding

_MARKS = {"ok": ("✓", "green"), "notice": ("!", "yellow"), "broken": ("✗", "bold red")}


def doctor(as_json: AsJson = False, models_dir: ModelsDir = None) -> None:
    """Say what runs here, what is missing and how to fix it.

    Looks only: downloads nothing, changes nothing. The exit code is 1 if something is broken; a missing
    model is not, since it can be had when it is needed.

    [bold]Examples[/]

      [cyan]sightline doctor[/]
      [cyan]sightline doctor --json | jq '.[] | select(.state != "ok")'[/]
    """
    from sightline.cli.checks import State

    findings = []
    for finding in _findings(models_dir):
        if finding.detail and not as_json:
            continue
        findings.append(finding)
        if not as_json:
            _show(finding, new_area=len(findings) == 1 or findings[-2].area != finding.area)
    broken = sum(finding.state is State.BROKEN for finding in findings)
    if as_json:
        stdout().print_json(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    else:
        _sum_up(broken, sum(finding.state is State.NOTICE for finding in findings))
    if broken:
        raise typer.Exit(FAILED)


def _findings(models_dir: ModelsDir) -> Iterator[Finding]:
    from sightline.cli.checks import configuration, images, machine, software, weights

    settings, complaint = None, ""
    try:
        settings = settings_from(models_dir=models_dir)
    except ConfigurationError as error:
        complaint = str(error)
    yield from software.check(settings)
    yield from machine.check(settings)
    if settings is None:
        yield configuration.unreadable(complaint)
        return
    yield from images.check(settings)
    yield from weights.check(settings)
    yield from configuration.check(settings)


def _show(finding: Finding, *, new_area: bool) -> None:
    console = stdout()
    if new_area:
        console.print(Text(f"\n{finding.area}", style="bold"))
    mark, style = _MARKS[finding.state.value]
    line = Text("  ").append(mark, style=style).append(f" {finding.subject}: ", style="bold")
    console.print(line.append(printable(finding.text)), soft_wrap=True)
    if finding.fix:
        console.print(
            Text("      fix: ", style="dim").append(printable(finding.fix), style="cyan"), soft_wrap=True
        )


def _sum_up(broken: int, notices: int) -> None:
    if broken:
        text, style = f"\n{broken} broken, {notices} to know about.", "bold red"
    elif notices:
        text, style = f"\nNothing is broken; {notices} to know about.", "yellow"
    else:
        text, style = "\nAll is well.", "green"
    stdout().print(Text(text, style=style))
