from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.jobs.wildlife.megadetector_results import common_name
from sightline.jobs.wildlife.places import Place
from sightline.jobs.wildlife.predictions import PredictionsFormat, as_json, failed_entry, write_predictions

CONVERTED = Path(__file__).parent / "converted"
V4, V5 = PredictionsFormat.SPECIESNET_4, PredictionsFormat.SPECIESNET_5


@pytest.mark.parametrize("count", [0, 1, 3])
def test_files_of_both_generations(tmp_path: Path, count: int) -> None:
    entries = [{"filepath": f"{number}.jpg", "detections": []} for number in range(count)]
    write_predictions(tmp_path / "4.json", iter(entries), V4, {})
    write_predictions(tmp_path / "5.json", iter(entries), V5, {})
    assert json.loads((tmp_path / "4.json").read_text()) == {"predictions": entries}
    assert json.loads((tmp_path / "5.json").read_text()) == {
        "info": {"format_version": "20261015"}, "predictions": entries,
    }  # fmt: skip
    assert len((tmp_path / "5.json").read_text().splitlines()) == count + 2


def test_the_file_of_megadetector_is_what_its_converter_makes_of_speciesnets(tmp_path: Path) -> None:
    """``megadetector`` 10.0.28 wrote the expected file; its tests are in ``tests/parity``."""
    entries = json.loads((CONVERTED / "entries.json").read_text())
    write_predictions(tmp_path / "p.json", entries, PredictionsFormat.MEGADETECTOR, {"b": "2", "a": "1"})
    written = json.loads((tmp_path / "p.json").read_text())
    info = written.pop("info")
    assert (info["format_version"], info["detector"]) == ("1.6", "a, b")
    assert info["sightline"]["models"] == {"a": "1", "b": "2"}
    assert written == json.loads((CONVERTED / "megadetector-10.0.28.json").read_text())


def test_labels_of_another_classifier_keep_their_words() -> None:
    assert common_name("red fox") == "red fox"
    assert common_name(" ") == "unknown"
    assert common_name("u;;;;;;") == "u;;;;;;"


def test_numbers_have_four_decimals_wherever_they_are(tmp_path: Path) -> None:
    entry = {
        "latitude": -1.28612345, "detections": [{"conf": 2 / 3, "bbox": [0.0, 0.123449, 1, 0.00004]}],
        "classifications": {"classes": ["a"], "scores": [0.99996]}, "country": "KEN",
    }  # fmt: skip
    write_predictions(tmp_path / "p.json", [entry], V4, {})
    assert json.loads((tmp_path / "p.json").read_text())["predictions"] == [
        {
            "latitude": -1.2861, "detections": [{"conf": 0.6667, "bbox": [0.0, 0.1234, 1, 0.0]}],
            "classifications": {"classes": ["a"], "scores": [1.0]}, "country": "KEN",
        }
    ]  # fmt: skip


def test_a_failure_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("old")

    def entries() -> Any:
        yield {"filepath": "a.jpg"}
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_predictions(path, entries(), V4, {})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_photo_says_what_is_known_of_it() -> None:
    assert failed_entry("a/b.jpg", Place("USA", "CA"), "v4.0.3a") == {
        "filepath": "a/b.jpg", "failures": ["CLASSIFIER", "DETECTOR"], "country": "USA",
        "admin1_region": "CA", "model_version": "4.0.3a",
    }  # fmt: skip
    assert list(failed_entry("a.jpg", Place(), "v4.0.1a")) == ["filepath", "failures", "model_version"]


@given(st.binary(max_size=20))
def test_names_of_any_bytes_come_back(name: bytes) -> None:
    text = name.decode("utf-8", "surrogateescape")
    written = as_json({"filepath": text})
    assert json.loads(written.decode("utf-8"))["filepath"].encode("utf-8", "surrogateescape") == name
    assert b"\n" not in written
