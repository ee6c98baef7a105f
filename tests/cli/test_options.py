"""How options and the environment become settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sightline.cli.options import settings_from
from sightline.errors import ConfigurationError


def test_zero_is_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_PORT", "8801")
    monkeypatch.setenv("SIGHTLINE_IDLE_UNLOAD_S", "60")
    settings = settings_from(port=0, idle_unload_s=0.0)
    assert (settings.port, settings.idle_unload_s) == (0, 0.0)


def test_zero_where_none_fits_is_refused_by_its_option() -> None:
    with pytest.raises(ConfigurationError, match="--koop-patience-s"):
        settings_from(koop_patience_s=0.0)


@pytest.mark.parametrize("empty", [None, False, (), []])
def test_what_was_not_given_leaves_the_environment(empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_PRELOAD", "mtcnn")
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    settings = settings_from(preload=empty, offline=empty)
    assert (settings.preload, settings.offline) == (("mtcnn",), True)


@pytest.mark.parametrize("command", [("settings",), ("operations",), ("models", "list")])
def test_a_misspelt_variable_is_reported_once_by_every_command_that_reads_settings(
    sightline: Callable[..., Any], command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    misspelt = f"SIGHTLINE_THREDS_{len(command[-1])}"  # a name of its own: each is reported once per process
    monkeypatch.setenv(misspelt, "3")
    done = sightline(*command)
    assert done.exit_code == 0, done.output
    assert done.stderr.count(misspelt) == 1
    assert misspelt not in done.stdout
