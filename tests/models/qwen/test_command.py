"""Questions to the model on this machine, on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def run(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightline", "analyze", "--json", *arguments]
    environment = {
        **{
            name: value for name, value in os.environ.items() if not name.startswith(("SIGHTLINE_", "GEMINI"))
        },
        "SIGHTLINE_MODELS_DIR": str(store),
        "SIGHTLINE_OFFLINE": "1",
        "SIGHTLINE_ALLOW_RANDOM_WEIGHTS": "1",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)


def test_it_answers_and_streams(vlm_store: Path, tmp_path: Path, cup: bytes, portrait: bytes) -> None:
    for name, data in (("a cup.jpg", cup), ("b.jpg", portrait)):
        (tmp_path / name).write_bytes(data)
    photos = [str(tmp_path / "a cup.jpg"), str(tmp_path / "b.jpg")]
    done = run(vlm_store, *photos, "--stream", "--task", 'ask:prompt="What differs?",together=true')
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    data = json.loads(line)["results"]["ask"]["data"]
    assert data["model"] == "qwen3.5-2b"
    assert data["text"].split()[0] in done.stderr
