"""Teaching a running server: uploads, JSON, background jobs, what serves, what is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import skimage.data
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.collections import Collections, Recipe, Space
from sightline.models.collections import LOOK_EVERY_S
from sightline.server.app import create_app, wrapped
from sightline.settings import Settings

WAIT_S = 30.0
GRAVEL = np.stack([skimage.data.gravel()] * 3, axis=-1)


def tiles(pixels: np.ndarray, count: int, start: int = 0) -> list[bytes]:
    """Parts of a photograph as PNG files, another one for each number."""
    found = []
    for number in range(start, start + count):
        top, left = 20 * (number // 10), 20 * (number % 10)
        buffer = io.BytesIO()
        Image.fromarray(pixels[top : top + 96, left : left + 96]).save(buffer, "PNG")
        found.append(buffer.getvalue())
    return found


COFFEE, STONES = tiles(skimage.data.coffee(), 12), tiles(GRAVEL, 12)


def files(inside: list[bytes] = COFFEE, outside: list[bytes] = STONES) -> list[tuple[str, Any]]:
    return [
        (side, (f"{number}.png", data, "image/png"))
        for side, images in (("in", inside), ("out", outside))
        for number, data in enumerate(images)
    ]


def encoded(images: list[bytes]) -> list[dict[str, str]]:
    return [{"base64": base64.b64encode(data).decode()} for data in images]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "collections"


@pytest.fixture
def client(serve: Callable[..., httpx2.Client], root: Path) -> httpx2.Client:
    return serve(collections_dir=root)


def eventually(ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    until = time.monotonic() + WAIT_S
    while not wanted(answer := ask()):
        assert time.monotonic() < until, f"it never came true: {answer}"
        time.sleep(LOOK_EVERY_S / 5)
    return answer


def ended(client: httpx2.Client, response: httpx2.Response) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    where = response.headers["location"]
    return eventually(lambda: client.get(where).json(), lambda job: job["ended_at"] is not None)


def taught(client: httpx2.Client, collection: str = "coffee", **more: Any) -> dict[str, Any]:
    job = ended(client, client.post(f"/v1/collections/{collection}/train", files=files(), **more))
    assert job["state"] == "done", job
    return job


def classify(client: httpx2.Client, image: bytes, collection: str = "coffee") -> Any:
    response = client.post(
        "/v1/operations/classify", params={"collection_id": collection}, files={"image": image}
    )
    assert response.status_code == 200, response.text
    return response.json()["images"][0]["results"]["classify"]


@pytest.fixture
def taught_once(serve: Callable[..., httpx2.Client], root: Path) -> httpx2.Client:
    """Of a server whose collection "coffee" has one version."""
    with Collections(root).collection("coffee").changing() as change:
        recipe = Recipe((Space("clip-vit-b-32"),), 512)
        added = change.add(recipe, np.zeros(512), 0.0, origin="trained", trained_at=None)
        change.promote(added.record.version)
    return serve(collections_dir=root)


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_teaching_by_uploads_end_to_end(client: httpx2.Client) -> None:
    assert classify(client, COFFEE[0])["status"] == "skipped"
    response = client.post("/v1/collections/coffee/train", files=files())
    first = response.json()
    assert (first["collection"], first["total"], first["error"]) == ("coffee", 24, None)
    job = ended(client, response)
    assert job["state"] == "done", job
    version = job["result"]["serving"]
    assert job["result"]["trained"]["version"] == version
    assert job["result"]["trained"]["examples"] == 19
    answers = [
        classify(client, image) for image in (*tiles(skimage.data.coffee(), 3, 30), *tiles(GRAVEL, 3, 30))
    ]
    assert [answer["data"]["is_in_collection"] for answer in answers] == [True] * 3 + [False] * 3
    assert {answer["data"]["version"] for answer in answers} == {version}


def test_a_second_training_serves_without_a_restart_and_embeds_only_what_is_new(
    client: httpx2.Client, root: Path
) -> None:
    first = taught(client)
    # Stones are inside now: an answer can only come from the new version if it says so.
    body = {
        "in": [{"id": image} for image in first["result"]["images"]["out"]],
        "out": [{"id": image} for image in first["result"]["images"]["in"]] + encoded(tiles(GRAVEL, 1, 40)),
    }
    second = ended(client, client.post("/v1/collections/coffee/train", json=body))
    assert (second["state"], second["result"]["reused"]) == ("done", 24)
    assert second["result"]["serving"] == second["result"]["trained"]["version"]
    answer = eventually(
        lambda: classify(client, STONES[0])["data"],
        lambda data: data["version"] == second["result"]["serving"],
    )
    assert answer["is_in_collection"] is True
    assert Collections(root).collection("coffee").index().history == (first["result"]["serving"],)


def test_images_by_url_and_by_base64(client: httpx2.Client) -> None:
    body = {
        "in": [*encoded(COFFEE), {"url": "http://127.0.0.1:9/photo.jpg"}, {"id": "f" * 64}],
        "out": encoded(STONES),
        "embedding": "clip",
    }
    job = ended(client, client.post("/v1/collections/7/train", json=body))
    assert job["state"] == "done"
    skipped = {each["name"]: each["reason"] for each in job["result"]["skipped"]}
    assert skipped.keys() == {"in[12]", "in[13]"}
    assert "send the picture" in skipped["in[13]"]


def test_bad_files_are_listed_and_image_ids_given(client: httpx2.Client) -> None:
    inside = [*COFFEE, b"no image", COFFEE[0][: len(COFFEE[0]) // 2]]
    job = ended(client, client.post("/v1/collections/7/train", files=files(inside)))
    assert [each["name"] for each in job["result"]["skipped"]] == ["in/12.png", "in/13.png"]
    assert job["result"]["images"]["in"] == [hashlib.sha256(data).hexdigest() for data in COFFEE]
    assert any("random weights" in warning for warning in job["result"]["warnings"])


def test_what_cannot_be_learnt_fails_and_the_served_version_stays(client: httpx2.Client, root: Path) -> None:
    version = taught(client)["result"]["serving"]
    for inside, said in (
        (COFFEE[:3], "too few"),
        ([b"x"] * 9, "of one class"),
        (STONES, "inside and outside"),
    ):
        job = ended(client, client.post("/v1/collections/coffee/train", files=files(inside)))
        assert job["state"] == "failed"
        assert job["error"]["code"] == "invalid_examples"
        assert said in job["error"]["message"]
    assert Collections(root).collection("coffee").versions() == [version]
    assert classify(client, COFFEE[0])["data"]["version"] == version


def test_collections_are_listed_and_shown(client: httpx2.Client) -> None:
    assert client.get("/v1/collections").json() == {"collections": []}
    job = taught(client)
    (entry,) = client.get("/v1/collections").json()["collections"]
    assert (entry["collection"], entry["versions"], entry["problem"]) == ("coffee", 1, None)
    assert entry["serving"]["version"] == job["result"]["serving"]
    shown = client.get("/v1/collections/coffee").json()
    assert shown["serving"] == job["result"]["serving"]
    assert shown["versions"][0]["recipe"]["dimensions"] == 512
    assert shown["trainings"] == [{"job": job["job"], "state": "done"}]


def test_promote_and_roll_back(client: httpx2.Client) -> None:
    versions = [taught(client)["result"]["trained"]["version"] for _ in range(2)]
    before = client.get("/v1/collections/coffee").json()["serving"]
    other = next(version for version in versions if version != before)
    done = client.post("/v1/collections/coffee/promote", json={"version": other})
    assert (done.status_code, done.json()["serving"]["version"]) == (200, other)
    eventually(lambda: classify(client, COFFEE[0])["data"]["version"], lambda version: version == other)
    done = client.post("/v1/collections/coffee/rollback")
    assert (done.status_code, done.json()["serving"]["version"]) == (200, before)
    eventually(lambda: classify(client, COFFEE[0])["data"]["version"], lambda version: version == before)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "nothing", None, 404, "unknown_collection"),
        ("GET", "..%5Cx", None, 404, "unknown_collection"),
        ("POST", "nothing/rollback", None, 404, "unknown_collection"),
        ("POST", "nothing/promote", {"version": "20261121T000000Z"}, 404, "unknown_collection"),
        ("POST", "coffee/promote", {"version": "20261121T000000Z"}, 400, "invalid_request"),
        ("POST", "coffee/promote", {"version": "../../x"}, 400, "invalid_request"),
        ("POST", "coffee/promote", {"version": 7}, 400, "invalid_request"),
        ("POST", "coffee/promote", {"version": "a", "x": 1}, 400, "invalid_request"),
        ("POST", "coffee/rollback", None, 400, "invalid_request"),
        ("GET", "coffee/train/0123", None, 404, "not_found"),
        ("POST", "-x/train", {}, 400, "invalid_request"),
        ("POST", "coffee/train", {}, 400, "invalid_request"),
        ("POST", "coffee/train", [], 400, "invalid_request"),
        ("POST", "coffee/train", {"in": {}}, 400, "invalid_request"),
        ("POST", "coffee/train", {"in": [{"id": "abc"}], "out": []}, 400, "invalid_request"),
        ("POST", "coffee/train", {"in": [{"id": 7}], "out": []}, 400, "invalid_request"),
        ("POST", "coffee/train", {"in": [{"path": "x"}], "out": []}, 400, "invalid_request"),
        ("POST", "coffee/train", {"in": [{"id": "a" * 64}]}, 400, "invalid_request"),
        ("POST", "coffee/train", {"in": [{"base64": "!"}], "out": []}, 400, "invalid_request"),
        ("POST", "coffee/train", {"surprise": 1}, 400, "invalid_request"),
    ],
)
def test_mistakes_have_codes(
    taught_once: httpx2.Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    response = taught_once.request(method, f"/v1/collections/{path}", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("embedding", "clop", "there is no embedding 'clop'"),
        ("embedding", "clip+clip", "names no embeddings"),
        ("embedding", 5, "must be a string"),
        ("target", "left_foot", "it may be whole_image"),
        ("face_context", "moon", "it may be prominent_person"),
    ],
)
def test_plans_that_cannot_be(taught_once: httpx2.Client, field: str, value: Any, said: str) -> None:
    body = {"in": [{"id": "a" * 64}], "out": [{"id": "b" * 64}], field: value}
    response = taught_once.post("/v1/collections/coffee/train", json=body)
    assert response.status_code == 422
    assert said in response.json()["detail"]


def test_other_bodies_are_not_read(client: httpx2.Client) -> None:
    response = client.post("/v1/collections/7/train", content=b"x", headers={"content-type": "text/plain"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_content")
    response = client.post("/v1/collections/7/train", files={"image": b"x"})
    assert "files are in and out" in response.json()["detail"]


def test_one_trainer_per_collection_and_few_in_all(serve, root: Path) -> None:
    with silent_server() as port:
        opened = {"fetch_ports": (port,), "fetch_allow_networks": ("127.0.0.0/8",), "train_max_jobs": 2}
        client = serve(collections_dir=root, **opened)
        body = {"in": [{"url": f"http://127.0.0.1:{port}/x"}], "out": encoded(STONES)}
        one = client.post("/v1/collections/one/train", json=body)
        assert one.status_code == 202
        again = client.post("/v1/collections/one/train", json=body)
        assert (again.status_code, again.json()["code"]) == (409, "collection_busy")
        assert one.json()["job"] in again.json()["detail"]
        two = client.post("/v1/collections/two/train", json=body)
        assert (two.status_code, two.json()["state"]) == (202, "waiting")
        three = client.post("/v1/collections/three/train", json=body)
        assert (three.status_code, three.headers["retry-after"]) == (429, "10")
        other = client.get(f"/v1/collections/two/train/{one.json()['job']}")
        assert other.status_code == 404


def test_a_collection_another_process_changes_is_refused_at_once(client: httpx2.Client, root: Path) -> None:
    with Collections(root).collection("coffee").changing():
        response = client.post("/v1/collections/coffee/train", files=files())
    assert (response.status_code, response.json()["code"]) == (409, "collection_busy")
    taught(client)


def test_too_many_images_are_refused(serve, root: Path) -> None:
    client = serve(collections_dir=root, train_max_images=10)
    body = {"in": encoded(COFFEE[:6]), "out": encoded(STONES[:6])}
    response = client.post("/v1/collections/7/train", json=body)
    assert response.status_code == 400
    assert response.json()["detail"].startswith("12 images; one training takes 10")
    response = client.post("/v1/collections/7/train", files=files())
    assert response.status_code == 400


def test_a_body_over_the_limit_is_refused(serve, root: Path) -> None:
    client = serve(collections_dir=root, request_max_bytes=100_000)
    response = client.post("/v1/collections/7/train", files=files())
    assert response.status_code == 413


def test_without_the_extra_it_says_what_to_install(client: httpx2.Client, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.linear_model", None)
    response = client.post("/v1/collections/7/train", files=files())
    assert (response.status_code, response.json()["code"]) == (501, "extra_missing")
    assert "make extras" in response.json()["detail"]


def test_keys_are_asked_for(serve, root: Path) -> None:
    client = serve(collections_dir=root, api_keys=("k",))
    assert client.get("/v1/collections").status_code == 401
    assert client.post("/v1/collections/7/train", files=files()).status_code == 401
    assert client.get("/v1/collections", headers={"X-API-Key": "k"}).status_code == 200


@pytest.mark.parametrize("path", ["train", "promote", "rollback"])
def test_pages_of_other_sites_change_nothing(client: httpx2.Client, path: str) -> None:
    taught(client)
    headers = {"Origin": "https://evil.example"}
    response = client.post(f"/v1/collections/coffee/{path}", json={"version": "x"}, headers=headers)
    assert response.status_code == 403
    own = {"Origin": str(client.base_url).rstrip("/")}
    response = client.post(f"/v1/collections/coffee/{path}", json={"version": "x"}, headers=own)
    assert response.status_code == 400


def test_it_is_in_the_openapi_document(client: httpx2.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    train = paths["/v1/collections/{collection_id}/train"]["post"]
    assert {"202", "409", "429", "501"} <= train["responses"].keys()
    assert {"multipart/form-data", "application/json"} == train["requestBody"]["content"].keys()
    for path, method in (("", "get"), ("/{collection_id}", "get"), ("/{collection_id}/rollback", "post")):
        assert paths[f"/v1/collections{path}"][method]["summary"]


@pytest.fixture(scope="module")
def bounded(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """One server for many bodies."""
    configured = Settings(
        models_dir=models_dir,
        collections_dir=tmp_path_factory.mktemp("collections"),
        offline=True,
        train_max_images=20,
    )
    app = create_app(configured)
    config = uvicorn.Config(wrapped(app, configured), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + WAIT_S
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        yield client
    server.should_exit = True
    thread.join()


ENTRIES = st.lists(
    st.dictionaries(
        st.sampled_from(["id", "url", "base64", "x"]), st.text(max_size=9) | st.none(), max_size=2
    )
    | st.text(max_size=3),
    max_size=3,
)
FIELDS = st.sampled_from(["in", "out", "embedding", "target", "face_context", "y"])
BODIES = st.dictionaries(FIELDS, ENTRIES | st.text(max_size=9) | st.integers(), max_size=5) | ENTRIES


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_any_body_is_refused_with_a_reason(bounded: httpx2.Client, body: Any) -> None:
    response = bounded.post("/v1/collections/any/train", json=body)
    # A URL of letters is taken, and refused by the training; so is busy, while that one is under way.
    assert response.status_code in (202, 400, 409, 422), response.text
    assert response.status_code == 202 or response.json()["detail"]
