"""``sightline models drift``: the real command on a small graph of a real detector's signature."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.models import mtcnn
from sightline.runtime import graphs
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.drift import DriftRecord
from sightline.weights.store import Store

NAME = "megadetector-v5a"
WIDE = ("--max-pixels", "5", "--max-score", "0.1")


@pytest.fixture(autouse=True)
def _with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "cpu_computes_bf16", lambda: True)


@pytest.fixture
def detector(sightline: Callable[..., Any], detector_file: Path, tmp_path: Path) -> Path:
    """The detector is installed; gives its folder."""
    assert sightline("models", "adopt", NAME, f"detector.onnx={detector_file}").exit_code == 0
    return tmp_path / "store" / NAME


@pytest.fixture
def photos(noisy_photos: Callable[[Path, int], Path], tmp_path: Path) -> str:
    return str(noisy_photos(tmp_path / "photos", 20))


def listed(sightline: Callable[..., Any]) -> dict[str, Any]:
    rows = json.loads(sightline("models", "list", "--json").stdout)
    return next(row for row in rows if row["name"] == NAME)


def doctored(sightline: Callable[..., Any]) -> dict[str, Any]:
    findings = json.loads(sightline("doctor", "--json").stdout)
    return next(finding for finding in findings if finding["subject"] == NAME)


@pytest.mark.usefixtures("detector")
def test_a_measurement_in_words(sightline, photos: str) -> None:
    result = sightline("models", "drift", NAME, photos, *WIDE)
    assert result.exit_code == 0, result.output
    for words in (
        f"{NAME}, fingerprint {listed(sightline)['fingerprint']}",
        "Of 20 photos",
        "f32 against bf16",
        "finds of 0.2 or surer",
        "boxes moved, pixels",
        "seconds per photo",
        "× as fast",
        f"Within the limits. With --keep, {NAME} is served in bf16 from then on.",
    ):
        assert words in result.stdout
    assert listed(sightline)["computes_in"] == "f32", "nothing was kept"


@pytest.mark.usefixtures("detector")
def test_a_measurement_as_json(sightline, photos: str) -> None:
    result = sightline("models", "drift", NAME, photos, *WIDE, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["model"] == NAME
    assert (told["provenance"], told["precision"]) == ("imported", "bf16")
    assert told["limits"] == {"pixels": 5, "score": 0.1, "alone_share": 0.01}
    assert told["figures"]["photos"] == 20
    assert set(told["seconds_per_photo"]) == {"f32", "bf16"}
    assert (told["within_limits"], told["beyond"], told["failures"]) == (True, [], [])
    assert (told["kept"], told["served_in"]) == (False, "f32")


def test_what_is_kept_is_served_and_shown(sightline, detector: Path, photos: str) -> None:
    assert "was not measured" in doctored(sightline)["text"]
    result = sightline("models", "drift", NAME, photos, *WIDE, "--keep")
    assert result.exit_code == 0, result.output
    assert f"Kept. From its next load on {NAME} computes in bf16: its drift in bf16 was" in result.stdout
    record = json.loads((detector / "drift.json").read_text())
    assert (record["model"], record["within_limits"]) == (NAME, True)
    row = listed(sightline)
    assert row["computes_in"] == "bf16"
    assert row["computes_in_because"].endswith("with 20 photos and is within the limits")
    assert "computes in bf16: its drift" in doctored(sightline)["text"]
    assert sightline("models", "verify", NAME).exit_code == 0
    result = sightline("models", "drift", NAME, photos, *WIDE)
    assert "Within the limits. It is served in bf16: its drift in bf16 was measured" in result.stdout
    result = sightline("models", "drift", NAME, photos, "--min-score", "1")
    assert "It is served in bf16 all the same: its drift" in result.stdout
    assert "A kept result beyond the limits ends that." in result.stdout


def test_beyond_the_limits_is_kept_as_well(sightline, detector: Path, photos: str, monkeypatch) -> None:
    sightline("models", "drift", NAME, photos, *WIDE, "--keep")
    result = sightline("models", "drift", NAME, photos, "--keep", "--min-score", "1", "--json")
    assert result.exit_code == 2, "no find is that sure: nothing was proved"
    assert listed(sightline)["computes_in"] == "bf16", "what was kept before still is"
    record = DriftRecord.from_json((detector / "drift.json").read_bytes())
    beyond = dataclasses.replace(record, within_limits=False)
    (detector / "drift.json").write_bytes(beyond.to_json())
    assert listed(sightline)["computes_in"] == "f32"
    assert listed(sightline)["computes_in_because"].endswith("is beyond the limits")
    monkeypatch.setenv("SIGHTLINE_DETECTOR_PRECISION", "auto")
    assert listed(sightline)["computes_in"] == "bf16"


@pytest.mark.usefixtures("detector")
def test_beyond_the_limits_is_exit_code_1(sightline, photos: str) -> None:
    result = sightline("models", "drift", NAME, photos, "--min-score", "1")
    assert result.exit_code == 1
    assert "Not within the limits: nothing was found with a score of 1 or more. Leave it in" in result.stdout


@pytest.mark.usefixtures("detector")
def test_too_few_photos_are_not_kept(sightline, photos: str) -> None:
    result = sightline("models", "drift", NAME, f"{photos}/00.png", *WIDE, "--keep")
    assert result.exit_code == 2
    assert "Of 1 photo " in result.stdout, "the figures are shown all the same"
    assert "nothing was kept: 1 photos with" in result.stderr
    assert listed(sightline)["computes_in"] == "f32"


@pytest.mark.usefixtures("detector")
def test_bad_photos_are_listed(sightline, photos: str) -> None:
    (Path(photos) / "bad.jpg").write_bytes(b"junk")
    result = sightline("models", "drift", NAME, photos, *WIDE, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["within_limits"] is True
    assert [Path(each["source"]).name for each in told["failures"]] == ["bad.jpg"]
    assert "bad.jpg: This is not an image" in result.stderr


def test_a_damaged_record_is_shown(sightline, detector: Path) -> None:
    (detector / "drift.json").write_bytes(b"junk")
    finding = doctored(sightline)
    assert finding["state"] == "notice"
    assert "computes in f32: the record of its drift is damaged" in finding["text"]
    assert finding["fix"] == f"sightline models drift {NAME} PHOTOS --keep"


@pytest.mark.usefixtures("detector")
def test_a_machine_without_bf16_has_nothing_to_measure(sightline, photos: str, monkeypatch) -> None:
    monkeypatch.setattr(graphs, "cpu_computes_bf16", lambda: False)
    result = sightline("models", "drift", NAME, photos)
    assert result.exit_code == 0
    assert "computes in f32 either way, for auto is f32 on this machine" in result.stdout
    told = json.loads(sightline("models", "drift", NAME, photos, "--json").stdout)
    assert told["precision"] == "f32"
    monkeypatch.setenv("SIGHTLINE_GRAPH_RUNTIME", "onnxruntime")
    assert "ONNX Runtime computes as the file says" in sightline("models", "drift", NAME, photos).stdout


def test_random_weights_are_measured_and_said_to_be(
    sightline, detector_file: Path, photos: str, tmp_path: Path
) -> None:
    from sightline import models

    folder = tmp_path / "random"
    folder.mkdir()
    (folder / "detector.onnx").write_bytes(detector_file.read_bytes())
    definition = models.catalogue()[NAME]
    Store.from_settings(Settings()).adopt(wanted(definition), folder, Provenance.RANDOM, "seed 7")
    result = sightline("models", "drift", NAME, photos, *WIDE, "--keep")
    assert result.exit_code == 0, result.output
    assert "Its weights are random" in result.stdout
    assert (tmp_path / "store" / f"{NAME}@random" / "drift.json").is_file()


def test_embeddings_are_compared_by_cosine(sightline, models_dir: Path, photos: str) -> None:
    result = sightline("models", "drift", "clip-vit-b-32", photos, "--models-dir", str(models_dir))
    assert result.exit_code == 0, result.output
    assert "cosine" in result.stdout
    assert "Within the limits. Nothing is to be done" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([NAME], 1, "megadetector-v5a is not installed; bring it in with"),
        (["no-such"], 2, "there is no model 'no-such'"),
        (["clip-vit-b-32", "--keep"], 2, "--keep is for detectors, and clip-vit-b-32 is none"),
        (["clip-vit-b-32-text"], 2, "gives text_embedding, which says nothing about a photo"),
        (["gemini"], 2, "gives answer, which says nothing about a photo"),
        (["mean"], 2, "mean gives mean, which says nothing about a photo"),
        ([NAME, "--max-score", "2"], 2, "less than or equal to 1"),
        ([NAME, "--max-pixels", "inf"], 2, "--max-pixels"),
        ([NAME, "--max-score", "nan"], 2, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_measured_says_why(
    sightline, photos: str, arguments: list[str], code: int, message: str
) -> None:
    name, *options = arguments
    result = sightline("models", "drift", name, photos, *options)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())


@pytest.mark.usefixtures("environment")
def test_the_face_detector_insists_on_f32(sightline, models_dir: Path, photos: str) -> None:
    (definition,) = mtcnn.MODELS
    result = sightline("models", "drift", definition.name, photos, "--models-dir", str(models_dir))
    assert result.exit_code == 2
    assert "mtcnn computes in f32 whatever the settings say: there is nothing to compare" in result.stderr


@pytest.mark.usefixtures("detector")
def test_an_empty_folder_is_an_error(sightline, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = sightline("models", "drift", NAME, str(tmp_path / "empty"))
    assert result.exit_code == 2
    assert "no images in " in result.stderr


def test_help_teaches(sightline) -> None:
    result = sightline("models", "drift", "--help")
    assert "sightline models drift megadetector-v5a cameras/ --keep" in result.stdout
