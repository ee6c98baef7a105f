"""Collections through a running server: taught with real pictures, promoted, damaged, gone."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from sightline.collections import Classifier, Collection, Collections, Recipe, Space
from sightline.jobs.collections.examples import Examples, examples
from sightline.jobs.collections.training import train
from sightline.models.collections import LOOK_EVERY_S

SPACE = "clip-vit-b-32"
WAIT_S = 10.0


def patches(picture: np.ndarray, count: int, seed: int) -> list[bytes]:
    """Parts of a photograph at random places, 96×96, as PNG files."""
    generator = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    corners = zip(
        generator.integers(0, height - 96, count), generator.integers(0, width - 96, count), strict=True
    )
    files = []
    for top, left in corners:
        buffer = io.BytesIO()
        Image.fromarray(picture[top : top + 96, left : left + 96]).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def embedded(client: httpx2.Client, image: bytes) -> tuple[list[float], str]:
    """A picture's vector from the server, and the fingerprint it came with."""
    response = client.post(
        "/v1/operations/embed_clip_vit_b_32", content=image, headers={"content-type": "image/png"}
    )
    answer = response.json()["images"][0]["results"]["embed_clip_vit_b_32"]
    return answer["data"]["vector"], answer["model"]["fingerprint"]


@pytest.fixture(scope="module")
def taught(base_url: str) -> Examples:
    """Coffee is in the collection, gravel is not; vectors from the server's own pipeline."""
    with httpx2.Client(base_url=base_url, timeout=20, trust_env=False) as client:
        gravel = np.stack([skimage.data.gravel()] * 3, axis=-1)
        found = [
            (embedded(client, image), inside)
            for picture, inside in ((skimage.data.coffee(), True), (gravel, False))
            for image in patches(picture, 25, seed=1)
        ]
    vectors = [vector for (vector, _), _ in found]
    return examples(vectors, [inside for _, inside in found], [Space(SPACE, found[0][0][1])])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "collections"


@pytest.fixture
def collection(root: Path) -> Collection:
    return Collections(root).collection("coffee")


@pytest.fixture
def client(serve: Callable[..., httpx2.Client], root: Path) -> httpx2.Client:
    return serve(collections_dir=root)


def classify(client: httpx2.Client, image: bytes, collection_id: object = "coffee", **params: Any) -> Any:
    """The result of one task."""

    body = {
        "images": [{"base64": base64.b64encode(image).decode()}],
        "tasks": [
            {"id": "it", "operation": "classify", "params": {"collection_id": collection_id, **params}}
        ],
    }
    response = client.post("/v1/analyze", json=body)
    assert response.status_code == 200, response.text
    return response.json()["images"][0]["results"]["it"]


