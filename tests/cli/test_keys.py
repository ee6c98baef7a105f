"""``sightline keys``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sightline.cli.app import app
from sightline.server.keys import KeyFile, digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments, "--file", str(path)])


def listed(path: Path) -> list[dict[str, object]]:
    result = run(path, "list", "--json")
    assert result.exit_code == 0
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def test_create_prints_the_key_and_nothing_else_on_stdout(path: Path) -> None:
    result = run(path, "create", "web")
    assert result.exit_code == 0
    secret = result.stdout.strip()
    (key,) = KeyFile(path).read()
    assert key.sha256 == digest(secret.encode()).hex()
    assert secret not in result.stderr


def test_list_has_name_scopes_state_and_dates(path: Path) -> None:
    run(path, "create", "web", "--scope", "collections,analyze", "--scope", "metrics")
    run(path, "create", "plain")
    run(path, "revoke", "plain")
    web, plain = listed(path)
    assert (web["name"], web["state"], web["expires"]) == ("web", "active", None)
    assert web["scopes"] == ["analyze", "collections", "metrics"]
    assert (plain["scopes"], plain["state"]) == (["analyze"], "revoked")
    assert "web" in run(path, "list").stdout


@pytest.mark.parametrize(("given", "hours"), [("12h", 12), ("30d", 720), ("2w", 336)])
def test_a_key_expires_after_a_period(path: Path, given: str, hours: int) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert run(path, "create", "web", "--expires", given).exit_code == 0
    (key,) = KeyFile(path).read()
    assert key.expires is not None
    assert before <= key.expires - timedelta(hours=hours) <= datetime.now(UTC)


def test_a_date_is_the_last_day(path: Path) -> None:
    assert run(path, "create", "web", "--expires", "2999-12-31").exit_code == 0
    assert listed(path)[0]["expires"] == "3000-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--expires", "2020-01-01"),
        ("--expires", "0d"),
        ("--expires", "soon"),
        ("--expires", "9999-12-31"),
        ("--scope", "everything"),
        ("--scope", ""),
    ],
)
def test_a_mistake_creates_no_key(path: Path, arguments: tuple[str, ...]) -> None:
    result = run(path, "create", "web", *arguments)
    assert result.exit_code == 2
    assert not path.exists()


@pytest.mark.parametrize("arguments", [("create", "a b"), ("revoke", "nobody")])
def test_a_wrong_name_is_a_mistake(path: Path, arguments: tuple[str, ...]) -> None:
    assert run(path, *arguments).exit_code == 2


@pytest.mark.parametrize("arguments", [("list",), ("create", "web"), ("revoke", "web")])
def test_a_damaged_file_is_named_and_left_alone(path: Path, arguments: tuple[str, ...]) -> None:
    path.write_bytes(b"{")
    result = run(path, *arguments)
    assert result.exit_code == 2
    assert path.name in result.stderr.replace("\n", "")
    assert path.read_bytes() == b"{"


def test_the_setting_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_KEYS_FILE", str(path))
    assert CliRunner().invoke(app, ["keys", "create", "web"]).exit_code == 0
    assert path.exists()
