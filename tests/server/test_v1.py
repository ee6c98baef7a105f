"""``/v1/analyze`` in all its input forms, and the pages beside it, over real connections."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

FACE = {"id": "face", "operation": "detect_bounding_box", "params": {"target": "prominent_face"}}
LOOK = {"id": "look", "operation": "embed_clip"}
# Where a person sees the astronaut's face, with the slack of taste.
FACE_BOX = pytest.approx([176, 67, 266, 185], abs=15)


def results(response, image=0):
    assert response.status_code == 200, response.text
    return response.json()["images"][image]["results"]


def upload(client, portrait, tasks=None, **fields):
    data = {**({"tasks": json.dumps(tasks)} if tasks is not None else {}), **fields}
    return client.post("/v1/analyze", files={"image": ("me.jpg", portrait, "image/jpeg")}, data=data)


def test_photo_alone_is_asked_the_default_tasks(client, portrait):
    response = upload(client, portrait)
    found = results(response)
    assert list(found)[:2] == ["person", "face"]
    assert found["person"]["error"]["code"] == "model_unavailable"  # this server has no weights for it
    assert found["face"]["status"] == "ok"
    assert found["face"]["data"]["box"] == FACE_BOX
    assert found["face"]["data"]["score"] > 0.99
    assert found["clip"]["data"]["dimensions"] == 512
    image = response.json()["images"][0]["image"]
    assert (image["format"], image["width"], image["height"]) == ("jpeg", 512, 512)
    assert image["num_bytes"] == len(portrait)


def test_random_weights_are_marked_in_every_answer(client, portrait):
    found = results(upload(client, portrait, [LOOK, FACE]))
    assert found["look"]["model"]["provenance"] == "random"
    assert any("random weights" in warning for warning in found["look"]["warnings"])
    assert found["face"]["model"]["provenance"] == "pulled"
    assert not any("random weights" in warning for warning in found["face"].get("warnings", []))


def test_every_form_gives_the_same_answer(client, portrait):
    tasks = [{"operation": "embed_clip"}]
    text = base64.b64encode(portrait).decode()
    answers = [
        upload(client, portrait, tasks),
        upload(client, portrait, operation="embed_clip"),
        client.post("/v1/analyze", json={"base64": text, "tasks": tasks}),
        client.post(
            "/v1/analyze", json={"images": [{"base64": f"data:image/png;base64,{text}"}], "tasks": tasks}
        ),
        client.post("/v1/analyze", json={"base64": text, "tasks": ["embed_clip"]}),
        client.post(
            "/v1/analyze?operation=embed_clip", content=portrait, headers={"content-type": "image/jpeg"}
        ),
        client.post(
            "/v1/analyze?operation=embed_clip",
            content=portrait,
            headers={"content-type": "application/octet-stream"},
        ),
    ]
    vectors = [results(answer)["embed_clip"]["data"]["vector"] for answer in answers]
    assert len(vectors[0]) == 512
    assert all(vector == vectors[0] for vector in vectors)


def test_query_parameters_belong_to_the_operation(client, portrait):
    response = client.post(
        "/v1/analyze?operation=detect_bounding_box&target=prominent_face&face_context=whole_image",
        content=portrait,
        headers={"content-type": "image/jpeg"},
    )
    assert results(response)["detect_bounding_box"]["data"]["box"] == FACE_BOX


def test_several_images_in_one_request(client, portrait, cup):
    files = [("image", ("a.jpg", portrait, "image/jpeg")), ("image", ("b.jpg", cup, "image/jpeg"))]
    response = client.post("/v1/analyze", files=files, data={"tasks": json.dumps([FACE])})
    first, second = response.json()["images"]
    assert (first["index"], first["source"]) == (0, "upload:a.jpg")
    assert first["results"]["face"]["data"]["box"] == FACE_BOX
    assert second["source"] == "upload:b.jpg"
    assert second["results"]["face"]["status"] == "ok"
    assert second["results"]["face"]["data"] is None


def test_one_bad_image_among_good_ones_fails_alone(client, portrait):
    files = [("image", ("a.jpg", portrait, "")), ("image", ("b.jpg", b"GIF89a no", ""))]
    response = client.post("/v1/analyze", files=files, data={"tasks": json.dumps([LOOK])})
    assert response.status_code == 200
    good, bad = response.json()["images"]
    assert good["results"]["look"]["status"] == "ok"
    assert bad["results"] == {}
    assert bad["error"]["code"] in ("invalid_image", "unsupported_image")


def test_crops_show_the_region_an_answer_is_about(client, portrait):
    face = {**LOOK, "params": {"target": "prominent_face"}}
    found = results(upload(client, portrait, [face, {**LOOK, "id": "all"}], crops="true"))
    x_min, y_min, x_max, y_max = found["look"]["region"]["box"]
    assert found["look"]["region"]["target"] == "prominent_face"
    head, _, body = found["look"]["crop"].partition(",")
    assert head == "data:image/png;base64"
    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
    whole = np.asarray(Image.open(io.BytesIO(portrait)))
    assert np.array_equal(crop, whole[y_min:y_max, x_min:x_max])
    assert "crop" not in found["all"]


def test_no_face_is_a_skipped_task_and_the_others_answer(client, cup):
    tasks = [{**LOOK, "params": {"target": "prominent_face"}}, {**LOOK, "id": "all"}, FACE]
    found = results(upload(client, cup, tasks))
    assert found["look"]["status"] == "skipped"
    assert found["look"]["error"]["code"] == "target_not_found"
    assert found["all"]["status"] == "ok"
    assert found["face"] | {"timing_ms": 0} == found["face"] | {"data": None, "status": "ok", "timing_ms": 0}


def test_a_person_without_the_detectors_weights_says_how_to_get_them(client, portrait):
    """The face is looked for in the whole image then, and says so: nobody needs the larger model for it."""
    person = {"id": "person", "operation": "detect_bounding_box", "params": {"target": "prominent_person"}}
    found = results(upload(client, portrait, [person, {"id": "all", "operation": "detect_objects"}, FACE]))
    for task in ("person", "all"):
        assert found[task]["status"] == "error"
        assert found[task]["error"]["code"] == "model_unavailable"
        assert "sightline models pull fasterrcnn-resnet50-fpn" in found[task]["error"]["message"]
    assert found["face"]["status"] == "ok"
    assert found["face"]["data"]["box"] == FACE_BOX
    assert any("whole image" in warning for warning in found["face"]["warnings"])


def test_missing_weights_say_how_to_get_them(client):
    text = {"tasks": [{"operation": "embed_text", "params": {"text": "a dog"}}]}
    response = client.post("/v1/analyze", json=text)
    assert response.status_code == 503
    assert response.json()["code"] == "model_unavailable"
    assert "sightline models" in response.json()["detail"]


def test_timings_are_reported(client, portrait):
    timing = results(upload(client, portrait, [LOOK]))["look"]["timing_ms"]
    assert set(timing) == {"total", "load", "prepare", "queue", "infer"}
    assert timing["infer"] > 0
    assert timing["total"] >= timing["infer"]


def test_base64_vectors_hold_the_same_numbers(client, portrait):
    packed = {"id": "packed", "operation": "embed_clip", "params": {"encoding": "base64", "normalize": True}}
    found = results(upload(client, portrait, [LOOK, packed]))
    raw = np.array(found["look"]["data"]["vector"])
    vector = np.frombuffer(base64.b64decode(found["packed"]["data"]["vector"]), "<f4")
    assert vector == pytest.approx(raw / np.linalg.norm(raw), abs=1e-6)
    assert found["packed"]["data"]["normalized"] is True


MALFORMED = {
    "not JSON": (b"{", 400, "invalid_request"),
    "not an object": (b"[1]", 400, "invalid_request"),
    "NaN": (b'{"tasks": NaN}', 400, "invalid_request"),
    "deep": (b'{"tasks":' + b"[" * 60 + b"]" * 60 + b"}", 400, "invalid_request"),
    "very deep": (b"[" * 100_000, 400, "invalid_request"),
    "unknown field": (b'{"taks": []}', 400, "invalid_request"),
    "tasks no list": (b'{"tasks": "embed_clip"}', 400, "invalid_request"),
    "task no object": (b'{"tasks": [1]}', 400, "invalid_request"),
    "task with unknown field": (
        b'{"tasks": [{"operation": "embed_clip", "parms": {}}]}',
        400,
        "invalid_request",
    ),
    "same id twice": (b'{"tasks": ["embed_clip", "embed_clip"]}', 400, "invalid_request"),
    "1,000 tasks": (json.dumps({"tasks": [f"t{n}" for n in range(1000)]}).encode(), 400, "invalid_request"),
    "unknown operation": (b'{"base64": "", "tasks": ["embed_clop"]}', 422, "unknown_operation"),
    "unknown parameter": (
        b'{"base64": "", "tasks": [{"operation": "embed_clip", "params": {"size": 3}}]}',
        422,
        "invalid_parameters",
    ),
    "unknown target": (
        b'{"base64": "", "tasks": [{"operation": "embed_clip", "params": {"target": "left_ear"}}]}',
        422,
        "invalid_parameters",
    ),
    "no image": (b'{"tasks": ["embed_clip"]}', 400, "invalid_request"),
    "image with both": (b'{"images": [{"url": "http://a", "base64": ""}]}', 400, "invalid_request"),
    "bad base64": (b'{"base64": "&&&&"}', 400, "invalid_request"),
    "empty image": (b'{"base64": ""}', 422, "invalid_image"),
    "17 images": (json.dumps({"images": [{"url": "http://a"}] * 17}).encode(), 400, "invalid_request"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json_is_a_problem_that_names_the_mistake(client, name):
    body, status, code = MALFORMED[name]
    response = client.post("/v1/analyze", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert client.get(problem["type"]).status_code == 200


def test_unknown_operation_lists_what_there_is(client, portrait):
    response = upload(client, portrait, ["embed_clop"])
    assert "embed_clip" in response.json()["detail"]


def test_unknown_embedding_space_is_that_tasks_error(client, portrait):
    other = {"id": "other", "operation": "embed_clip", "params": {"model": "clip-vit-z"}}
    found = results(upload(client, portrait, [other, FACE]))
    assert found["other"]["status"] == "error"
    assert found["other"]["error"]["code"] == "unknown_model"
    assert "clip-vit-l-14" in found["other"]["error"]["message"]


def test_form_fields_nobody_knows_are_refused(client, portrait):
    response = upload(client, portrait, taks="[]")
    assert response.status_code == 400
    assert "taks" in response.json()["detail"]


def test_other_content_types_are_refused(client):
    response = client.post("/v1/analyze", content=b"a=b", headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert "multipart/form-data" in response.json()["detail"]


def test_operations_page_has_what_a_client_needs(client):
    operations = {each["name"]: each for each in client.get("/v1/operations").json()["operations"]}
    assert {"detect_bounding_box", "embed_clip", "embed_clip_vit_b_32", "embed_text"} <= set(operations)
    embed = operations["embed_clip"]
    assert embed["default_target"] == "whole_image"
    assert "normalize" in embed["params"]["properties"]
    assert embed["example"]["operation"] == "embed_clip"


def test_models_page_says_how_each_stands(client, portrait):
    results(upload(client, portrait, [FACE]))
    models = {each["name"]: each for each in client.get("/v1/models").json()["models"]}
    assert models["mtcnn"]["state"] == "ready"
    assert models["mtcnn"]["provenance"] == "pulled"
    assert models["mtcnn"]["licence"] == "MIT"
    assert models["clip-vit-b-32"]["provenance"] == "random"
    assert models["clip-vit-l-14"]["state"] in ("missing", "failed")


def test_openapi_knows_every_operation(client):
    schema = client.get("/openapi.json").json()
    names = json.dumps(schema["components"]["schemas"]["Task"])
    assert "EmbedClipTask" in names
    assert schema["paths"]["/v1/analyze"]["post"]["requestBody"]["content"].keys() >= {"multipart/form-data"}


def test_docs_page_needs_no_other_host(client):
    """What a browser makes of them is in tests/browser."""
    for page in ("/docs", "/redoc"):
        answer = client.get(page)
        assert answer.status_code == 200
        assert "//" not in answer.text, "addresses are relative"
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        for address in re.findall(r'(?:src|href|spec-url)="([^"]+)"', answer.text):
            assert client.get(f"/{address}").status_code == 200, address


def test_docs_pages_need_no_key_and_say_where_one_goes(serve):
    client = serve(api_keys=(SecretStr("k"),))
    for path in ("/docs", "/docs/start.js", "/docs/assets/swagger-ui.css", "/redoc"):
        assert client.get(path).status_code == 200, path
    described = client.get("/openapi.json").json()
    assert described["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    assert {"ApiKey": []} in described["security"]
    assert client.get("/v1/operations").status_code == 401


def test_unknown_paths_are_problems_too(client):
    response = client.get("/v1/nothing")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"
    assert client.get("/nothing").json() == {"detail": "Not Found"}
