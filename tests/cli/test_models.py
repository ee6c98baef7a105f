from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sightline.runtime.graphs import Graphs
from sightline.settings import Settings

pytestmark = pytest.mark.usefixtures("hub")


def listed(sightline, name: str = "weighed") -> dict[str, Any]:
    result = sightline("models", "list", "--json")
    assert result.exit_code == 0, result.output
    return next(row for row in json.loads(result.stdout) if row["name"] == name)


def test_list_tells_missing_from_installed(sightline) -> None:
    missing = listed(sightline)
    assert (missing["state"], missing["fingerprint"], missing["download_bytes"]) == ("missing", None, 7000)
    assert listed(sightline, "mean")["state"] == "built in"
    assert sightline("models", "pull", "weighed").exit_code == 0
    installed = listed(sightline)
    assert (installed["state"], installed["provenance"]) == ("installed", "pulled")
    assert len(installed["fingerprint"]) == 16
    assert installed["disk_bytes"] >= 7000


def test_list_says_what_has_to_be_set(sightline, monkeypatch: pytest.MonkeyPatch) -> None:
    row = listed(sightline, "gemini")
    assert (row["state"], row["disk_bytes"]) == ("not configured", 0)
    assert row["lacking"] == "set SIGHTLINE_GEMINI_API_KEY (or GOOGLE_API_KEY)"
    table = " ".join(sightline("models", "list", "--long").stdout.split())
    assert "not configured: set" in table
    monkeypatch.setenv("GOOGLE_API_KEY", "AIza-secret")
    row = listed(sightline, "gemini")
    assert (row["state"], row["lacking"]) == ("configured", None)
    assert "AIza-secret" not in json.dumps(row)