def eventually(ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    until = time.monotonic() + WAIT_S
    while not wanted(answer := ask()):
        assert time.monotonic() < until, f"it never came true: {answer}"
        time.sleep(LOOK_EVERY_S / 5)
    return answer


def stored(collection: Collection, recipe: Recipe, bias: float) -> Classifier:
    """A version that says ``bias`` of every picture."""
    with collection.changing() as change:
        added = change.add(recipe, np.zeros(recipe.dimensions), bias, origin="trained", trained_at=None)
        change.promote(added.record.version)
    return added


def test_real_pictures_through_the_real_pipeline(
    client: httpx2.Client, collection: Collection, taught: Examples
) -> None:
    assert classify(client, patches(skimage.data.coffee(), 1, seed=7)[0])["status"] == "skipped"
    done = train(collection, taught)
    assert done.trained.record.held_out is not None
    assert done.trained.record.held_out.macro_precision == 1.0
    gravel = np.stack([skimage.data.gravel()] * 3, axis=-1)
    for picture, inside in ((skimage.data.coffee(), True), (gravel, False)):
        for image in patches(picture, 3, seed=8):
            answer = classify(client, image)
            assert answer["status"] == "ok"
            assert answer["data"]["is_in_collection"] is inside
            vector = np.array(embedded(client, image)[0], np.float32)
            expected = done.serving.probabilities(vector[None])[0]
            assert answer["data"]["probability"] == pytest.approx(expected, abs=1e-6)
    assert answer["data"]["version"] == done.serving.record.version
    assert answer["data"]["threshold"] == done.serving.record.threshold
    assert answer["model"] == {
        "name": "collection-classifiers",
        "fingerprint": done.serving.fingerprint,
        "provenance": "trained",
    }
    assert answer["data"]["fingerprint"] == done.serving.fingerprint
    assert any("random weights" in warning for warning in answer["warnings"])


def test_a_promoted_version_serves_without_a_restart(
    client: httpx2.Client, collection: Collection, taught: Examples, cup: bytes
) -> None:
    first = stored(collection, taught.recipe, 1.0).record.version
    assert classify(client, cup)["data"]["version"] == first
    second = stored(collection, taught.recipe, -1.0).record.version
    answer = eventually(lambda: classify(client, cup)["data"], lambda data: data["version"] == second)
    assert answer["is_in_collection"] is False
    with collection.changing() as change:
        change.roll_back()
    answer = eventually(lambda: classify(client, cup)["data"], lambda data: data["version"] == first)
    assert answer["is_in_collection"] is True


def test_a_collection_that_vanished_is_skipped(
    client: httpx2.Client, collection: Collection, taught: Examples, cup: bytes
) -> None:
    stored(collection, taught.recipe, 1.0)
    assert classify(client, cup)["status"] == "ok"
    shutil.rmtree(collection.root / "coffee")
    answer = eventually(lambda: classify(client, cup), lambda answer: answer["status"] == "skipped")
    assert answer["error"]["code"] == "unknown_collection"


def test_a_damaged_version_is_an_error_of_its_task_alone(
    client: httpx2.Client, collection: Collection, taught: Examples, cup: bytes
) -> None:
    version = stored(collection, taught.recipe, 1.0).record.version
    (collection.root / f"coffee/versions/{version}.npz").write_bytes(b"")
    answer = classify(client, cup)
    assert answer["status"] == "error"
    assert answer["error"]["code"] == "collection_damaged"
    assert version in answer["error"]["message"]
    assert str(collection.root) not in answer["error"]["message"]


def test_vectors_of_another_model_are_refused(
    client: httpx2.Client, collection: Collection, taught: Examples, cup: bytes
) -> None:
    stored(collection, Recipe((Space(SPACE, "0" * 16),), taught.recipe.dimensions), 1.0)
    answer = classify(client, cup)
    assert answer["status"] == "error"
    assert answer["error"]["code"] == "vectors_refused"
    assert "train it again" in answer["error"]["message"]


@pytest.mark.parametrize("collection_id", [0, -1, 10**30, "", "../coffee", "a" * 5000, "\u0000"])
def test_ids_of_every_kind_are_skipped(client: httpx2.Client, cup: bytes, collection_id: object) -> None:
    answer = classify(client, cup, collection_id)
    assert answer["status"] == "skipped"
    assert answer["error"]["code"] == "unknown_collection"
    assert len(answer["error"]["message"]) < 300


@pytest.mark.parametrize(
    "params", [{}, {"collection_id": None}, {"collection_id": 1.5}, {"collection_id": [1]}]
)
def test_a_task_without_an_id_is_refused(client: httpx2.Client, cup: bytes, params: dict[str, Any]) -> None:
    response = client.post(
        "/v1/analyze",
        files={"image": ("a.jpg", cup, "image/jpeg")},
        data={"tasks": json.dumps([{"id": "it", "operation": "classify", "params": params}])},
    )
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_parameters"
    assert "collection_id" in response.json()["detail"]


def test_tasks_of_one_request_see_one_version(
    client: httpx2.Client, collection: Collection, taught: Examples, cup: bytes
) -> None:

    stored(collection, taught.recipe, 1.0)
    tasks = [{"id": str(n), "operation": "classify", "params": {"collection_id": "coffee"}} for n in range(8)]
    response = client.post(
        "/v1/analyze", files={"image": ("a.jpg", cup, "image/jpeg")}, data={"tasks": json.dumps(tasks)}
    )
    results = response.json()["images"][0]["results"].values()
    assert len({result["data"]["version"] for result in results}) == 1


def test_the_model_and_the_operation_are_listed(client: httpx2.Client) -> None:
    models = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert models["collection-classifiers"]["capabilities"] == ["membership"]
    operations = {each["name"]: each for each in client.get("/v1/operations").json()["operations"]}
    assert operations["classify"]["needs"] == ["membership", "image_embedding"]
    kinds = operations["classify"]["params"]["properties"]["collection_id"]["anyOf"]
    assert {kind["type"] for kind in kinds} == {"integer", "string"}
