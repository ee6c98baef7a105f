from __future__ import annotations

import json
from typing import Any

import pytest


def findings(sightline, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = sightline("doctor", "--json", *arguments)
    return result.exit_code, {finding["subject"]: finding for finding in json.loads(result.stdout)}


def test_a_machine_without_weights_is_not_broken(started) -> None:
    process = started("doctor")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stdout + stderr
    assert stderr == ""
    for words in ("software", "machine", "images", "models", "settings"):
        assert f"\n{words}\n" in stdout
    assert "download first" in stdout
    assert "fix: sightline models pull\n" in stdout
    assert "weighed" not in stdout  # no operation uses it by default
    assert "Nothing is broken" in stdout


def test_every_notice_comes_with_a_fix(sightline) -> None:
    code, found = findings(sightline)
    assert code == 0
    assert all(finding["fix"] for finding in found.values() if finding["state"] != "ok")
    assert found["mean"]["state"] == "ok"
    assert found["precision"]["text"].split()[0] in ("bf16", "f32;", "f32")
    assert "JPEG, WebP, AVIF, HEIC open" in found["formats"]["text"]
    assert "openvino" in found["packages"]["text"]


@pytest.mark.usefixtures("hub")
def test_models_are_ready_random_or_missing(sightline, monkeypatch) -> None:
    assert findings(sightline)[1]["weighed"]["text"] == "missing"
    sightline("models", "pull", "weighed")
    _, found = findings(sightline)
    assert found["weighed"]["state"] == "ok"
    assert found["weighed"]["text"].startswith("ready; pulled, fingerprint ")
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    code, found = findings(sightline, "--models-dir", "empty")
    assert code == 0
    assert "sightline models import" in found["weighed"]["fix"]


def test_what_stands_on_settings_says_which(sightline, monkeypatch) -> None:
    found = findings(sightline)[1]["gemini"]
    assert (found["state"], found["text"]) == ("notice", "not configured")
    assert found["fix"] == "set SIGHTLINE_GEMINI_API_KEY (or GOOGLE_API_KEY)"
    monkeypatch.setenv("SIGHTLINE_GEMINI_API_KEY", "AIza-secret")
    result = sightline("doctor", "--json")
    assert "AIza-secret" not in result.stdout
    found = {finding["subject"]: finding for finding in json.loads(result.stdout)}["gemini"]
    assert (found["state"], found["text"]) == ("ok", "configured")


def test_a_file_of_label_sets_that_is_wrong_is_broken(sightline, monkeypatch, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text("[mine")
    monkeypatch.setenv("SIGHTLINE_LABEL_SETS", "mine.toml")
    code, found = findings(sightline)
    assert code == 1
    assert found["label-sets"]["state"] == "broken"
    assert "SIGHTLINE_LABEL_SETS: the file is not TOML" in found["label-sets"]["text"]
    monkeypatch.delenv("SIGHTLINE_LABEL_SETS")
    assert findings(sightline)[1]["label-sets"]["state"] == "ok"


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("OFFLINE", "1", "notice"),
        ("AUTO_PULL", "0", "notice"),
        ("ALLOW_RANDOM_WEIGHTS", "1", "notice"),
        ("FETCH_ALLOW_NETWORKS", "10.0.0.0/8", "notice"),
        ("HOST", "0.0.0.0", "broken"),
        ("PLUGINS_DIR", "nowhere", "broken"),
    ],
)
def test_unusual_settings_are_named(sightline, monkeypatch, name: str, value: str, state: str) -> None:
    monkeypatch.setenv(f"SIGHTLINE_{name}", value)
    code, found = findings(sightline)
    assert found[f"SIGHTLINE_{name}"]["state"] == state
    assert code == (1 if state == "broken" else 0)
    assert f"{name.lower()}=" in found["environment"]["text"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_no_key(sightline, monkeypatch, host: str) -> None:
    monkeypatch.setenv("SIGHTLINE_HOST", host)
    assert "SIGHTLINE_HOST" not in findings(sightline)[1]


def test_a_public_address_is_fine_with_a_key_which_is_never_shown(sightline, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_HOST", "0.0.0.0")
    monkeypatch.setenv("API_KEY", "very-secret")
    code, found = findings(sightline)
    assert code == 0
    assert "SIGHTLINE_HOST" not in found
    assert "api_keys=***" in found["environment"]["text"]
    assert "very-secret" not in json.dumps(found)


def test_insecure_is_known_about(sightline, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_HOST", "0.0.0.0")
    monkeypatch.setenv("SIGHTLINE_INSECURE", "1")
    code, found = findings(sightline)
    assert (code, found["SIGHTLINE_INSECURE"]["state"]) == (0, "notice")


@pytest.mark.parametrize(
    ("name", "value", "subject", "said"),
    [
        ("PORT", "abc", "environment", "SIGHTLINE_PORT"),
        ("DEVICE", "cuda", "device", "no device 'cuda'"),
        ("MODELS_DIR", "file/below", "models folder", "cannot be written"),
    ],
)
def test_what_is_broken_is_found_and_the_rest_still_told(
    sightline, monkeypatch, tmp_path, name: str, value: str, subject: str, said: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(f"SIGHTLINE_{name}", value)
    code, found = findings(sightline)
    assert code == 1
    assert found[subject]["state"] == "broken"
    assert said in found[subject]["text"]
    assert found[subject]["fix"]
    assert "processor" in found


def test_a_broken_plug_in_is_a_finding(sightline, plugins) -> None:
    (plugins / "models" / "bad.py").write_text("1 / 0")
    code, found = findings(sightline)
    assert code == 1
    assert "bad.py" in found["plug-ins"]["text"]


def test_a_precision_that_is_only_imitated_is_noticed(monkeypatch) -> None:
    from sightline.cli.checks import State, software
    from sightline.runtime import graphs
    from sightline.settings import Settings

    monkeypatch.setattr(graphs, "cpu_computes_bf16", lambda: False)
    found = {finding.subject: finding for finding in software.check(Settings(precision="bf16"))}
    assert found["precision"].state is State.NOTICE
    found = {finding.subject: finding for finding in software.check(Settings())}
    assert found["precision"].text.startswith("f32")


def test_a_container_s_limits_count(monkeypatch, tmp_path) -> None:
    from sightline.cli.checks import State, machine
    from sightline.runtime import cores

    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.current").write_text("400000000\n")
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    found = {finding.subject: finding for finding in machine.check(None)}
    assert found["cores"].state is State.NOTICE
    assert found["cores"].fix == "SIGHTLINE_THREADS=1"
    assert found["memory"].text.startswith("600.0 MB free of 1.00 GB")
