"""The audit of dependencies: what it makes of pip-audit's outcomes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit.py"
CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def audit(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    program = folder / "pip-audit"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return subprocess.run(
        [sys.executable, AUDIT, "base.txt"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("dependencies", "status", "words"),
    [
        ([CLEAN], 0, "audited 1 of 1"),
        ([CLEAN, BAD], 1, "CVE-1"),
        ([CLEAN, UNKNOWN], 0, "not audited: c"),
        ([UNKNOWN], 0, "SKIPPED"),
    ],
)
def test_what_is_found_decides(
    tmp_path: Path, dependencies: list[dict[str, Any]], status: int, words: str
) -> None:
    answer = json.dumps({"dependencies": dependencies})
    done = audit(tmp_path, f"cat <<'END'\n{answer}\nEND\nexit {int(BAD in dependencies)}")
    assert (done.returncode, words in done.stdout) == (status, True), done.stdout


def test_an_index_out_of_reach_is_skipped_and_said(tmp_path: Path) -> None:
    done = audit(tmp_path, "echo 'requests.exceptions.ConnectionError: refused' >&2; exit 1")
    assert done.returncode == 0
    assert "SKIPPED" in done.stdout


def test_any_other_failure_fails(tmp_path: Path) -> None:
    done = audit(tmp_path, "echo 'cannot read base.txt' >&2; exit 1")
    assert done.returncode == 1
    assert "SKIPPED" not in done.stdout
