"""``sightline classify``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.console import printable, stderr
from sightline.cli.folders import unfolded
from sightline.cli.options import (
    ModelsDir,
    Offline,
    OnTruncated,
    Server,
    ServerKey,
    Truncated,
    settings_from,
)
from sightline.cli.problems import FAILED, quiet_log
from sightline.cli.session import leave_on_interrupt

if TYPE_CHECKING:
    from sightline.jobs.asking import Asked
    from sightline.runtime.analyzer import Task
    from sightline.settings import Settings

_TASK_ID = "class"
_DEFAULT_SET = "kind-of-picture"


_Photos = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTO",
        show_default=False,
        help="Files, folders with all below, http(s) URLs, or [cyan]-[/] for stdin.",
    ),
]
_Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B,C",
        show_default="none",
        help="What to choose from: labels separated by commas, or one each time. JSON works too.",
    ),
]
_LabelSet = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default=_DEFAULT_SET,
        help="A known set instead, such as [cyan]map-or-aerial[/] or one of SIGHTLINE_LABEL_SETS.",
    ),
]
_Template = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        show_default="a photo of a {}.",
        help="The text that is compared, with {} where a label of --labels goes. May be repeated.",
    ),
]
_Target = Annotated[
    str | None, typer.Option(show_default="whole_image", help="The part of each photo to look at.")
]
_Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default="the operation's", help="Which CLIP looks and reads."),
]
_JsonLines = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON per photo instead of a table.")
]
_Timeout = Annotated[
    float, typer.Option(min=0.001, help="Seconds for one photo here, loading of models included.")
]


def classify(
    photos: _Photos,
    labels: _Labels = None,
    label_set: _LabelSet = None,
    template: _Template = None,
    target: _Target = None,
    model: _Model = None,
    server: Server = None,
    api_key: ServerKey = None,
    json_lines: _JsonLines = False,
    timeout: _Timeout = 600.0,
    truncated: Truncated = OnTruncated.ERROR,
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Say what kind of picture photos are, by labels of your own or a known set.

    Each photo's labels share 100 % among them: one always wins, also where none fits. Give it a label for
    everything else. A photo that cannot be opened stops no other; the exit code is 1 if there was one. What
    every photo would fail for, such as a mistake in the question or missing weights, ends the run.

    [bold]Examples[/]

      [cyan]sightline classify photo.jpg[/]
      [cyan]sightline classify *.jpg --labels "dog,cat,no animal"[/]
      [cyan]sightline classify plan.png --label-set map-or-aerial --json[/]
    """
    import asyncio

    with quiet_log(), leave_on_interrupt():
        settings = settings_from(models_dir=models_dir, offline=offline)
        photos = unfolded(photos)
        task = _task(settings, labels, label_set, template, target=target, model=model)
        complaints: list[str] = []
        try:
            answers = _answers(settings, task, photos, server, api_key, timeout, truncated)
            asyncio.run(_show(answers, json_lines, complaints))
        finally:  # photos before the one that ended the run
            for line in complaints:
                stderr().print(printable(line), style="red", markup=False, soft_wrap=True)
    if complaints:
        raise typer.Exit(FAILED)


def _texts(options: list[str]) -> str | list[str]:
    """What the operation reads, as from a query: one text with commas, or a text for each label.

    Raises:
        InvalidParameters: both at once, which could mean either.
    """
    from sightline.errors import InvalidParameters

    if len(options) == 1:
        return options[0]
    if mixed := next((option for option in options if "," in option), None):
        raise InvalidParameters(
            f"--labels: {mixed!r} has a comma and is not the only one; expected one --labels with all, such "
            "as dog,cat, or one for each"
        )
    return options


def _task(
    settings: Settings,
    labels: list[str] | None,
    label_set: str | None,
    templates: list[str] | None,
    **given: str | None,
) -> Task:
    """The operation that asks for sets of labels, whatever its name."""
    from sightline import operations
    from sightline.capabilities.label_sets import LABEL_SETS
    from sightline.errors import UnknownOperation
    from sightline.runtime.analyzer import Task

    params: dict[str, Any] = {
        "labels": _texts(labels) if labels else None,
        "label_set": label_set,
        "templates": templates or None,
        **given,
    }
    if not labels and label_set is None:
        params["label_set"] = _DEFAULT_SET
    for name, operation in operations.catalogue(settings.plugins_dir).items():
        if LABEL_SETS in operation.needs:
            given = {key: value for key, value in params.items() if value is not None}
            return Task(_TASK_ID, name, given, written=True)
    raise UnknownOperation("no operation says what kind of picture a photo is")


def _answers(
    settings: Settings,
    task: Task,
    photos: list[str],
    server: str | None,
    api_key: str | None,
    timeout_s: float,
    truncated: OnTruncated,
) -> AsyncIterator[Asked]:
    from sightline.jobs.asking import ask_here, ask_there

    fill_truncated = truncated is OnTruncated.FILL
    if server is None:
        return ask_here(settings, task, photos, timeout_s, fill_truncated=fill_truncated)
    return ask_there(settings, server, api_key, task, photos, fill_truncated=fill_truncated)


async def _show(answers: AsyncIterator[Asked], json_lines: bool, complaints: list[str]) -> None:
    """Prints an answer per photo, in their order; adds what went wrong to ``complaints``."""
    from sightline.cli.classes import ClassTables, EntryLines

    printer = EntryLines() if json_lines else ClassTables()
    with stderr().status("looking…") as status:
        async for asked in answers:
            status.stop()
            printer.show(asked)
            complaints += asked.complaints()
            status.start()
