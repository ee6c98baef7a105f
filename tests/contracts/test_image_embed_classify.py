"""``classify`` as the image-embed contract has it, over real connections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from sightline.collections import Collections, Recipe, Space
from sightline.types import FaceContext, Target

FIELDS = {"status", "data", "cropped_image_bbox", "cropped_image_base64", "error_message"}
FACE_BOX = pytest.approx([176, 67, 266, 185], abs=15)
PERSON_BOX = [50, 20, 400, 500]
CLIP = (Space("clip-vit-b-32"),)

# Finds one person, always in the same place. Its name comes before that of the built-in detector.
PERSON_DETECTOR = f"""
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.detection import PERSON, PERSON_BOXES
from sightline.types import Box, Detection

class OnePerson:
    def prepare(self, view):
        return view

    def infer(self, items):
        return [[Detection(Box(*{PERSON_BOX}), 0.9, PERSON)] for _ in items]

CARD = ModelCard(
    name="a-person", capabilities=frozenset({{PERSON_BOXES}}), description="d", licence="CC0-1.0",
    homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0,
)
MODELS = (ModelDefinition(CARD, lambda files, graphs: OnePerson()),)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Collection 7 judges whole images, 8 faces wherever they are, 9 persons. All say yes to everything."""
    root = tmp_path / "collections"
    recipes = {
        7: Recipe(CLIP, 512),
        8: Recipe(CLIP, 512, Target.PROMINENT_FACE, FaceContext.WHOLE_IMAGE),
        9: Recipe(CLIP, 512, Target.PROMINENT_PERSON),
    }
    for name, recipe in recipes.items():
        with Collections(root).collection(name).changing() as change:
            added = change.add(recipe, np.zeros(512), 2.0, origin="trained", trained_at=None)
            change.promote(added.record.version)
    return root


@pytest.fixture
def client(serve: Callable[..., httpx2.Client], root: Path) -> httpx2.Client:
    return serve(collections_dir=root)


@pytest.fixture
def with_person(serve: Callable[..., httpx2.Client], root: Path, tmp_path: Path) -> httpx2.Client:
    (tmp_path / "plugins/models").mkdir(parents=True)
    (tmp_path / "plugins/models/a_person.py").write_text(PERSON_DETECTOR)
    return serve(collections_dir=root, plugins_dir=tmp_path / "plugins")


def ask(client: httpx2.Client, image: bytes, *tasks: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of (type, params) in their order."""
    listed = [
        {"operation_id": str(number), "type": kind, "params": params}
        for number, (kind, params) in enumerate(tasks)
    ]
    response = client.post(
        "/analyze_image_upload/",
        files={"image_file": ("some_person.jpg", image, "image/jpeg")},
        data={"tasks_json": json.dumps(listed)},
    )
    assert response.status_code == 200, response.text
    return list(response.json()["results"].values())


def classify(collection_id: object, **params: Any) -> tuple[str, dict[str, Any]]:
    return "classify", {"collection_id": collection_id, **params}


def detect(target: str) -> tuple[str, dict[str, Any]]:
    return "detect_bounding_box", {"target": target, "face_context": "whole_image"}


@pytest.mark.parametrize("collection_id", [7, "7"])
def test_the_answer_of_the_contract(client: httpx2.Client, cup: bytes, collection_id: object) -> None:
    (result,) = ask(client, cup, classify(collection_id))
    assert set(result) == FIELDS
    assert result["status"] == "success"
    assert set(result["data"]) == {"is_in_collection", "probability"}
    assert result["data"]["is_in_collection"] is True
    assert result["data"]["probability"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-9)
    assert result["cropped_image_bbox"] is None
    assert result["cropped_image_base64"] is None
    assert result["error_message"] is None


@pytest.mark.parametrize("collection_id", [4711, "no-such", "../7", -1])
def test_an_unknown_collection_is_skipped(client: httpx2.Client, cup: bytes, collection_id: object) -> None:
    unknown, known = ask(client, cup, classify(collection_id), classify(7))
    assert unknown["status"] == "skipped"
    assert unknown["data"] is None
    assert unknown["error_message"] == f"Classifier not found for collection_id {collection_id}."
    assert known["status"] == "success"


