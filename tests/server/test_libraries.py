"""Libraries over HTTP: adding, searching, listing, forgetting, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from tests.jobs.libraries.conftest import COLOURS, OPERATION

WHERE = "/v1/libraries/photos"


def photo(colour: tuple[int, int, int], seed: int = 0) -> bytes:
    pattern = np.random.default_rng(seed).integers(-20, 21, (6, 8, 1))
    pixels = np.clip(np.array(colour) + pattern, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((640, 480)).save(file, "JPEG")
    return file.getvalue()


RED, GREEN, BLUE = photo((200, 20, 20), 1), photo((20, 200, 20), 2), photo((20, 20, 200), 3)


@pytest.fixture
def plugins_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    for kind, text in (("models", COLOURS), ("operations", OPERATION)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "colours.py").write_text(text)
    return folder


@pytest.fixture
def client(serve: Callable[..., httpx2.Client], tmp_path: Path, plugins_dir: Path) -> httpx2.Client:
    return serve(libraries_dir=tmp_path / "libraries", library_space="colours", plugins_dir=plugins_dir)


@pytest.fixture
def stocked(client: httpx2.Client) -> httpx2.Client:
    files = [("image", (f"{name}.jpg", data, "image/jpeg")) for name, data in
             (("red", RED), ("green", GREEN), ("blue", BLUE))]  # fmt: skip
    response = client.post(f"{WHERE}/items", files=files)
    assert response.status_code == 201, response.text
    assert [item["source"] for item in response.json()["items"]] == [
        "upload:red.jpg", "upload:green.jpg", "upload:blue.jpg"
    ]  # fmt: skip
    return client


def found(response: httpx2.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [hit["id"] for hit in response.json()["hits"]]


def ids(client: httpx2.Client) -> dict[str, int]:
    items = client.get(f"{WHERE}/items").json()["items"]
    by_digest = {item["sha256"]: item["id"] for item in items}
    import hashlib

    return {
        name: by_digest[hashlib.sha256(data).hexdigest()]
        for name, data in (("red", RED), ("green", GREEN), ("blue", BLUE))
        if hashlib.sha256(data).hexdigest() in by_digest
    }


def test_words_in_the_address_and_in_json(stocked: httpx2.Client) -> None:
    known = ids(stocked)
    assert found(stocked.post(f"{WHERE}/search", params={"text": "green", "limit": 1})) == [known["green"]]
    asked = {"text": "red blue", "minus": ["blue"], "limit": 1}
    assert found(stocked.post(f"{WHERE}/search", json=asked)) == [known["red"]]
    answer = stocked.post(f"{WHERE}/search", json={"text": "red"}).json()
    assert (answer["searched"], answer["model"]["name"], answer["warnings"]) == (3, "seeing", [])


def test_examples_as_files_base64_and_ids(stocked: httpx2.Client) -> None:
    import base64

    known = ids(stocked)
    assert found(stocked.post(f"{WHERE}/search?limit=1", files={"image": BLUE})) == [known["blue"]]
    encoded = {"images": [{"base64": base64.b64encode(BLUE).decode()}], "limit": 1}
    assert found(stocked.post(f"{WHERE}/search", json=encoded)) == [known["blue"]]
    assert found(stocked.post(f"{WHERE}/search", json={"like": [known["red"]], "limit": 1})) == [known["red"]]
    raw = stocked.post(f"{WHERE}/search?limit=1", content=GREEN, headers={"Content-Type": "image/jpeg"})
    assert found(raw) == [known["green"]]


def test_filters_without_words(stocked: httpx2.Client) -> None:
    assert len(found(stocked.post(f"{WHERE}/search", json={"where": "width >= 640"}))) == 3
    assert found(stocked.post(f"{WHERE}/search", json={"where": "width > 640"})) == []
    assert found(stocked.post(f"{WHERE}/search", json={"after": "2021"})) == []


def test_items_come_in_pages(stocked: httpx2.Client) -> None:
    first = stocked.get(f"{WHERE}/items", params={"limit": 2}).json()
    rest = stocked.get(f"{WHERE}/items", params={"limit": 2, "after_id": first["next"]}).json()
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)


def test_a_photo_its_small_copy_and_its_end(stocked: httpx2.Client, tmp_path: Path) -> None:
    red = ids(stocked)["red"]
    assert stocked.get(f"{WHERE}/items/{red}").json()["answers"] == {}
    small = stocked.get(f"{WHERE}/items/{red}/thumbnail")
    assert Image.open(io.BytesIO(small.content)).size == (320, 240)
    kept = list((tmp_path / "libraries" / "photos.photos").iterdir())
    assert len(kept) == 3
    assert stocked.delete(f"{WHERE}/items/{red}").status_code == 204
    assert stocked.get(f"{WHERE}/items/{red}").status_code == 404
    assert stocked.get(f"{WHERE}/items/{red}/thumbnail").status_code == 404
    assert len(list((tmp_path / "libraries" / "photos.photos").iterdir())) == 2
    assert red not in found(stocked.post(f"{WHERE}/search", json={"text": "red"}))


def test_what_cannot_be_read_stops_nothing(client: httpx2.Client) -> None:
    files = [("image", ("a.jpg", RED, "image/jpeg")), ("image", ("b.jpg", b"no image", "image/jpeg")),
             ("image", ("c.jpg", GREEN[: len(GREEN) // 2], "image/jpeg"))]  # fmt: skip
    answer = client.post(f"{WHERE}/items", files=files)
    assert answer.status_code == 201
    assert [item["source"] for item in answer.json()["items"]] == ["upload:a.jpg"]
    assert [each["source"] for each in answer.json()["failed"]] == ["upload:b.jpg", "upload:c.jpg"]
    assert client.get(WHERE).json()["photos"] == 1


def test_an_upload_that_comes_again_is_one_item(stocked: httpx2.Client) -> None:
    assert stocked.post(f"{WHERE}/items", files={"image": RED}).status_code == 201
    (library,) = stocked.get("/v1/libraries").json()["libraries"]
    assert (library["name"], library["photos"]) == ("photos", 3)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/libraries/nobody/search", {"text": "x"}, 404),
        ("/v1/libraries/..%2Fx/search", {"text": "x"}, 404),
        ("/v1/libraries/a%20b/search", {"text": "x"}, 400),
        (f"{WHERE}/search", {"text": 1}, 400),
        (f"{WHERE}/search", {"textt": "x"}, 400),
        (f"{WHERE}/search", {"text": "word " * 10_000}, 400),
        (f"{WHERE}/search", {"minus": ["x"]}, 400),
        (f"{WHERE}/search", {"like": [99]}, 400),
        (f"{WHERE}/search", {"like": [10**30]}, 400),
        (f"{WHERE}/search", {"limit": 0}, 400),
        (f"{WHERE}/search", {"limit": 10**9}, 400),
        (f"{WHERE}/search", {"where": "x ="}, 400),
        (f"{WHERE}/search", {"where": "1; DROP TABLE item"}, 400),
        (f"{WHERE}/search", {"near": "here"}, 400),
        (f"{WHERE}/search", {"after": "tomorrow"}, 400),
        (f"{WHERE}/search", {"images": [{"base64": "AAAA"}]}, 415),
        (f"{WHERE}/search", [], 400),
        (f"{WHERE}/items", {"images": []}, 400),
        (f"{WHERE}/items", {"tasks": ["brightness"]}, 400),
    ],
)
def test_what_is_refused(stocked: httpx2.Client, path: str, body: Any, status: int) -> None:
    response = stocked.post(path, json=body)
    assert response.status_code == status, response.text
    assert response.json()["code"]


@pytest.mark.parametrize("item_id", ["0", "99", "-1", str(10**30), "x"])
def test_items_that_are_not_there(stocked: httpx2.Client, item_id: str) -> None:
    assert stocked.get(f"{WHERE}/items/{item_id}").status_code in (404, 422)
    assert stocked.delete(f"{WHERE}/items/{item_id}").status_code in (404, 422)


def test_a_page_of_another_site_changes_nothing(stocked: httpx2.Client) -> None:
    origin = {"Origin": "https://evil.example"}
    red = ids(stocked)["red"]
    assert stocked.post(f"{WHERE}/items", files={"image": RED}, headers=origin).status_code == 403
    assert stocked.delete(f"{WHERE}/items/{red}", headers=origin).status_code == 403


def test_what_the_command_line_indexes_is_found_at_once(
    stocked: httpx2.Client, tmp_path: Path, plugins_dir: Path
) -> None:
    import os
    import subprocess
    import sys

    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "yellow.jpg").write_bytes(photo((200, 200, 20), 7))
    environment = {
        **os.environ,
        "SIGHTLINE_MODELS_DIR": str(tmp_path / "models"),
        "SIGHTLINE_LIBRARIES_DIR": str(tmp_path / "libraries"),
        "SIGHTLINE_LIBRARY_SPACE": "colours",
        "SIGHTLINE_PLUGINS_DIR": str(plugins_dir),
        "SIGHTLINE_OFFLINE": "true",
    }
    command = [sys.executable, "-m", "sightline", "index", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    hits = stocked.post(f"{WHERE}/search", json={"text": "red green", "limit": 1}).json()["hits"]
    assert Path(hits[0]["path"]).name == "yellow.jpg"
