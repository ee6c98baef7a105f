"""The folder that the commands are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.jobs.koop.store.state import State

DEFAULT = Path("koop")

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="The folder of the download.")
]


@contextmanager
def state_in(folder: Path) -> Iterator[State]:
    """The state of a download, to be read; it may be running.

    Raises:
        InvalidRequest: there is none.
    """
    from sightline.errors import InvalidRequest
    from sightline.jobs.koop.store.folder import STATE_NAME
    from sightline.jobs.koop.store.state import State

    path = folder / STATE_NAME
    if not path.is_file():
        raise InvalidRequest(
            f"{folder} holds no download; name the folder of one with --out, or begin one here with "
            "sightline koop download"
        )
    with State(path, read_only=True) as state:
        yield state
