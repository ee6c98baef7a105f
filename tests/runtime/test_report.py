from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from sightline.capabilities.detection import FACE_BOXES
from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.errors import Overloaded
from sightline.imaging import Picture
from sightline.operations import Answer, catalogue
from sightline.runtime.analyzer import Outcome, Status, Task
from sightline.runtime.report import error_report, outcome_report, picture_report
from sightline.runtime.telemetry import Trace
from sightline.types import Box, Detection, Provenance

SPACE = "clip-vit-b-32"


@pytest.fixture
async def report(start: Any, define: Any, finder: Any, mean_colour: Any, photo: Picture) -> dict[str, Any]:
    analyzer = start(
        define("faces", finder(lambda view: [Detection(Box(1, 2, 9, 9), 0.5, "face")]), FACE_BOXES),
        define("colour", mean_colour, IMAGE_EMBEDDING, space=SPACE),
    )
    tasks = [
        Task("face", "embed_clip", {"target": "prominent_face"}),
        Task("same face", "embed_clip", {"target": "prominent_face"}),
        Task("look", "embed_clip"),
        Task("person", "detect_bounding_box"),
    ]
    outcomes = await analyzer.analyze(photo, [analyzer.bind(task) for task in tasks], crops=True)
    return picture_report(photo, outcomes)


async def test_a_report_is_plain_json(report: dict[str, Any], photo: Picture) -> None:
    assert json.loads(json.dumps(report)) == report
    assert report["image"] == {
        "format": "png",
        "width": 64,
        "height": 48,
        "num_bytes": photo.facts.num_bytes,
        "sha256": photo.facts.sha256,
    }


async def test_an_answer_is_reported_whole(report: dict[str, Any]) -> None:
    face = report["results"]["face"]
    assert face["status"] == "ok"
    assert face["data"]["dimensions"] == 3
    assert face["region"] == {"target": "prominent_face", "box": [1, 2, 9, 9]}
    assert (face["model"]["name"], face["model"]["provenance"]) == ("colour", "built_in")
    assert set(face["timing_ms"]) == {"total", "load", "prepare", "queue", "infer"}
    assert base64.b64decode(face["crop"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert face["warnings"] == [
        "no person detector is installed, so the face was looked for in the whole image"
    ]
    assert "error" not in face


async def test_all_models_that_had_a_say_are_named_if_there_was_more_than_one(report: dict[str, Any]) -> None:
    results = report["results"]
    for task in ("face", "same face"):  # the second has both answers from the first
        assert [each["name"] for each in results[task]["models"]] == ["colour", "faces"]
        assert results[task]["model"] == results[task]["models"][0]
        assert all(each["fingerprint"] for each in results[task]["models"])
    assert results["look"]["model"]["name"] == "colour"
    assert "models" not in results["look"]
    assert "models" not in results["person"]


def test_what_an_operation_warns_of_is_reported() -> None:
    outcome = Outcome(
        "where",
        catalogue()["geolocate"],
        Status.OK,
        1.0,
        Trace(),
        Answer(None, warnings=("no names",)),
    )
    assert outcome_report(outcome)["warnings"] == ["no names"]


async def test_a_failure_is_reported_with_its_code(report: dict[str, Any]) -> None:
    person = report["results"]["person"]
    assert (person["status"], person["data"], person["model"], person["region"]) == (
        "error",
        None,
        None,
        None,
    )
    assert person["error"]["code"] == "model_unavailable"


def test_a_refusal_says_when_to_come_back() -> None:
    assert error_report(Overloaded("full", 7)) == {
        "code": "overloaded",
        "message": "full",
        "retry_after_s": 7,
    }


async def test_random_weights_are_marked_in_the_answer(
    start: Any, define: Any, mean_colour: Any, photo: Picture, tmp_path: Any
) -> None:
    from sightline.runtime.residency import wanted
    from sightline.weights.sources import Artifact

    files = (Artifact("weights.bin", ()),)
    definition = define("dice", mean_colour, IMAGE_EMBEDDING, files=files, space=SPACE)
    analyzer = start(definition, allow_random_weights=True)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "weights.bin").write_bytes(b"\1")
    analyzer.store.adopt(wanted(definition), tmp_path / "made", Provenance.RANDOM, "a test")
    outcomes = await analyzer.analyze(photo, [analyzer.bind(Task("t", "embed_clip"))])
    report = picture_report(photo, outcomes)["results"]["t"]
    assert report["model"]["provenance"] == "random"
    assert report["warnings"] == ["dice has random weights: the answer means nothing"]
