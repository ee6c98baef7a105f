"""Making an exporter's environment: what is said when it cannot be made. tests/export has what succeeds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sightline.errors import ExportFailed
from sightline.weights.exporting import run_exporter


@pytest.fixture(autouse=True)
def _bare_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """uv with an empty cache and an index on a loopback port where nothing listens."""
    for name in list(os.environ):
        if name.startswith("UV_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def run(tmp_path: Path, family: str = "fasterrcnn", *, offline: bool) -> tuple[str, list[str]]:
    """The error's message and the lines logged."""
    lines: list[str] = []
    with pytest.raises(ExportFailed) as caught:
        run_exporter(
            family,
            model="fasterrcnn-resnet50-fpn",
            weights="random",
            seed=0,
            size="tiny",
            output=tmp_path / "out",
            offline=offline,
            log=lines.append,
        )
    return str(caught.value), lines


@pytest.mark.parametrize("family", ["nothing", "../fasterrcnn", "", "Fasterrcnn"])
def test_an_unknown_family_is_refused(tmp_path: Path, family: str) -> None:
    message, lines = run(tmp_path, family, offline=True)
    assert message == f"There is no exporter {family!r}."
    assert not lines


def test_offline_without_a_cache_says_so(tmp_path: Path) -> None:
    message, lines = run(tmp_path, offline=True)
    assert "network" in message
    assert lines, "everything uv says is logged"
    assert str(tmp_path) not in message


def test_an_index_that_does_not_answer_is_named_in_one_line(tmp_path: Path) -> None:
    message, lines = run(tmp_path, offline=False)
    assert message.startswith("The exporter failed: Failed to fetch")
    assert "refused" in message.lower()
    assert "\n" not in message
    assert str(tmp_path) not in message
    assert len(lines) > 1


def test_a_log_that_fails_stops_the_exporter(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError):
        run_exporter(
            "fasterrcnn",
            model="fasterrcnn-resnet50-fpn",
            weights="random",
            seed=0,
            size="tiny",
            output=tmp_path / "out",
            offline=True,
            log=refuse,
        )
