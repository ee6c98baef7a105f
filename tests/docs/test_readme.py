"""The commands and the program in README run as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sightline.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
# They set up an environment or download from hosts that tests do not reach; .ci/run runs what it can of them.
ELSEWHERE = (
    *("make ", "python3 -m venv", ".venv/bin/sightline serve"),
    *("export ", "SIGHTLINE_HOST=", "sightline models pull"),
)
# A URL that README gives as an example; nobody answers there for tests.
EXAMPLE_URL = "https://example.org/photo.jpg"


def commands() -> list[str]:
    """Each command of a bash block, whole."""
    found = []
    for block in re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        found += [command for command in block.replace("\\\n", " ").splitlines() if command.strip()]
    return [command for command in found if not command.startswith(ELSEWHERE)]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, server_at: Callable[[Settings], AbstractContextManager[str]]
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    with server_at(Settings(_env_file=None, models_dir=folder, rehearse=True, threads=2)) as url:
        yield url


@pytest.fixture
def environment(tmp_path: Path, portrait: bytes) -> dict[str, str]:
    (tmp_path / "photo.jpg").write_bytes(portrait)
    scripts = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "SIGHTLINE_REHEARSE": "1",
        "SIGHTLINE_MODELS_DIR": str(tmp_path / "models"),
    }


def test_there_are_commands_to_run() -> None:
    assert sum(command.startswith("curl") for command in commands()) >= 4
    assert sum(command.startswith("sightline") for command in commands()) >= 3


@pytest.mark.parametrize("command", commands())
def test_a_command_answers(command: str, server: str, environment: dict[str, str], tmp_path: Path) -> None:
    written = command.replace("http://127.0.0.1:8000", server)
    if EXAMPLE_URL in written:
        pytest.skip("it needs the internet")
    done = subprocess.run(
        ["bash", "-c", written], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    if command.startswith("curl"):
        (image,) = json.loads(done.stdout)["images"]
        assert all(result["status"] == "ok" for result in image["results"].values()), image


def test_the_program_prints_an_answer(environment: dict[str, str], tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "BoundingBox" in done.stdout


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180
