"""How requests are read, over real connections: the charset of a form, and names that come more than once."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

RED = (250, 5, 5)
# Codecs of Python: some refuse with errors of their own, some give lone surrogates, one is quadratic.
FOREIGN_CHARSETS = [
    *("undefined", "punycode", "idna", "unicode_escape", "raw_unicode_escape", "utf-7", "UTF-16", "utf-32"),
    *("rot13", "base64", "hex", "zlib", "mbcs", "oem", "cp1252", "shift_jis", "nonsense", ""),
]
# Names of files that one of those codecs makes lone surrogates of, and one that is broken as UTF-8 too.
SURROGATE_NAMES = [rb"\ud800.png", b"+2AA-.png", b"\xed\xa0\x80.png", b"\xff\xfe\x00\xd8.png"]


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), RED).save(buffer, "PNG")
    return buffer.getvalue()


def form(*parts: tuple[str, bytes | None, bytes]) -> bytes:
    """The body of a form with the boundary ``x``: fields, and files with their names as bytes."""
    body = b""
    for field, name, data in parts:
        named = b"" if name is None else b'; filename="' + name + b'"\r\nContent-Type: image/png'
        body += b'--x\r\nContent-Disposition: form-data; name="' + field.encode() + b'"' + named
        body += b"\r\n\r\n" + data + b"\r\n"
    return body + b"--x--\r\n"


def classifier_form(name: bytes) -> bytes:
    return form(("file", name, picture()))


def v1_form(name: bytes) -> bytes:
    tasks = [{"operation": "embed_clip", "params": {"model": "clip-vit-b-32"}}]
    return form(("image", name, picture()), ("tasks", None, json.dumps(tasks).encode()))


def image_embed_form(name: bytes) -> bytes:
    tasks = [{"operation_id": "a", "type": "embed_clip_vit_b_32"}]
    return form(("image_file", name, picture()), ("tasks_json", None, json.dumps(tasks).encode()))


def questions_form(name: bytes) -> bytes:
    return form(("prompt", None, b"what is it?"), ("files", name, picture()))


def atlas_form(name: bytes) -> bytes:
    return form(("prompt", None, b"what is it?"), ("file", name, picture()))


def geoclip_form(name: bytes) -> bytes:
    return form(("image", name, picture()))


def training_form(name: bytes) -> bytes:
    return form(("in", name, picture()), ("out", name, picture()))


# Every route that reads a form, with one that it takes.
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "/classify": classifier_form,
    "/v1/analyze": v1_form,
    "/v1/operations/embed_clip": lambda name: form(("image", name, picture())),
    "/analyze_image_upload/": image_embed_form,
    "/uploadfile/": classifier_form,
    "/analyze/": atlas_form,
    "/gemini/analyze/": questions_form,
    "/api/geolocate": geoclip_form,
    "/v1/collections/birds/train": training_form,
}


@pytest.fixture
def classifier(serve: Any, with_colours: Any, tmp_path: Path) -> httpx2.Client:
    """A server whose two halves of CLIP are played by a plug-in."""
    client: httpx2.Client = serve(plugins_dir=with_colours(tmp_path / "plugins"))
    return client


def post(client: httpx2.Client, route: str, body: bytes, parameters: str = "") -> httpx2.Response:
    headers = {"Content-Type": f"multipart/form-data; boundary=x{parameters}"}
    if route == "/api/geolocate":
        headers["X-CSRF-Token"] = client.get("/api/get-csrf-token").json()["csrf_token"]
    return client.post(route, content=body, headers=headers)


# -- the charset of a form ---------------------------------------------------------------------------------


@pytest.mark.parametrize("route", FORMS)
def test_another_charset_is_a_400_that_names_those_there_are(serve: Any, route: str) -> None:
    client = serve(geolocate_limits=("off",), api_limits=("off",))
    body = FORMS[route](rb"\ud800+2AA-.png")
    for charset in FOREIGN_CHARSETS:
        response = post(client, route, body, f'; charset="{charset}"')
        assert response.status_code == 400, f"{charset}: {response.text}"
        detail = response.json()["detail"]
        assert repr(charset) in detail
        assert "UTF-8, US-ASCII and ISO-8859-1" in detail
        if route.startswith("/v1/"):
            assert response.json()["code"] == "invalid_request"
            assert response.headers["content-type"] == "application/problem+json"
        else:
            assert list(response.json()) == ["detail"]


@pytest.mark.parametrize(
    "parameters",
    [
        "; CharSet=utf-7",
        "; charset=utf-8; charset=utf-7",
        '; charset="utf\\\\-7"',
        "; charset=" + "utf-7" * 1000,
        "; charset=\xfc\xa0",
        "; charset= utf-7 ",
    ],
)
def test_however_the_charset_is_written(client: httpx2.Client, parameters: str) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20) as raw:
        body = classifier_form(b"+2AA-.png")
        head = (
            f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}"
            f"\r\nContent-Type: multipart/form-data; boundary=x{parameters}\r\n\r\n"
        )
        raw.sendall(head.encode("latin-1") + body)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"charset" in answer
    assert len(answer) < 2000, "what was sent is not sent back at length"


def test_it_is_refused_before_the_form_is_read(client: httpx2.Client) -> None:
    """The body never comes, and the answer does: no codec gets to see 31 fields of 64 KB."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20) as raw:
        raw.sendall(
            b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x; charset=punycode\r\n\r\n"
        )
        assert raw.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("parameters", "name", "read"),
    [
        ("", "kaart Überweg 北京.png".encode(), "kaart Überweg 北京.png"),
        ("; charset=utf-8", "Ü.png".encode(), "Ü.png"),
        ('; charset="UTF-8"', "Ü.png".encode(), "Ü.png"),
        ("; charset=utf8", "Ü.png".encode(), "Ü.png"),
        ("; charset=UTF_8", "Ü.png".encode(), "Ü.png"),
        ("; charset=us-ascii", b"U.png", "U.png"),
        ("; charset=ascii", b"U.png", "U.png"),
        ("; charset=ISO-8859-1", "Ü.png".encode("latin-1"), "Ü.png"),
        ("; charset=iso_8859-1", "Ü.png".encode("latin-1"), "Ü.png"),
        ("; charset=latin-1", "Ü.png".encode("latin-1"), "Ü.png"),
    ],
)
def test_the_charsets_of_clients_are_read(
    client: httpx2.Client, parameters: str, name: bytes, read: str
) -> None:
    response = post(client, "/analyze_image_upload/", image_embed_form(name), parameters)
    assert response.status_code == 200, response.text
    assert response.json()["image_url"] == f"uploaded:{read}"


