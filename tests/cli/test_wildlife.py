from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

# What speciesnet 5.0.5 and 5.0.6 have in an entry, in their order; those with a ? only where known.
KEYS_4 = (
    *("filepath", "failures?", "country?", "admin1_region?", "latitude?", "longitude?", "classifications?"),
    *("detections?", "prediction?", "prediction_score?", "prediction_source?", "model_version"),
)
KEYS_5 = (
    *("filepath", "failures?", "country?", "admin1_region?", "latitude?", "longitude?", "detections?"),
    "model_version",
)
DETECTION_KEYS = ("category", "label", "conf", "bbox")
V4 = ("--format", "speciesnet-4")
CLASSIFIED_KEYS = (*DETECTION_KEYS, "raw_classifications", "processed_classification")


@pytest.fixture(autouse=True)
def _release(environment: dict[str, str], plugins: Path, with_wildlife) -> None:
    """Models of a release are there in this process and in those it starts; nothing else is."""
    (plugins / "models" / "mean.py").unlink()
    with_wildlife(plugins)


@pytest.fixture
def folder(tmp_path: Path, grey_image) -> Path:
    """Four good photos in three folders, one without anything to be found; two bad ones."""
    cameras = tmp_path / "cameras"
    grey_image(cameras / "cam1" / "day1" / "a.JPG", 101)
    grey_image(cameras / "cam1" / "b.png", 102)
    grey_image(cameras / "cam2" / "c.png", 103)
    grey_image(cameras / "d.png", 104)
    grey_image(cameras / "unlucky.png", 13)
    (cameras / "cam2" / "torn.jpg").write_bytes((cameras / "cam2" / "c.png").read_bytes()[:60])
    return cameras


def many(tmp_path: Path, grey_image, count: int) -> Path:
    for number in range(count):
        grey_image(tmp_path / "many" / f"cam{number % 3}" / f"{number:03}.png", 20 + number)
    return tmp_path / "many"


def predictions(path: Path = Path("predictions.json")) -> dict[str, dict[str, Any]]:
    """What was written, by path, whatever the format; the order is checked."""
    written = json.loads(path.read_text())
    entries = written.get("predictions") or written["images"]
    names = [entry.get("filepath") or entry["file"] for entry in entries]
    assert names == sorted(names, key=lambda name: name.split("/"))
    return dict(zip(names, entries, strict=True))