def test_list_claims_no_weights_that_are_elsewhere(sightline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    for name in ("gemini", "openai-compatible"):
        row = listed(sightline, name)
        assert (row["provenance"], row["fingerprint"], row["disk_bytes"]) == (None, None, 0)


def test_pull_says_that_there_is_nothing_to_pull(sightline) -> None:
    result = sightline("models", "pull", "openai-compatible")
    assert result.exit_code == 0
    assert "nothing to download; it is not configured: set SIGHTLINE_VLM_BASE_URL" in " ".join(
        result.stdout.split()
    )


def test_list_prints_a_table_with_whole_fingerprints(sightline) -> None:
    sightline("models", "pull", "weighed")
    table = sightline("models", "list", "--long").stdout
    for words in ("Licence", "weighed", "CC0-1.0", "species", listed(sightline)["fingerprint"]):
        assert words in table


def test_list_goes_by_operation_and_ends_with_the_command_that_brings_everything(sightline) -> None:
    lines = sightline("models", "list").stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert rows["embed_clip"][1] == "missing"
    assert rows["ask"][1] == "missing"
    assert lines[-1].strip() == "sightline models pull"
    assert len(lines) <= 40


def test_pull_says_what_came(sightline, tmp_path: Path) -> None:
    result = sightline("models", "pull", "weighed", "--models-dir", "elsewhere")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("weighed is here: 0.0 MB, fingerprint ")
    assert (tmp_path / "elsewhere" / "weighed" / "numbers.bin").stat().st_size == 7000


def test_pull_tries_every_model_before_it_fails(sightline, plugins: Path) -> None:
    source = (plugins / "models" / "mean.py").read_text()
    gone = source.replace('"numbers.bin"),)', '"gone.bin"),)').replace("weighed", "absent")
    gone = gone.replace('ModelDefinition(card("mean"), lambda files, graphs: Mean()),', "")
    (plugins / "models" / "absent.py").write_text(gone)
    result = sightline("models", "pull", "absent", "weighed")
    assert result.exit_code == 1
    (complaint,) = result.stderr.splitlines()
    assert complaint.startswith("error: absent: missing numbers.bin")
    assert "weighed is here" in result.stdout


def test_pull_offline_says_what_else_would_do(sightline) -> None:
    result = sightline("models", "pull", "weighed", "--offline")
    assert result.exit_code == 1
    assert "offline" in result.stderr
    assert "sightline models import" in result.stderr


@pytest.mark.parametrize("command", ["pull", "remove"])
def test_names_are_asked_for_and_checked(sightline, command: str) -> None:
    if command != "pull":  # which takes what the operations use by default
        none = sightline("models", command)
        assert (none.exit_code, "say --all" in none.stderr) == (2, True)
    both = sightline("models", command, "weighed", "--all")
    assert (both.exit_code, "not both" in both.stderr) == (2, True)
    wrong = sightline("models", command, "wieghed")
    assert (wrong.exit_code, "did you mean weighed" in wrong.stderr) == (2, True)


def test_verify_finds_the_changed_file(sightline, tmp_path: Path) -> None:
    sightline("models", "pull", "weighed")
    intact = sightline("models", "verify")
    assert (intact.exit_code, intact.stdout) == (0, "weighed is intact: 1 files\n")
    file = tmp_path / "store" / "weighed" / "numbers.bin"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    damaged = sightline("models", "verify")
    assert damaged.exit_code == 1
    assert "numbers.bin" in damaged.stderr
    assert "--force" in damaged.stderr
    assert sightline("models", "pull", "weighed", "--force").exit_code == 0
    assert sightline("models", "verify", "weighed").exit_code == 0


def test_verify_finds_a_damaged_copy_of_a_graph(sightline, detector_file: Path, tmp_path: Path) -> None:
    name = "megadetector-v5a"
    assert sightline("models", "adopt", name, f"detector.onnx={detector_file}").exit_code == 0
    copies = tmp_path / "store" / ".compiled"
    Graphs(Settings(_env_file=None, precision="f32"), copies)(tmp_path / "store" / name / "detector.onnx")
    assert sightline("models", "verify").exit_code == 0
    (weights,) = copies.glob("*/graph.bin")
    weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\x7f\x7f")
    for names in ((), (name,)):
        damaged = sightline("models", "verify", *names)
        assert damaged.exit_code == 1
        assert name in damaged.stderr
        assert "is intact" not in damaged.stdout
    assert weights.exists(), "nothing was changed"


def test_verify_of_a_named_model_that_is_missing_fails(sightline) -> None:
    assert sightline("models", "verify").exit_code == 0
    result = sightline("models", "verify", "weighed")
    assert result.exit_code == 1
    assert "not installed" in result.stderr


def test_remove_asks_first(sightline) -> None:
    sightline("models", "pull", "weighed")
    refused = sightline("models", "remove", "weighed", input="n\n")
    assert refused.exit_code == 1
    assert listed(sightline)["state"] == "installed"
    agreed = sightline("models", "remove", "weighed", input="y\n")
    assert agreed.exit_code == 0
    assert listed(sightline)["state"] == "missing"
    assert "Nothing of that is here" in sightline("models", "remove", "weighed").stdout


def test_remove_offline_deletes_nothing(sightline) -> None:
    sightline("models", "pull", "weighed")
    result = sightline("models", "remove", "weighed", "--yes", "--offline")
    assert result.exit_code == 1
    assert listed(sightline)["state"] == "installed"


def test_a_bundle_carries_models_to_another_machine(sightline, tmp_path: Path) -> None:
    sightline("models", "pull", "weighed")
    fingerprint = listed(sightline)["fingerprint"]
    result = sightline("models", "bundle", "out.tar", "weighed")
    assert result.exit_code == 0, result.output
    result = sightline("models", "import", "out.tar", "--models-dir", str(tmp_path / "other"))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"weighed is here: imported, fingerprint {fingerprint}\n"


def test_a_damaged_bundle_is_one_line(sightline, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"not a bundle" * 100)
    result = sightline("models", "import", "bad.tar")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_a_bundle_of_what_is_missing_or_to_nowhere_fails(sightline) -> None:
    result = sightline("models", "bundle", "out.tar", "weighed")
    assert (result.exit_code, "not installed" in result.stderr) == (1, True)
    sightline("models", "pull", "weighed")
    result = sightline("models", "bundle", "no/folder/out.tar", "weighed")
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_random_weights_are_said_to_be_random(sightline, photo, plugins: Path, monkeypatch) -> None:
    path = plugins / "models" / "mean.py"
    draw = "made_up=lambda output, recipe: output.write_bytes(b'drawn'), size_bytes"
    path.write_text(path.read_text().replace("size_bytes", draw))
    assert sightline("models", "pull", "weighed", "--random").exit_code == 0
    assert listed(sightline)["state"] == "random, not allowed"
    monkeypatch.setenv("SIGHTLINE_ALLOW_RANDOM_WEIGHTS", "1")
    assert (listed(sightline)["state"], listed(sightline)["provenance"]) == ("random", "random")
    answer = sightline("analyze", photo(), "--task", "brightness:model=weighed")
    assert "random weights" in answer.stdout