@pytest.mark.parametrize("name", SURROGATE_NAMES)
def test_no_name_of_a_file_breaks_an_answer_that_has_it(classifier: httpx2.Client, name: bytes) -> None:
    for charset in ("", "; charset=utf-8", "; charset=us-ascii", "; charset=iso-8859-1"):
        for route in ("/classify", "/v1/analyze", "/analyze_image_upload/"):
            response = post(classifier, route, FORMS[route](name), charset)
            assert response.status_code == 200, response.text
        for route in ("/uploadfile/", "/analyze/", "/gemini/analyze/"):  # nobody answers there
            response = post(classifier, route, FORMS[route](name), charset)
            assert response.status_code == 503, response.text


def test_an_extended_name_is_not_read_at_all(client: httpx2.Client) -> None:
    body = image_embed_form(b"plain.png").replace(
        b'filename="plain.png"', b"filename=\"plain.png\"; filename*=utf-7''+2AA-.png"
    )
    response = post(client, "/analyze_image_upload/", body)
    assert response.status_code == 200, response.text
    assert response.json()["image_url"] == "uploaded:plain.png"


def test_a_form_without_files_may_be_of_any_charset_as_its_rules_are_fixed(client: httpx2.Client) -> None:
    """``application/x-www-form-urlencoded`` is UTF-8 by its standard; the parameter means nothing there."""
    response = client.post(
        "/classify",
        content=b"file=a",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=windows-1252"},
    )
    assert response.status_code == 400
    assert "'file'" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/analyze", rb'{"base64": "", "tasks": [{"id": "\ud800", "operation": "embed_clip"}]}'),
        ("/v1/analyze", b'{"base64": "", "tasks": [{"id": "\xed\xa0\x80", "operation": "embed_clip"}]}'),
        ("/analyze_image/", rb'{"image_url": "http://a/\ud800", "tasks": []}'),
    ],
)
def test_lone_surrogates_in_json_do_not_parse(client: httpx2.Client, path: str, body: bytes) -> None:
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400, response.text
    assert "does not parse" in response.json()["detail"]


