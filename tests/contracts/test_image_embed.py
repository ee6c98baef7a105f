"""The image-embed contract, by its examples, over real connections."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

FACE_BOX = pytest.approx([176, 67, 266, 185], abs=15)
FIELDS = {"status", "data", "cropped_image_bbox", "cropped_image_base64", "error_message"}


def upload(client, image, tasks):
    text = tasks if isinstance(tasks, str) else json.dumps(tasks)
    return client.post(
        "/analyze_image_upload/",
        files={"image_file": ("some_person.jpg", image, "image/jpeg")},
        data={"tasks_json": text},
    )


def task(identity, kind, **params):
    return {"operation_id": identity, "type": kind, "params": params}


def one(client, image, kind, **params):
    response = upload(client, image, [task("it", kind, **params)])
    assert response.status_code == 200, response.text
    return response.json()["results"]["it"]


def test_upload_example_finds_the_face(client, portrait):
    response = upload(
        client, portrait, [task("face_from_file", "detect_bounding_box", target="prominent_face")]
    )
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"image_url", "results"}
    assert body["image_url"] == "uploaded:some_person.jpg"
    result = body["results"]["face_from_file"]
    assert set(result) == FIELDS
    assert result["status"] == "success"
    assert result["data"] == FACE_BOX
    assert all(isinstance(corner, int) for corner in result["data"])
    assert result["cropped_image_bbox"] is None
    assert result["cropped_image_base64"] is None
    assert result["error_message"] is None


def test_face_embedding_comes_with_its_box_and_crop(client, portrait):
    result = one(client, portrait, "embed_clip_vit_b_32", target="prominent_face")
    assert result["status"] == "success"
    assert len(result["data"]) == 512
    assert all(isinstance(number, float) for number in result["data"])
    x_min, y_min, x_max, y_max = result["cropped_image_bbox"]
    assert [x_min, y_min, x_max, y_max] == FACE_BOX
    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(result["cropped_image_base64"]))))
    assert np.array_equal(crop, np.asarray(Image.open(io.BytesIO(portrait)))[y_min:y_max, x_min:x_max])


def test_whole_image_is_the_default_and_has_no_crop(client, portrait):
    named = one(client, portrait, "embed_clip_vit_b_32", target="whole_image")
    default = one(client, portrait, "embed_clip_vit_b_32")
    assert named["data"] == default["data"]
    assert default["cropped_image_bbox"] is None
    assert default["cropped_image_base64"] is None


def test_params_may_be_missing_or_null(client, portrait):
    tasks = [
        {"operation_id": "missing", "type": "embed_clip_vit_b_32"},
        {"operation_id": "null", "type": "embed_clip_vit_b_32", "params": None},
        {"operation_id": "null target", "type": "embed_clip_vit_b_32", "params": {"target": None}},
    ]
    results = upload(client, portrait, tasks).json()["results"]
    assert [results[each]["status"] for each in results] == ["success"] * 3


def test_parameters_an_operation_does_not_know_are_ignored(client, portrait):
    assert one(client, portrait, "embed_clip_vit_b_32", max_length=50, foo="bar")["status"] == "success"


def test_no_face_detected_is_success_with_null(client, cup):
    result = one(client, cup, "detect_bounding_box", target="prominent_face")
    assert result == {
        "status": "success",
        "data": None,
        "cropped_image_bbox": None,
        "cropped_image_base64": None,
        "error_message": None,
    }


def test_embedding_a_face_that_is_not_there_is_skipped(client, cup):
    result = one(client, cup, "embed_clip_vit_b_32", target="prominent_face")
    assert result["status"] == "skipped"
    assert result["data"] is None
    assert result["error_message"] == "No prominent face found for operation 'it'."


def test_unknown_operation_is_skipped(client, portrait):
    result = one(client, portrait, "embed_everything")
    assert result["status"] == "skipped"
    assert result["error_message"] == "Unsupported operation type: 'embed_everything'"


def test_unsupported_target_is_skipped_and_names_the_allowed(client, portrait):
    result = one(client, portrait, "detect_bounding_box", target="whole_image")
    assert result["status"] == "skipped"
    assert result["error_message"] == (
        "Unsupported target 'whole_image' for 'detect_bounding_box'. "
        "Allowed: ['prominent_person', 'prominent_face']"
    )


def test_a_task_that_cannot_be_done_is_its_own_error(client, portrait):
    tasks = [
        task("bad", "embed_clip", model="clip-vit-z"),
        task("good", "embed_clip_vit_b_32"),
    ]
    results = upload(client, portrait, tasks).json()["results"]
    assert results["bad"]["status"] == "error"
    assert results["bad"]["error_message"].startswith("Internal error processing task: ")
    assert results["good"]["status"] == "success"


def test_results_keep_the_order_and_the_last_of_equal_ids_wins(client, portrait):
    tasks = [
        task("b", "embed_everything"),
        task("a", "detect_bounding_box", target="prominent_face"),
        task("b", "embed_clip_vit_b_32"),
    ]
    results = upload(client, portrait, tasks).json()["results"]
    assert list(results) == ["b", "a"]
    assert results["b"]["status"] == "success"


def test_no_tasks_is_an_empty_answer(client, portrait):
    assert upload(client, portrait, []).json()["results"] == {}


def test_random_weights_are_said_in_a_header(client, portrait):
    response = upload(client, portrait, [task("it", "embed_clip_vit_b_32")])
    assert "random weights" in response.headers["x-sightline-warning"]


def test_available_operations(client):
    operations = client.get("/available_operations/").json()["operations"]
    assert set(operations["detect_bounding_box"]) == {"description", "allowed_targets", "default_target"}
    assert operations["detect_bounding_box"]["allowed_targets"] == ["prominent_person", "prominent_face"]
    assert operations["detect_bounding_box"]["default_target"] == "prominent_person"
    embed = operations["embed_clip_vit_b_32"]
    assert embed["allowed_targets"] == ["whole_image", "prominent_person", "prominent_face"]
    assert embed["default_target"] == "whole_image"


BAD_UPLOADS = {
    "not JSON": "[{",
    "no list": '{"operation_id": "a"}',
    "task no object": "[1]",
    "no type": '[{"operation_id": "a"}]',
    "params no object": '[{"operation_id": "a", "type": "b", "params": [1]}]',
    "1,000 tasks": json.dumps([task(str(n), "embed_clip_vit_b_32") for n in range(1000)]),
}


@pytest.mark.parametrize("name", BAD_UPLOADS)
def test_bad_tasks_are_400_with_a_detail(client, portrait, name):
    response = upload(client, portrait, BAD_UPLOADS[name])
    assert response.status_code == 400
    assert set(response.json()) == {"detail"}


def test_bad_tasks_json_is_said_in_the_contracts_words(client, portrait):
    detail = upload(client, portrait, "[{").json()["detail"]
    assert detail.startswith("Invalid tasks JSON format or structure: ")


def test_upload_that_is_no_image_is_400(client):
    response = upload(client, b"not an image", [task("it", "embed_clip_vit_b_32")])
    assert response.status_code == 400
    assert response.json()["detail"].startswith("Could not process image: ")


def test_upload_without_its_fields_is_400(client, portrait):
    response = client.post("/analyze_image_upload/", files={"file": ("a.jpg", portrait, "image/jpeg")})
    assert response.status_code == 400
    assert "image_file" in response.json()["detail"]


@pytest.mark.parametrize("body", [[], {}, {"image_url": 3, "tasks": []}, {"image_url": "http://a"}])
def test_bad_url_requests_are_400(client, body):
    response = client.post("/analyze_image/", json=body)
    assert response.status_code == 400
    assert set(response.json()) == {"detail"}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.jpg", "http://169.254.169.254/latest", "ftp://example.org/a", "nonsense"]
)
def test_urls_that_may_not_be_fetched_are_400(client, url):
    response = client.post("/analyze_image/", json={"image_url": url, "tasks": []})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("Could not download image from URL: ")
