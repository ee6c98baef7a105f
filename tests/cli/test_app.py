from __future__ import annotations

import json

import pytest

from sightline import __version__
from sightline.cli.app import app


def test_help_names_every_command(started) -> None:
    process = started("--help")
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")
    commands = "serve analyze locate classify caption wildlife operations models koop index search duplicates"
    for command in commands.split():
        assert f" {command} " in stdout


@pytest.mark.parametrize(
    "command",
    [
        ["serve"], ["analyze"], ["locate"], ["classify"], ["caption"], ["wildlife"], ["operations"],
        ["settings"],
        ["doctor"], ["index"], ["search"], ["duplicates"],
        *(["models", name] for name in ("list", "pull", "adopt", "verify", "remove")),
        *(["models", name] for name in ("bundle", "import")),
        *(["libraries", name] for name in ("list", "delete")),
        *(["koop", name] for name in ("download", "status", "report")),
        *(
            ["collections", name]
            for name in ("train", "list", "show", "promote", "rollback", "evaluate", "import")
        ),
    ],
)  # fmt: skip
def test_every_command_teaches_by_example(sightline, command: list[str]) -> None:
    result = sightline(*command, "--help")
    assert result.exit_code == 0
    assert f"sightline {' '.join(command)}" in result.stdout.partition("Example")[2]


@pytest.mark.parametrize("group", ["models", "koop", "collections"])
def test_every_group_says_where_to_begin_and_is_one_line_among_the_commands(sightline, group: str) -> None:
    result = sightline(group, "--help")
    assert result.exit_code == 0
    assert f"  sightline {group} " in result.stdout.partition("First steps")[2]
    assert "First steps" not in sightline("--help").stdout.partition("Commands")[2]


def test_no_command_at_all_shows_the_help(sightline) -> None:
    result = sightline()
    assert "First steps" in result.output


def test_version(sightline) -> None:
    assert sightline("--version").stdout == f"sightline {__version__}\n"


def test_commands_are_found_by_this_test() -> None:
    """A command added later must be added above."""
    assert len(app.registered_commands) == 12


def test_settings_are_listed_with_what_they_are_now(sightline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_THREADS", "7")
    done = sightline("settings", "--json")
    assert done.exit_code == 0, done.output
    threads = next(each for each in json.loads(done.stdout) if "SIGHTLINE_THREADS" in each["variables"])
    assert (threads["value"], threads["default"]) == ("7", "0")
    assert "SIGHTLINE_THREADS" in sightline("settings").stdout
