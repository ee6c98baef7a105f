"""Importing is cheap, and serving never needs what only exporting does."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "torchvision",
    "transformers",
    "openvino",
    "onnxruntime",
    "onnx",
    "PIL",
    "numpy",
    "pydantic",
)


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def cpu_seconds(statement: str) -> float:
    """Least processor time of three runs beyond that of an empty Python: other work must not count."""
    code = f"import time\nbefore = time.process_time()\n{statement}\nprint(time.process_time() - before)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    return min(float(run.stdout.splitlines()[-1]) for run in runs)


@pytest.mark.parametrize("statement", ["import sightline", "from sightline.cli.app import app"])
def test_nothing_heavy_is_imported(statement: str) -> None:
    assert modules_after(statement).isdisjoint(HEAVY)


def test_the_analyzer_loads_no_runtime_before_a_model_needs_one() -> None:
    loaded = modules_after("from sightline.runtime.analyzer import Analyzer")
    assert loaded.isdisjoint(
        {"torch", "torchvision", "transformers", "openvino", "onnxruntime", "onnx", "PIL"}
    )


def test_importing_the_package_is_quick() -> None:
    assert cpu_seconds("import sightline") < 0.3


def test_help_is_quick() -> None:
    statement = (
        "import sys\n"
        "sys.argv = ['sightline', '--help']\n"
        "from sightline.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert cpu_seconds(statement) < 0.4
