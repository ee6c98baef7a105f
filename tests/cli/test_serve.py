from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from typing import Any

import pytest

from sightline.settings import Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What the server would be started with."""
    from sightline.server import app

    found: list[Settings] = []
    monkeypatch.setattr(app, "serve", found.append)
    return found


def test_options_go_before_the_environment(sightline, served, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_PORT", "9000")
    monkeypatch.setenv("SIGHTLINE_HOST", "::1")
    options = (
        "--port",
        "9001",
        "--preload",
        "mean",
        "--preload",
        "weighed",
        "--offline",
        "--log-level",
        "debug",
    )
    assert sightline("serve", *options).exit_code == 0
    (settings,) = served
    assert (settings.port, settings.host, settings.offline) == (9001, "::1", True)
    assert settings.preload == ("mean", "weighed")
    assert settings.log_level == "debug"
    assert not settings.insecure


def test_without_options_the_environment_decides(sightline, served, monkeypatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    assert sightline("serve").exit_code == 0
    assert (served[0].port, served[0].offline, served[0].log_level) == (9000, True, "info")


def test_the_defaults_in_the_help_are_the_settings_own(sightline) -> None:
    shown = " ".join(sightline("serve", "--help").stdout.replace("│", " ").split())
    for name in ("host", "port", "log_level"):
        default = Settings.model_fields[name].default
        assert f"(SIGHTLINE_{name.upper()} or {default})" in shown


@pytest.mark.parametrize(
    ("variables", "options", "said"),
    [
        ({"SIGHTLINE_PORT": "abc"}, (), "SIGHTLINE_PORT: Input should be a valid integer"),
        ({}, ("--port", "99999"), "65535"),
        ({}, ("--log-level", "loud"), "loud"),
    ],
)
def test_mistakes_end_with_2(sightline, monkeypatch, variables, options, said) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = sightline("serve", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_public_address_without_a_key_is_refused_in_one_line(started) -> None:
    process = started("serve", "--host", "0.0.0.0")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert "key" in stderr


def test_a_port_in_use_is_refused_in_one_line(started) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = started("serve", "--port", str(port), "--offline")
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert str(port) in stderr
    assert "SIGHTLINE_PORT" in stderr


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return json.load(response)


@pytest.mark.parametrize("pages", ["true", "false"])
def test_serves_until_interrupted(started, pages: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = started("serve", "--port", str(port), "--offline", SIGHTLINE_WEB_PAGES=pages)
    deadline = time.monotonic() + 30
    operations = None
    while operations is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        try:
            operations = get(port, "/v1/operations")
        except OSError:
            time.sleep(0.05)
    assert "brightness" in json.dumps(operations)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert f"http://127.0.0.1:{port}/v1/" in log
    assert (f"open http://127.0.0.1:{port}/ " in log) == (pages == "true"), (
        "nobody is sent to a page that is off"
    )
