"""``sightline index``, ``search``, ``duplicates``, ``group`` and ``libraries``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sightline.cli.console import stderr, stdout
from sightline.cli.libraries.copies import duplicates
from sightline.cli.libraries.index import index
from sightline.cli.libraries.options import as_json, shelf_of
from sightline.cli.libraries.search import search
from sightline.cli.options import AsJson

__all__ = ["app", "duplicates", "index", "search"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List and delete libraries of photos. [cyan]sightline index[/] makes them.",
)


@app.command("list")
def list_libraries(json: AsJson = False) -> None:
    """List the libraries with their photos, folders and models.

    [bold]Example[/]

      [cyan]sightline libraries list --json[/]
    """
    shelf = shelf_of()
    found = [_about(shelf.open(name)) for name in shelf.names()]
    if json:
        as_json({"libraries": found})
        return
    if not found:
        stderr().print("there is no library yet. Run: sightline index FOLDER", markup=False)
        return
    from rich.table import Table

    table = Table("Library", "Photos", "Unreadable", "Vectors of", "Folders", box=None, pad_edge=False)
    for each in found:
        table.add_row(
            each["name"],
            f"{each['photos']:,}",
            f"{each['unreadable']:,}",
            ", ".join(model["name"] for model in each["models"]),
            ", ".join(each["folders"]),
        )
    stdout().print(table)


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="The library to delete.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a library and the photos that were sent to it. Photos of folders stay.

    [bold]Example[/]

      [cyan]sightline libraries delete photos[/]
    """
    shelf = shelf_of()
    with shelf.open(name) as library:
        photos = len(library)
    if not yes:
        typer.confirm(f"Delete library {name} with {photos:,} photos?", abort=True, err=True)
    shelf.delete(name)


def _about(library: Any) -> dict[str, Any]:
    from sightline.jobs.libraries.report import library_report

    with library:
        return library_report(library)