# -- names that come more than once in the query -----------------------------------------------------------


@pytest.fixture
def ask(classifier: httpx2.Client) -> Callable[..., httpx2.Response]:
    """``ask("labels=map", …)`` asks for a classification of a red picture with this query."""

    def asked(query: str, path: str = "/v1/operations/classify_zero_shot") -> httpx2.Response:
        return classifier.post(f"{path}?{query}", content=picture(), headers={"Content-Type": "image/png"})

    return asked


def classes(response: httpx2.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["images"][0]["results"]["classify_zero_shot"]["data"]
    return data


def test_repeated_labels_are_a_list(ask: Callable[..., httpx2.Response]) -> None:
    repeated = classes(ask("labels=map&labels=dog"))
    assert list(repeated["probabilities"]) == ["map", "dog"]
    assert repeated == classes(ask("labels=map,dog"))
    assert repeated == classes(ask("operation=classify_zero_shot&labels=map&labels=dog", "/v1/analyze"))


def test_lists_as_httpx_writes_them(classifier: httpx2.Client) -> None:
    response = classifier.post(
        "/v1/operations/classify_zero_shot",
        params={"labels": ["map", "dog", "cat, sleeping"]},
        content=picture(),
        headers={"Content-Type": "image/png"},
    )
    assert list(classes(response)["probabilities"]) == ["map", "dog", "cat, sleeping"]


def test_no_template_is_dropped(ask: Callable[..., httpx2.Response], classifier: httpx2.Client) -> None:
    labels = "labels=map,dog"
    both = classes(ask(f"{labels}&templates=my {{}}&templates=the {{}}"))
    last = classes(ask(f"{labels}&templates=the {{}}"))
    assert both["fingerprint"] != last["fingerprint"]
    task = {
        "operation": "classify_zero_shot",
        "params": {"labels": ["map", "dog"], "templates": ["my {}", "the {}"]},
    }
    in_a_form = classifier.post(
        "/v1/analyze", files={"image": ("a.png", picture())}, data={"tasks": json.dumps([task])}
    )
    assert both == classes(in_a_form)


def test_a_list_of_a_query_is_judged_like_any(ask: Callable[..., httpx2.Response]) -> None:
    response = ask("labels=map&labels=dog&labels=map")
    assert response.status_code == 422
    assert "labels must differ" in response.json()["detail"]
    assert ask("labels=map&labels=").status_code == 422


def test_a_parameter_that_takes_one_value_says_so_when_two_come(classifier: httpx2.Client) -> None:
    """Of every operation there is, the same value twice: a 422 with the parameter's name, or a list."""
    parameters = [
        (operation["name"], name, schema)
        for operation in classifier.get("/v1/operations").json()["operations"]
        for name, schema in operation["params"]["properties"].items()
    ]
    assert len(parameters) > 20
    refused = 0
    for operation, name, schema in parameters:
        response = classifier.post(
            f"/v1/operations/{operation}",
            params=[(name, "1"), (name, "1")],
            content=picture(),
            headers={"Content-Type": "image/png"},
        )
        if '"array"' in json.dumps(schema):
            assert response.status_code != 500, response.text
            continue
        assert response.status_code == 422, f"{operation}.{name}: {response.text}"
        assert response.json()["code"] == "invalid_parameters"
        assert name in response.json()["detail"], f"{operation}.{name}: {response.text}"
        refused += 1
    assert refused > 15


def test_openapi_says_that_a_name_may_come_again(client: httpx2.Client) -> None:
    (about,) = (
        parameter["description"]
        for parameter in client.get("/openapi.json").json()["paths"]["/v1/analyze"]["post"]["parameters"]
        if parameter["name"] == "operation"
    )
    assert "more than once" in about
