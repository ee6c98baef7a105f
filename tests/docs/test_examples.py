"""Python examples of docstrings run as they are written."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

from sightline.runtime import analyzer


def test_the_example_of_the_analyzer_finds_a_face(tmp_path: Path, models_dir: Path, portrait: bytes) -> None:
    text = inspect.getdoc(analyzer) or ""
    example = text[text.index("import asyncio") :]
    (tmp_path / "photo.jpg").write_bytes(portrait)
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, "SIGHTLINE_MODELS_DIR": str(models_dir), "SIGHTLINE_OFFLINE": "true"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("face ok ")
    assert "box=[" in done.stdout