@pytest.mark.parametrize("params", [{}, {"collection_id": None}, {"target": "whole_image"}])
def test_the_id_is_required(client: httpx2.Client, cup: bytes, params: dict[str, Any]) -> None:
    (result,) = ask(client, cup, ("classify", params))
    assert result["status"] == "skipped"
    assert result["error_message"] == "'collection_id' param is required for 'classify' operation."


def test_an_unsupported_target_is_skipped(client: httpx2.Client, cup: bytes) -> None:
    (result,) = ask(client, cup, classify(7, target="left_hand"))
    assert result["status"] == "skipped"
    assert result["error_message"] == (
        "Unsupported target 'left_hand' for 'classify'. "
        "Allowed: ['whole_image', 'prominent_person', 'prominent_face']"
    )


def test_the_collections_target_wins_over_the_tasks(client: httpx2.Client, portrait: bytes) -> None:
    whole, face = ask(
        client, portrait, classify(7, target="prominent_face"), classify(8, target="whole_image")
    )
    assert whole["cropped_image_bbox"] is None
    assert face["cropped_image_bbox"] == FACE_BOX
    assert whole["status"] == face["status"] == "success"


def test_no_face_to_judge_is_skipped(client: httpx2.Client, cup: bytes) -> None:
    (result,) = ask(client, cup, classify(8))
    assert result["status"] == "skipped"
    assert result["error_message"] == "No prominent face found for operation '0'."


def test_the_last_box_that_is_known_comes_along_and_no_crop(
    with_person: httpx2.Client, portrait: bytes
) -> None:
    results = ask(
        with_person,
        portrait,
        classify(7),
        detect("prominent_person"),
        classify(7),
        detect("prominent_face"),
        classify(7),
        classify(9),
    )
    before, _, after_person, face, after_face, judged_person = results
    assert before["cropped_image_bbox"] is None
    assert after_person["cropped_image_bbox"] == PERSON_BOX
    assert after_face["cropped_image_bbox"] == face["data"]
    assert judged_person["cropped_image_bbox"] == face["data"], "a face goes before a person"
    assert [result["cropped_image_base64"] for result in results] == [None] * 6


def test_the_box_that_was_judged_is_known(with_person: httpx2.Client, cup: bytes) -> None:
    person, whole = ask(with_person, cup, classify(9), classify(7))
    assert person["cropped_image_bbox"] == whole["cropped_image_bbox"] == [50, 20, 400, 400]


def test_a_face_that_was_embedded_is_known_too(client: httpx2.Client, portrait: bytes) -> None:
    face = {"target": "prominent_face", "face_context": "whole_image"}
    embedded, judged = ask(client, portrait, ("embed_clip_vit_b_32", face), classify(7))
    assert judged["cropped_image_bbox"] == embedded["cropped_image_bbox"] == FACE_BOX
    assert embedded["cropped_image_base64"]
    assert judged["cropped_image_base64"] is None


def test_boxes_that_were_not_found_are_not_known(client: httpx2.Client, cup: bytes) -> None:
    _, judged = ask(client, cup, detect("prominent_face"), classify(7))
    assert judged["cropped_image_bbox"] is None


def test_a_model_nobody_recorded_is_said_in_a_header(client: httpx2.Client, cup: bytes) -> None:
    tasks = json.dumps([{"operation_id": "it", "type": "classify", "params": {"collection_id": 7}}])
    response = client.post(
        "/analyze_image_upload/",
        files={"image_file": ("a.jpg", cup, "image/jpeg")},
        data={"tasks_json": tasks},
    )
    assert "from a model nobody recorded" in response.headers["x-sightline-warning"]


def test_a_damaged_version_is_an_error_of_its_own(client: httpx2.Client, cup: bytes, root: Path) -> None:
    for path in (root / "7/versions").glob("*.npz"):
        path.write_bytes(b"")
    damaged, whole = ask(client, cup, classify(7), ("embed_clip_vit_b_32", {}))
    assert damaged["status"] == "error"
    assert damaged["error_message"].startswith("Internal error processing task: version ")
    assert whole["status"] == "success"


def test_it_is_listed(client: httpx2.Client) -> None:
    listed = client.get("/available_operations/").json()["operations"]["classify"]
    assert listed["allowed_targets"] == ["whole_image", "prominent_person", "prominent_face"]
    assert listed["default_target"] == "whole_image"
    assert listed["description"]
