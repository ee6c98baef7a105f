"""Images and JSON as libraries write them, on every route that takes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

TASK = "detect_faces"
FACE = {"operation_id": "f", "type": "detect_bounding_box", "params": {"target": "prominent_face"}}

WAYS: dict[str, Callable[[bytes], str]] = {
    "in lines": lambda data: base64.encodebytes(data).decode(),
    "CRLF": lambda data: base64.encodebytes(data).decode().replace("\n", "\r\n"),
    "trailing newline": lambda data: base64.b64encode(data).decode() + "\n",
    "url-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "no padding": lambda data: (
        base64.b64encode(data + b"\0" * (-(len(data) % 3 - 1) % 3)).decode().rstrip("=")
    ),
    "url-safe, no padding": lambda data: base64.urlsafe_b64encode(data + b"\0").decode().rstrip("="),
}
HEADS = (
    "",
    "data:image/jpeg;base64,",
    "DATA:image/jpeg;BASE64,",
    "data:image/JPEG;charset=x;Base64,\n",
    "data:;base64,",
)


def found(answer: httpx2.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return list(answer.json()["images"][0]["results"][TASK]["data"]["faces"])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("head", HEADS)
def test_base64_of_every_kind_is_read(
    client: httpx2.Client, portrait: bytes, way: Callable[[bytes], str], head: str
) -> None:
    assert found(client.post("/v1/analyze", json={"base64": head + way(portrait), "tasks": [TASK]}))


@pytest.mark.parametrize(
    "text",
    ["====", "a", "ab=c", "ab*d", "ab cd", "/9j/4AAQ SkZJ", "data:image/jpeg,abcd", "data:image/jpeg;base64"],
)
def test_what_is_no_base64_is_refused(client: httpx2.Client, text: str) -> None:
    answer = client.post("/v1/analyze", json={"base64": text, "tasks": [TASK]})
    assert answer.status_code in (400, 415), answer.text


def test_white_space_does_not_get_a_large_image_past_the_limit(serve: Callable[..., httpx2.Client]) -> None:
    client = serve(image_max_bytes=3000)
    for text, status in (("A" * 4000 + "\n" * 4000, 415), ("A\n" * 4008, 413)):
        assert client.post("/v1/analyze", json={"base64": text, "tasks": [TASK]}).status_code == status


def test_a_data_uri_may_stand_where_a_url_does(client: httpx2.Client, portrait: bytes) -> None:
    uri = "Data:image/jpeg;base64," + base64.b64encode(portrait).decode()
    for body in ({"url": uri}, {"images": [{"url": uri}]}):
        assert found(client.post("/v1/analyze", json={**body, "tasks": [TASK]}))
    short = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    answer = client.post("/v1/analyze", files={"url": (None, short), "tasks": (None, json.dumps([TASK]))})
    assert found(answer) == []


def test_the_image_embed_route_says_where_a_data_uri_belongs(client: httpx2.Client) -> None:
    answer = client.post("/analyze_image/", json={"image_url": "DATA:image/png;base64,AAAA", "tasks": [FACE]})
    assert answer.status_code == 400
    assert "/analyze_image_upload/" in answer.json()["detail"]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_data_uri_of_every_kind_is_read_by_the_geoclip_route(
    serve: Callable[..., httpx2.Client], portrait: bytes, way: Callable[[bytes], str]
) -> None:
    client = serve(geolocate_limits=("off",), api_limits=("off",))
    token = client.get("/api/get-csrf-token").json()["csrf_token"]
    uri = "DATA:image/JPEG;BASE64," + way(portrait)
    for sent in ({"data": {"image_data": uri}}, {"files": {"image_data": (None, uri)}}):
        answer = client.post("/api/geolocate", headers={"X-CSRF-Token": token}, **sent)
        assert answer.status_code != 400, answer.text  # 500: it was read, and there are no weights here


def test_json_may_begin_with_a_byte_order_mark(client: httpx2.Client, portrait: bytes) -> None:
    body = {"base64": base64.b64encode(portrait).decode(), "tasks": [TASK]}
    marked = b"\xef\xbb\xbf" + json.dumps(body).encode()
    assert found(client.post("/v1/analyze", content=marked, headers={"Content-Type": "application/json"}))
    tasks = "\ufeff" + json.dumps([FACE])
    answer = client.post(
        "/analyze_image_upload/",
        files={"image_file": ("a.jpg", portrait, "image/jpeg")},
        data={"tasks_json": tasks},
    )
    assert answer.json()["results"]["f"]["status"] == "success"


# -- parts of forms ----------------------------------------------------------------------------------------


def part(name: str, data: bytes, disposition: str = "", kind: str = "") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{disposition}\r\n'
    return head.encode() + (f"Content-Type: {kind}\r\n" if kind else "").encode() + b"\r\n" + data + b"\r\n"


UNUSUAL = {
    "no filename": ("", "image/jpeg"),
    "no filename, octets": ("", "application/octet-stream"),
    "only filename*": ("; filename*=utf-8''%E6%9D%B1%E4%BA%AC.jpg", ""),
    "only filename*, latin": ("; filename*=ISO-8859-1'en'%E9t%E9.jpg", "image/jpeg"),
}
TEXTS = {"tasks": [TASK], "tasks_json": [FACE], "prompt": "what?"}
# Route, its file's field, its other fields, and a status that says the file was read.
ROUTES = [
    ("/v1/analyze", "image", ["tasks"], 200),
    ("/analyze_image_upload/", "image_file", ["tasks_json"], 200),
    ("/classify", "file", [], 503),
    ("/uploadfile/", "file", [], 503),
    ("/analyze/", "file", ["prompt"], 503),
]


@pytest.mark.parametrize(("disposition", "kind"), UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize(("route", "field", "texts", "status"), ROUTES)
def test_a_part_is_a_file_without_a_plain_filename(
    client: httpx2.Client,
    portrait: bytes,
    route: str,
    field: str,
    texts: list[str],
    status: int,
    disposition: str,
    kind: str,
) -> None:
    def written(name: str) -> bytes:
        return (TEXTS[name] if name == "prompt" else json.dumps(TEXTS[name])).encode()

    body = b"".join(part(name, written(name)) for name in texts)
    body += part(field, portrait, disposition, kind) + b"--x--\r\n"
    answer = client.post(route, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    if kind == "application/octet-stream" and status == 503 and route != "/classify":
        status = 415  # by that contract the media type must be an image's
    assert answer.status_code == status, answer.text


def test_the_extended_name_is_the_file_s_name(client: httpx2.Client, portrait: bytes) -> None:
    for disposition, name in (
        ("; filename*=UTF-8''%E6%9D%B1%E4%BA%AC%22.jpg", '東京".jpg'),
        ("; filename*=iso-8859-1''%E9t%E9.jpg", "été.jpg"),
        ("; filename=\"plain.jpg\"; filename*=utf-8''other.jpg", "plain.jpg"),
    ):
        body = (
            part("image", portrait, disposition, "image/jpeg")
            + part("tasks", b'["detect_faces"]')
            + b"--x--\r\n"
        )
        answer = client.post(
            "/v1/analyze", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert answer.json()["images"][0]["source"] == f"upload:{name}", answer.text


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_part_that_is_text_is_refused_with_the_reason(client: httpx2.Client, size: int) -> None:
    body = part("image", b"x" * size) + b"--x--\r\n"
    answer = client.post(
        "/v1/analyze", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400
    assert "filename" in answer.json()["detail"]
    assert "'image'" in answer.json()["detail"]
