"""The exporters' front: what it refuses, and that it starts in an environment with little in it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata, resources
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from sightline.export import Order
from sightline.export.__main__ import main


@pytest.mark.parametrize(
    "family", ["nothing", "__main__", "onnx-file", "../fasterrcnn", "FASTERRCNN", "made_up_taxonomy"]
)
def test_an_unknown_family_is_one_line(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([family, "--model", "m", "--weights", "random", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: there is no exporter {family!r}\n"
    assert not (tmp_path / "out").exists()


def test_canonical_weights_have_one_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["fasterrcnn", "--model", "fasterrcnn-resnet50-fpn", "--size", "tiny", "--out", str(tmp_path)])
        == 1
    )
    assert "full size only" in capsys.readouterr().err


def test_a_family_that_fetches_by_itself_takes_no_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = ModuleType("sightline.export.fetching")
    orders: list[Order] = []
    family.export = orders.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, family.__name__, family)
    family.__spec__ = ModuleSpec(family.__name__, None)
    given = ["fetching", "--model", "m", "--out", str(tmp_path), "--from", str(tmp_path), "--trust", "00"]
    assert main(given) == 1
    assert "takes no --from or --trust" in capsys.readouterr().err
    family.TAKES_FILES = True  # type: ignore[attr-defined]
    assert main(given) == 0
    assert (orders[0].source, orders[0].trusted_sha256) == (tmp_path, "00")
    assert main([*given, "--weights", "random"]) == 1
    assert "come from nowhere" in capsys.readouterr().err


def test_locks_name_hashes_and_no_index() -> None:
    folder = resources.files("sightline") / "export" / "requirements"
    locks = [path for path in folder.iterdir() if path.name.endswith(".txt")]
    assert locks
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert "--index" not in text
        pinned = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert all(re.match(r"[\w.-]+(\[[\w,]+\])?==[\w.+!]+ ", line) for line in pinned)
        assert text.count("--hash=sha256:") >= len(pinned)


IMPORTED = """
import sys
before = set(sys.modules)
import sightline.models.fasterrcnn, sightline.export.__main__
print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))
"""


def test_what_the_exporters_import_of_us_is_in_the_lock() -> None:
    lock = (resources.files("sightline") / "export" / "requirements" / "fasterrcnn.txt").read_text(
        encoding="utf-8"
    )
    locked = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    run = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    distributions = metadata.packages_distributions()
    ours = {name for module in run.stdout.split() for name in distributions.get(module, ())}
    ours = {re.sub(r"[-_.]+", "-", name).lower() for name in ours} - {"sightline"}
    assert "pydantic-settings" in ours, "the test sees what is imported"
    assert ours <= locked
