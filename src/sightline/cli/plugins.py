"""Commands that plug-ins add to ``sightline``, and the hook that loads them.

A plug-in is a module with ``COMMANDS``, a tuple of :class:`Command`. :mod:`sightline.registry` finds it in
``sightline.commands``, in the entry point group of that name, and in the folder ``commands`` of the plug-in
folder. Plug-ins load for ``--help`` and for names that are not built in; other commands start without them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from sightline import registry
from sightline.cli.problems import Commands, say
from sightline.errors import ConfigurationError, SightlineError

_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Command:
    """A command, as a function that typer understands, or a group of commands, as a ``typer.Typer``."""

    name: str
    run: typer.Typer | Callable[..., object]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"unusable name of a command: {self.name!r}; expected lower-case letters, digits and hyphens"
            )


def catalogue(plugins_dir: Path | None = None) -> Mapping[str, Command]:
    """Return every command that is loaded through the hook, by name.

    Raises:
        ConfigurationError: a plug-in does not import, or two commands claim one name.
    """
    return registry.discover("sightline.commands", "COMMANDS", Command, plugins_dir)


class PluggableCommands(Commands):
    """The group of all commands: its own, and those that plug-ins add."""

    _is_complete = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names. A broken plug-in is reported and does not hide the other commands."""
        try:
            self._complete()
        except SightlineError as error:
            say(str(error))
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if no command has this name."""
        if cmd_name not in self.commands:
            self._complete()
        return super().get_command(ctx, cmd_name)

    def _complete(self) -> None:
        if self._is_complete:
            return
        self._is_complete = True
        found = catalogue(_plugins_dir())
        taken = sorted(found.keys() & self.commands.keys())
        if taken:
            raise ConfigurationError(
                f"name of a plug-in's command is taken: {taken[0]}; expected a name that no command has"
            )
        loaded = typer.Typer(add_completion=False, rich_markup_mode="rich")
        for name, command in found.items():
            if isinstance(command.run, typer.Typer):
                loaded.add_typer(command.run, name=name)
            else:
                loaded.command(name)(command.run)
        self.commands.update(typer.main.get_group(loaded).commands)


def _plugins_dir() -> Path | None:
    """Return the plug-in folder. Invalid settings are reported by the command that needs them.

    Settings take a fifth of a second to import: ``--help`` does without where nothing names a folder.
    """
    if "SIGHTLINE_PLUGINS_DIR" not in os.environ and not Path(".env").is_file():
        return None
    from sightline.settings import Settings

    try:
        return Settings().plugins_dir
    except ValueError:
        return None
