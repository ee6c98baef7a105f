"""A plug-in adds a command, by an entry point or by a file, through the hook that loads ``koop``."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.cli.plugins import catalogue

GREET = """
import typer
from sightline.cli.plugins import Command


def greet(name: str, loud: bool = False) -> None:
    '''Greet somebody.'''
    typer.echo(f"hello {name}".upper() if loud else f"hello {name}")


COMMANDS = (Command("greet", greet),)
"""
GROUP = """
import typer
from sightline.cli.plugins import Command

app = typer.Typer(help="Two commands.")


@app.command()
def one() -> None:
    typer.echo("1")


@app.command()
def two() -> None:
    typer.echo("2")


COMMANDS = (Command("numbers", app),)
"""


@pytest.fixture
def command_file(plugins: Path):
    """``command_file(source)`` puts a module into the folder of command plug-ins."""

    def write(source: str, name: str = "added.py") -> None:
        folder = plugins / "commands"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(source)

    return write


def test_koop_is_loaded_through_the_hook() -> None:
    assert "koop" in catalogue()


def test_a_file_adds_a_command(sightline, command_file) -> None:
    command_file(GREET)
    assert " greet " in sightline("--help").stdout
    assert sightline("greet", "--loud", "you").stdout == "HELLO YOU\n"


def test_a_file_adds_a_group_of_commands(sightline, command_file) -> None:
    command_file(GROUP)
    assert sightline("numbers", "two").stdout == "2\n"
    assert "--install-completion" not in sightline("numbers", "--help").stdout


def test_an_installed_distribution_adds_a_command(
    sightline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site packages"
    information = site / "sightline_greet-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "sightline_greet.py").write_text(GREET)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: sightline-greet\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[sightline.commands]\ngreet = sightline_greet\n")
    monkeypatch.syspath_prepend(str(site))
    assert sightline("greet", "you").stdout == "hello you\n"


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('torn')",
        "COMMANDS = ('greet',)",
        GREET.replace('"greet"', '"--greet"'),
        GREET.replace('"greet"', '"koop"'),
        GREET.replace('"greet"', '"doctor"'),
    ],
)
def test_a_broken_plugin_ends_only_what_needs_it(sightline, command_file, source: str) -> None:
    command_file(source)
    assert sightline("greet", "you").exit_code == 2
    assert sightline("koop", "status").exit_code == 2
    assert sightline("settings").exit_code == 0
    help_page = sightline("--help")
    assert help_page.exit_code == 0
    assert " doctor " in help_page.stdout
    assert "error:" in help_page.stderr


def test_an_unknown_command_is_a_mistake(sightline) -> None:
    assert sightline("greet").exit_code == 2
