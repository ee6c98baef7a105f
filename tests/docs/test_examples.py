"""The programs of the documentation run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = re.findall(
    r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "docs/python.md").read_text("utf-8"), re.M | re.S
)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_prints_an_answer(program: str, tmp_path: Path, portrait: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(portrait)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "SIGHTLINE_MODELS_DIR": str(tmp_path / "models"), "SIGHTLINE_REHEARSE": "true"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
