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


@pytest.mark.parametrize("statement", ["import sightline", "from sightline.cli.app import app"])
def test_nothing_heavy_is_imported(statement: str) -> None:
    assert modules_after(statement).isdisjoint(HEAVY)


def test_the_analyzer_loads_no_runtime_before_a_model_needs_one() -> None:
    loaded = modules_after("from sightline.runtime.analyzer import Analyzer")
    assert loaded.isdisjoint(
        {"torch", "torchvision", "transformers", "openvino", "onnxruntime", "onnx", "PIL"}
    )


def test_importing_the_package_imports_next_to_nothing() -> None:
    ours = {name for name in modules_after("import sightline") if name.startswith("sightline")}
    assert ours == {"sightline"}


def test_help_needs_the_command_line_alone() -> None:
    """What it takes a tenth of a second or more to import waits for a command that needs it."""
    loaded = modules_after(
        "import sys\n"
        "sys.argv = ['sightline', '--help']\n"
        "from sightline.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded.isdisjoint(
        {*HEAVY, "asyncio", "fastapi", "httpx2", "lxml", "sqlite3", "starlette", "uvicorn"}
    )
