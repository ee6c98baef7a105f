from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from sightline.cli.models import bars
from sightline.weights.sources import Artifact, Built, UrlFile
from sightline.weights.store import Wanted

WANTED = Wanted(
    model="m", licence="MIT", homepage="https://example.org", preprocessing="p",
    artifacts=(
        Artifact("a.onnx", (UrlFile("https://example.org/a"),)),
        Artifact("index.npy", (Built(("a.onnx",), lambda inputs, output, report: None),)),
    ),
)  # fmt: skip


@pytest.mark.parametrize("terminal", [True, False])
def test_files_count_in_bytes_and_steps_in_points(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120)
    monkeypatch.setattr(bars, "stderr", lambda: console)
    with bars.Bars(WANTED) as all_bars:
        drawn = all_bars.of(WANTED)
        drawn("a.onnx", 1_000_000, None)
        drawn("a.onnx", 5_000_000, 10_000_000)
        drawn("index.npy", 1500, 20_000)
        drawn("waiting for another process", 0, None)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    if not terminal:
        assert shown == ""
        return
    assert "m  a.onnx" in shown
    assert "5.0 MB of 10.0 MB" in shown
    assert "1,500 of 20,000" in shown
    assert "m  waiting for another process" in shown
