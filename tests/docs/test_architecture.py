"""The skeletons of docs/architecture.md are plug-ins that answer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sightline.cli.app import app
from sightline.imaging import encode_png
from sightline.runtime.analyzer import Analyzer, Task
from sightline.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text("utf-8")
SKELETONS = dict(re.findall(r"^```python\n# ([\w/.]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    for name, text in SKELETONS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


async def test_the_skeletons_answer(plugins: Path, tmp_path: Path) -> None:
    assert {name.partition("/")[0] for name in SKELETONS} == {
        "capabilities",
        "commands",
        "models",
        "operations",
    }
    stripes = np.zeros((20, 20, 3), np.uint8)
    stripes[::2] = 200
    used = Settings(_env_file=None, plugins_dir=plugins, models_dir=tmp_path / "store", offline=True)
    async with Analyzer.create(used) as analyzer:
        picture = analyzer.open(encode_png(stripes))
        tasks = [analyzer.bind(Task(name, name)) for name in ("measure_contrast", "measure_sharpness")]
        contrast, sharpness = await analyzer.analyze(picture, tasks)
    assert contrast.result().deviation == pytest.approx(100)
    assert contrast.words() == "standard deviation 100.0"
    assert sharpness.result().variance == pytest.approx(200**2, rel=0.01)
    assert sharpness.answer is not None
    assert sharpness.answer.model.name == "differences"


def test_the_skeleton_of_a_command_runs(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_PLUGINS_DIR", str(plugins))
    assert CliRunner().invoke(app, ["greet", "you"]).stdout == "hello you\n"


# mypy has to refuse a text as the subject and a number as the result, and nothing else.
WRONG = """
from sightline.imaging import View
from sightline.operations import Scene
from sightline_plugins.capabilities.sharpness import SHARPNESS


async def wrong(scene: Scene) -> str:
    await scene.infer(SHARPNESS, "a text")
    found = await scene.infer(SHARPNESS, View(scene.picture))
    return found.output.variance
"""


def test_the_skeletons_are_typed(tmp_path: Path) -> None:
    package = tmp_path / "sightline_plugins"
    for name, text in {**SKELETONS, "operations/wrong.py": WRONG}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    options = ("--strict", "--config-file=", "--namespace-packages", "--explicit-package-bases")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--follow-imports=silent", "sightline_plugins"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = re.findall(r"^(\S+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert found == [
        ("sightline_plugins/operations/wrong.py", "8", "misc"),
        ("sightline_plugins/operations/wrong.py", "10", "return-value"),
    ], done.stdout + done.stderr