def counts(text: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(text.splitlines()[-1])
    return found


def has_keys(entry: dict[str, Any], keys: tuple[str, ...]) -> None:
    allowed = [key.rstrip("?") for key in keys]
    assert list(entry) == [key for key in allowed if key in entry]
    assert {key for key in keys if not key.endswith("?")} <= entry.keys()


# -- what is written ---------------------------------------------------------------------------------------


def test_the_format_of_speciesnet_4(sightline, folder: Path) -> None:
    result = sightline("wildlife", str(folder), "--country", "KEN", *V4)
    assert result.exit_code == 1
    written = json.loads(Path("predictions.json").read_text())
    assert list(written) == ["predictions"]
    found = predictions()
    assert list(found) == [
        "cam1/b.png", "cam1/day1/a.JPG", "cam2/c.png", "cam2/torn.jpg", "d.png", "unlucky.png",
    ]  # fmt: skip
    for entry in found.values():
        has_keys(entry, KEYS_4)
        assert (entry["country"], entry["model_version"]) == ("KEN", "4.0.3a")
        for detection in entry.get("detections", ()):
            assert tuple(detection) == DETECTION_KEYS
    for name in ("cam2/torn.jpg", "unlucky.png"):
        assert found[name]["failures"] == ["CLASSIFIER", "DETECTOR"]
        assert "detections" not in found[name]
    everything = found["cam2/c.png"]
    assert [each["conf"] for each in everything["detections"]] == [0.6667, 0.3333, 0.0123]
    assert everything["detections"][0] == {
        "category": "1", "label": "animal", "conf": 0.6667, "bbox": [0.0, 0.0, 0.5, 0.5],
    }  # fmt: skip
    assert everything["prediction"].endswith("cat 0 of KEN")
    assert everything["prediction_score"] == round(103 / 255, 4)
    assert everything["classifications"]["scores"][0] == round(103 / 255, 4)
    assert len(everything["classifications"]["classes"]) == 5
    assert found["d.png"]["detections"] == []


def test_the_format_of_speciesnet_5(sightline, folder: Path, tmp_path: Path) -> None:
    (folder / "unlucky.png").unlink()
    out = tmp_path / "out" / "found.json"
    out.parent.mkdir()
    result = sightline(
        *("wildlife", str(folder), "--format", "speciesnet-5", "--out", str(out)),
        *("--latitude", "-6", "--longitude", "35"),
    )
    assert result.exit_code == 1
    assert json.loads(out.read_text())["info"] == {"format_version": "20261015"}
    found = predictions(out)
    for entry in found.values():
        has_keys(entry, KEYS_5)
        assert (entry["latitude"], entry["longitude"]) == (-6, 35)
    assert "country" not in found["cam2/torn.jpg"]  # nobody came to look it up
    animal, human, vehicle = found["cam2/c.png"]["detections"]
    assert tuple(animal) == tuple(human) == CLASSIFIED_KEYS
    assert tuple(vehicle) == DETECTION_KEYS  # not as sure as 0.1
    assert len(animal["raw_classifications"]["classes"]) == 2
    assert animal["processed_classification"] == {
        "class": "0;mammalia;carnivora;felidae;panthera;cat0;cat 0 of TZA",
        "score": round(103 / 255, 4),
        "source": "animal",
    }
    sure = ("--min-confidence", "0.5", "--format", "speciesnet-5", "--out", "sure.json")
    assert sightline("wildlife", str(folder), *sure).exit_code == 1
    assert [tuple(each) for each in predictions(Path("sure.json"))["cam2/c.png"]["detections"]] == [
        CLASSIFIED_KEYS, DETECTION_KEYS, DETECTION_KEYS,
    ]  # fmt: skip


CAT = "0;mammalia;carnivora;felidae;panthera;cat0;cat 0"


def test_the_default_is_the_format_of_megadetector(sightline, folder: Path) -> None:
    result = sightline("wildlife", str(folder), "--country", "KEN")
    assert result.exit_code == 1
    written = json.loads(Path("predictions.json").read_text())
    assert written["info"]["format_version"] == "1.6"
    assert set(written["info"]["sightline"]["models"]) == {"a-detector", "a-classifier", "an-ensemble"}
    assert written["detection_categories"] == {"1": "animal", "2": "person", "3": "vehicle"}
    numbers = {label: number for number, label in written["classification_category_descriptions"].items()}
    assert written["classification_categories"][numbers[f"{CAT} of KEN"]] == "cat 0 of KEN"
    found = predictions()
    assert found["cam2/torn.jpg"] == {
        "file": "cam2/torn.jpg", "failure": "['CLASSIFIER', 'DETECTOR']", "detections": None,
    }  # fmt: skip
    assert found["d.png"] == {"file": "d.png", "detections": []}
    animal, human, vehicle = found["cam2/c.png"]["detections"]
    assert animal == {
        "category": "1", "conf": 0.6667, "bbox": [0.0, 0.0, 0.5, 0.5],
        "classifications": [[numbers[f"{CAT} of KEN"], round(103 / 255, 4)]],
        "raw_classifications": [
            [numbers[CAT], round(103 / 255, 4)],
            [numbers["1;mammalia;carnivora;felidae;panthera;cat1;cat 1"], round(103 / 510, 4)],
        ],
    }  # fmt: skip
    assert (human["category"], len(human["classifications"])) == ("2", 1)
    assert vehicle == {"category": "3", "conf": 0.0123, "bbox": [0.0, 0.0, 1.0, 1.0]}


def test_megadetector_and_speciesnet_5_are_the_same_answers(sightline, folder: Path) -> None:
    """So one checkpoint serves both, and another format asks no photo again."""
    sightline("wildlife", str(folder))
    first = Path("predictions.json").read_bytes()
    result = sightline("wildlife", str(folder), "--format", "speciesnet-5")
    assert counts(result.stdout) == {"identified": 0, "kept": 4, "failed": 2}
    assert "raw_classifications" in predictions()["cam2/c.png"]["detections"][0]
    sightline("wildlife", str(folder))
    assert Path("predictions.json").read_bytes() == first


def test_of_many_detections_the_surest_are_classified(sightline, folder: Path) -> None:
    options = ("--max-classifications", "1", "--min-confidence", "0")
    sightline("wildlife", str(folder), *options)
    assert [("classifications" in each) for each in predictions()["cam2/c.png"]["detections"]] == [
        True, False, False,
    ]  # fmt: skip
    changed = sightline("wildlife", str(folder), "--min-confidence", "0")
    assert changed.exit_code == 2


def test_only_listed_photos_are_looked_at(sightline, folder: Path) -> None:
    Path("list.txt").write_text("d.png\n\ncam1\\b.png\r\n")
    result = sightline("wildlife", str(folder), "--filepaths", "list.txt")
    assert result.exit_code == 0
    assert list(predictions()) == ["cam1/b.png", "d.png"]
    result = sightline(
        "wildlife", str(folder), "--filepaths", "-", "--out", "p.json", input="d.png\ngone.png\n"
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 2: no such photo in the folder: gone.png" in result.stderr
    sightline(
        "wildlife", str(folder), "--filepaths", "-", "--out", "p.json", "--ignore-unmatched",
        input="d.png\ngone.png\n",
    )  # fmt: skip
    assert list(predictions(Path("p.json"))) == ["d.png"]


@pytest.mark.parametrize("remote", [False, True])
def test_boxes_of_another_detector_are_classified(
    sightline, folder: Path, plugins: Path, serve, remote: bool
) -> None:
    """With boxes for every photo no detector is needed."""
    source = (plugins / "models" / "wildlife.py").read_text()
    without = source.replace('    model("a-detector", ANIMAL_BOXES, Detector),\n', "")
    assert without != source
    (plugins / "models" / "wildlife.py").write_text(without)
    Path("list.txt").write_text("cam2/c.png\nd.png\nunlucky.png\n")
    box = {"category": "1", "conf": 0.4, "bbox": [0.25, 0.0, 0.25, 1.0]}
    surer = {"category": "2", "conf": 0.9, "bbox": [0.1234, 0.5, 0.1, 0.4999]}
    results = {
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": [
            {"file": "cam2\\c.png", "detections": [box, surer]},
            {"file": "unlucky.png", "detections": [box]},
            {"file": "d.png", "detections": []},
            {"file": "cam2/torn.jpg", "failure": "Failure image access", "detections": None},
        ],
    }
    Path("boxes.json").write_text(json.dumps(results))
    to = ("--server", str(serve(plugins_dir=plugins).base_url)) if remote else ()
    call = ("wildlife", str(folder), "--filepaths", "list.txt", "--detections", "boxes.json", *to)
    result = sightline(*call)
    assert result.exit_code == 0, result.stderr
    found = predictions()
    assert [(each["category"], each["bbox"]) for each in found["cam2/c.png"]["detections"]] == [
        ("2", surer["bbox"]), ("1", box["bbox"]),
    ]  # fmt: skip
    assert all("classifications" in each for each in found["cam2/c.png"]["detections"])
    assert found["d.png"]["detections"] == []
    results["images"][0]["detections"] = [box]
    Path("boxes.json").write_text(json.dumps(results))
    assert counts(sightline(*call).stdout) == {"identified": 1, "kept": 2, "failed": 0}


def test_own_boxes_for_some_photos_leave_the_others_to_the_detector(sightline, folder: Path) -> None:
    entry = {
        "filepath": "cam1/b.png",
        "detections": [{"category": "3", "label": "vehicle", "conf": 0.5, "bbox": [0, 0, 1, 1]}],
    }
    Path("predictions-of-speciesnet.json").write_text(json.dumps({"predictions": [entry]}))
    sightline("wildlife", str(folder), "--detections", "predictions-of-speciesnet.json")
    found = predictions()
    assert [each["category"] for each in found["cam1/b.png"]["detections"]] == ["3"]
    assert [each["category"] for each in found["cam2/c.png"]["detections"]] == ["1", "2", "3"]


def test_each_photo_is_told_as_a_line_and_failures_once_more(sightline, folder: Path) -> None:
    result = sightline("wildlife", str(folder))
    *photos, end = map(json.loads, result.stdout.splitlines())
    assert end == {"identified": 4, "kept": 0, "failed": 2}
    by_name = {each["photo"]: each for each in photos}
    assert by_name["cam1/day1/a.JPG"] == {"photo": "cam1/day1/a.JPG", "status": "identified"}
    assert by_name["unlucky.png"]["reason"] == "a-detector failed on this input (ValueError)"
    *failures, wrote = result.stderr.splitlines()
    assert wrote == "wrote predictions.json"
    assert sorted(line.partition(": ")[2].partition(":")[0] for line in failures) == [
        "cam2/torn.jpg", "unlucky.png",
    ]  # fmt: skip


def test_places_of_single_photos(sightline, folder: Path) -> None:
    Path("places.csv").write_text(
        "filepath,country,lat,lon\n"
        "cam1\\b.png,,1.5,36\n"
        f"{folder}/cam2/c.png,UGA,,\n"
    )  # fmt: skip
    result = sightline("wildlife", str(folder), "--country", "NAM", "--instances", "places.csv", *V4)
    assert "places.csv" not in result.stderr
    found = predictions()
    assert {name: entry["country"] for name, entry in found.items() if "failures" not in entry} == {
        "cam1/b.png": "KEN", "cam1/day1/a.JPG": "NAM", "cam2/c.png": "UGA", "d.png": "NAM",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said", "country"),
    [
        (
            "filepath,country\nnowhere.png,TZA\n",
            "instance 1: no such photo in the folder: nowhere.png",
            "NAM",
        ),
        ("filepath,cuntry\nd.png,TZA\n", "unknown column: cuntry", "NAM"),
        ("filepath,country\nd.png,TZA\nd.png,KEN\n", "instances 1 and 2: two places for one photo", None),
    ],
)
def test_a_places_file_that_does_not_fit_stops_the_run_before_the_first_photo(
    sightline, folder: Path, rows: str, said: str, country: str | None
) -> None:
    Path("places.csv").write_text(rows)
    call = ("wildlife", str(folder), "--country", "NAM", "--instances", "places.csv", *V4)
    result = sightline(*call)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "--ignore-unmatched" in result.stderr
    assert not list(Path().glob("predictions.json*"))
    told = sightline(*call, "--ignore-unmatched")
    assert told.exit_code == 1  # two photos are bad
    assert said in told.stderr
    assert predictions()["d.png"].get("country") == country


def test_folders_below_may_be_left_out(sightline, folder: Path) -> None:
    sightline("wildlife", str(folder), "--no-recursive")
    assert list(predictions()) == ["d.png", "unlucky.png"]


def test_crops_of_photos_are_classified_together_and_photos_detected_together(
    started, tmp_path: Path, grey_image
) -> None:
    folder = many(tmp_path, grey_image, 24)
    batches = tmp_path / "batches"
    process = started("wildlife", str(folder), STAND_IN_PAUSE_S="0.05", STAND_IN_BATCHES=str(batches))
    process.communicate(timeout=60)
    assert process.returncode == 0
    sizes = [int(line) for line in batches.read_text().splitlines()]
    assert sum(sizes) == 24
    assert max(sizes) == 4


# -- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--country", "Kenya"), "KEN for Kenya"),
        (("--country", "XX"), "three capital letters"),
        (("--admin1-region", "CA"), "admin1_region needs country"),
        (("--country", "USA", "--admin1-region", "California"), "CA for California"),
        (("--latitude", "1"), "latitude and longitude go together"),
        (("--latitude", "91", "--longitude", "0"), "latitude"),
        (("--version", "v9"), "no model 'v9' gives species; these do: v4.0.1a, v4.0.2a, v4.0.3a"),
        (("--format", "coco"), "coco"),
        (("--min-confidence", "2"), "min-confidence"),
        (("--concurrency", "0"), "concurrency"),
        (("--instances", "gone.json"), "gone.json"),
        (("--filepaths", "gone.txt"), "gone.txt"),
        (("--detections", "bad.json"), "bad.json must be MegaDetector's batch results"),
        (("--detections", "worse.json"), "worse.json: d.png: unknown category of a detection: bird"),
        (("--detections", "worst.json"), "worst.json: d.png: identify_species: detections.0.conf"),
        (("--server", "localhost:8000"), "no address of a server"),
        (("--server", "http://127.0.0.1:9", "--api-key", "a b"), "API key"),
        (("--instances", "bad.json"), "bad.json: instance 1, a.png: identify_species: country"),
    ],
)
def test_wrong_options_are_mistakes_in_the_call(
    sightline, folder: Path, options: tuple[str, ...], said: str
) -> None:
    Path("bad.json").write_text('{"instances": [{"filepath": "a.png", "country": "Kenya"}]}')
    box = {"category": "1", "label": "animal", "conf": 2, "bbox": [0, 0, 1, 1]}
    for name, changes in (("worse.json", {"label": "bird"}), ("worst.json", {})):
        entry = {"filepath": "d.png", "detections": [box | changes]}
        Path(name).write_text(json.dumps({"predictions": [entry]}))
    result = sightline("wildlife", str(folder), *options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not list(Path().glob("predictions.json*"))


def test_a_folder_without_photos_is_a_mistake(sightline, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.nef").touch()
    result = sightline("wildlife", "raw")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "found .nef" in result.stderr
    assert not list(Path().glob("predictions.json*"))


def test_linked_folders_are_told(sightline, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (folder / "door").symlink_to(tmp_path / "other")
    result = sightline("wildlife", str(folder))
    assert f"warning: linked folders are skipped: {folder}/door" in result.stderr


def test_missing_weights_are_one_clear_line_before_anything_else(sightline, folder: Path) -> None:
    result = sightline("wildlife", str(folder), "--version", "v4.0.2a", "--offline")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: speciesnet-v4.0.2a: missing ")
    assert "classifier.onnx" in line
    assert "speciesnet-v4.0.2a-ensemble: missing taxonomy.txt" in line
    assert "sightline models pull speciesnet-v4.0.2a`" in line
    assert not list(Path().glob("predictions.json*"))


def test_a_folder_for_the_file_has_to_be_there(sightline, folder: Path) -> None:
    result = sightline("wildlife", str(folder), "--out", "gone/predictions.json")
    assert result.exit_code == 1
    assert "gone" in result.stderr


def test_answers_to_other_questions_are_not_mixed(
    sightline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sightline("wildlife", str(folder), "--country", "KEN")
    before = Path("predictions.json").read_bytes()
    result = sightline("wildlife", str(folder), "--country", "TZA")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: predictions.json was begun with country KEN: answers are not mixed; --force starts over, or "
        "name another --out\n"
    )
    with monkeypatch.context() as other_weights:
        other_weights.setenv("STAND_IN_TAG", "p2")
        result = sightline("wildlife", str(folder), "--country", "KEN")
        assert "other models (a-classifier, a-detector, an-ensemble)" in result.stderr
    assert Path("predictions.json").read_bytes() == before
    result = sightline("wildlife", str(folder), "--country", "TZA", "--force", *V4)
    assert counts(result.stdout) == {"identified": 4, "kept": 0, "failed": 2}
    assert predictions()["d.png"]["country"] == "TZA"


# -- going on ----------------------------------------------------------------------------------------------


def test_a_second_run_does_only_what_is_left(sightline, folder: Path, grey_image) -> None:
    sightline("wildlife", str(folder))
    grey_image(folder / "cam3" / "new.png", 55)
    grey_image(folder / "unlucky.png", 14)
    (folder / "cam2" / "torn.jpg").unlink()
    result = sightline("wildlife", str(folder))
    assert result.exit_code == 0
    assert counts(result.stdout) == {"identified": 2, "kept": 4, "failed": 0}
    assert list(predictions())[-2:] == ["d.png", "unlucky.png"]
    assert "cam3/new.png" in predictions()


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_run_goes_on_and_gives_the_same_file(
    started, sightline, tmp_path: Path, grey_image, torn: bool
) -> None:
    folder = many(tmp_path, grey_image, 60)
    process = started("wildlife", str(folder), "--country", "KEN", STAND_IN_PAUSE_S="0.05")
    for _ in range(20):
        assert json.loads(process.stdout.readline())["status"] == "identified"
    process.kill()
    process.wait(timeout=10)
    assert not Path("predictions.json").exists()
    checkpoint = Path("predictions.json.checkpoint.jsonl")
    if torn:
        checkpoint.write_bytes(checkpoint.read_bytes()[:-30])
    result = sightline("wildlife", str(folder), "--country", "KEN")
    assert result.exit_code == 0
    assert counts(result.stdout)["kept"] >= 20 - torn
    assert sum(counts(result.stdout).values()) == 60
    sightline("wildlife", str(folder), "--country", "KEN", "--out", "at-once.json")
    assert Path("predictions.json").read_bytes() == Path("at-once.json").read_bytes()
    assert len(predictions()) == 60


def test_ctrl_c_says_how_to_go_on(started, sightline, tmp_path: Path, grey_image) -> None:
    folder = many(tmp_path, grey_image, 60)
    process = started("wildlife", str(folder), STAND_IN_PAUSE_S="0.1")
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr == "interrupted; the same command, without --force, goes on from here\n"
    found = counts(stdout)["identified"]
    assert 5 <= found < 60
    result = sightline("wildlife", str(folder))
    assert counts(result.stdout) == {"identified": 60 - found, "kept": found, "failed": 0}


def test_ctrl_c_does_not_wait_for_a_batch(started, tmp_path: Path, grey_image) -> None:
    folder = many(tmp_path, grey_image, 3)
    batches = tmp_path / "batches"
    process = started("wildlife", str(folder), STAND_IN_PAUSE_S="60", STAND_IN_BATCHES=str(batches))
    waited = threading.Event()
    while not batches.exists():
        assert process.poll() is None
        waited.wait(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130


def test_two_runs_do_not_write_one_file(started, sightline, tmp_path: Path, grey_image) -> None:
    folder = many(tmp_path, grey_image, 30)
    process = started("wildlife", str(folder), STAND_IN_PAUSE_S="0.2")
    process.stdout.readline()
    result = sightline("wildlife", str(folder))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: another run is writing predictions.json;")
    process.kill()


def test_a_disk_that_takes_nothing_more_is_one_clear_line(environment, folder: Path) -> None:
    def no_bytes_in_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))

    process = subprocess.run(
        [sys.executable, "-c", "from sightline.cli import main; main()", "wildlife", str(folder)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=no_bytes_in_files,
    )  # fmt: skip
    assert process.returncode == 1
    *_, line = process.stderr.splitlines()
    assert line == "error: predictions.json.checkpoint.jsonl cannot be written: File too large"
    assert not Path("predictions.json").exists()


# -- through a server --------------------------------------------------------------------------------------


def test_a_server_may_do_the_work(sightline, folder: Path, serve, plugins: Path, monkeypatch) -> None:
    places = ("--country", "KEN", "--instances", "places.csv", "--format", "speciesnet-5")
    Path("places.csv").write_text("filepath,latitude,longitude\ncam1/b.png,-6,35\n")
    here = sightline("wildlife", str(folder), *places, "--out", "here.json")
    url = str(serve(plugins_dir=plugins, api_keys=("key",)).base_url)
    to = ("--server", url, "--out", "there.json")
    refused = sightline("wildlife", str(folder), *places, *to)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "SIGHTLINE_API_KEY" in refused.stderr
    monkeypatch.setenv("SIGHTLINE_API_KEY", "key")
    there = sightline("wildlife", str(folder), *places, *to)
    assert (there.exit_code, here.exit_code) == (1, 1)
    assert Path("here.json").read_bytes() == Path("there.json").read_bytes()
    assert sorted(there.stdout.splitlines()) == sorted(here.stdout.splitlines())
    assert sorted(there.stderr.splitlines()[:-1]) == sorted(here.stderr.splitlines()[:-1])
    again = sightline("wildlife", str(folder), *places, *to)
    assert counts(again.stdout) == {"identified": 0, "kept": 4, "failed": 2}


def test_no_server_is_one_clear_line_at_once(sightline, folder: Path) -> None:
    result = sightline("wildlife", str(folder), "--server", "http://127.0.0.1:9")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no server answers at http://127.0.0.1:9 (")
    assert not list(Path().glob("predictions.json*"))


def test_ctrl_c_while_a_server_works_says_how_to_go_on(
    started, sightline, serve, plugins: Path, tmp_path: Path, grey_image, monkeypatch
) -> None:
    folder = many(tmp_path, grey_image, 60)
    monkeypatch.setenv("STAND_IN_PAUSE_S", "0.1")  # the server is in this process
    url = str(serve(plugins_dir=plugins).base_url)
    process = started("wildlife", str(folder), "--server", url)
    for _ in range(5):
        assert json.loads(process.stdout.readline())["status"] == "identified"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr == "interrupted; the same command, without --force, goes on from here\n"
    found = counts(stdout)["identified"]
    assert 5 <= found < 60
    monkeypatch.setenv("STAND_IN_PAUSE_S", "0")
    result = sightline("wildlife", str(folder), "--server", url)
    assert counts(result.stdout) == {"identified": 60 - found, "kept": found, "failed": 0}
    sightline("wildlife", str(folder), "--out", "at-once.json")
    assert Path("predictions.json").read_bytes() == Path("at-once.json").read_bytes()


# -- for people --------------------------------------------------------------------------------------------


def test_a_terminal_shows_progress_and_the_count(environment, folder: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from sightline.cli import main; main()", "wildlife", str(folder)],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "150", "STAND_IN_PAUSE_S": "0.3"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "\n")
    assert "loading the models" in text
    assert re.search(r"looking .* 6/6 +\d+\.\d/(s|min) +\d:\d\d:\d\d", text)
    assert "4 identified, 0 kept, 2 failed" in text
    assert "{" not in text


def test_names_cannot_steer_the_terminal(sightline, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "\x1b[31m.png").touch()
    result = sightline("wildlife", "in")
    assert result.exit_code == 1
    assert "\x1b" not in result.output


# -- truncated photos --------------------------------------------------------------------------------------


@pytest.fixture
def cut(tmp_path: Path, grey_image) -> Path:
    grey_image(tmp_path / "whole.jpg", 102)
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.jpg").write_bytes(data[:-2])
    return tmp_path / "cut"


def test_a_truncated_photo_fails_unless_it_is_to_be_filled(sightline, cut: Path) -> None:
    failed = sightline("wildlife", str(cut), *V4)
    assert failed.exit_code == 1
    assert predictions()["a.jpg"]["failures"] == ["CLASSIFIER", "DETECTOR"]
    filled = sightline("wildlife", str(cut), *V4, "--truncated", "fill")
    assert filled.exit_code == 0
    assert "failures" not in predictions()["a.jpg"]
    assert "truncated" in filled.stderr


def test_a_server_fills_truncated_photos(sightline, cut: Path, serve, plugins: Path, monkeypatch) -> None:
    url = str(serve(plugins_dir=plugins).base_url)
    assert sightline("wildlife", str(cut), *V4, "--server", url).exit_code == 1
    filled = sightline("wildlife", str(cut), *V4, "--server", url, "--truncated", "fill")
    assert filled.exit_code == 0
    assert "truncated" in filled.stderr
