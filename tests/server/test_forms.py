"""Forms that were cut off, and temporary folders that cannot take them."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType

import httpx2
import pytest


def _test_bodies() -> ModuleType:
    """Forms of every route that reads one, from the test beside this one."""
    spec = importlib.util.spec_from_file_location(
        "forms_of_routes", Path(__file__).with_name("test_bodies.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bodies = _test_bodies()
FORMS: dict[str, Callable[[bytes], bytes]] = bodies.FORMS
post: Callable[..., httpx2.Response] = bodies.post
LARGE = b"\x89PNG\r\n\x1a\n" + os.urandom(4_000_000)


@pytest.fixture
def client(serve: Callable[..., httpx2.Client]) -> httpx2.Client:
    return serve(geolocate_limits=("off",), api_limits=("off",))


# -- cut off -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", FORMS)
def test_a_form_without_its_closing_boundary_is_400(client: httpx2.Client, route: str) -> None:
    whole = FORMS[route](b"a.png")
    end = whole.rindex(b"--x--")
    # Before, within and after the last part's data, and within the boundary itself.
    for cut in (0, 10, end // 2, end - 3, end - 2, end, end + 2, end + 3, end + 4):
        response = post(client, route, whole[:cut])
        assert response.status_code == 400, (cut, response.text)
        assert set(response.json()) >= {"detail"}


def test_a_task_list_that_was_cut_off_does_not_run(client: httpx2.Client) -> None:
    tasks = json.dumps(["embed_clip", "describe_image"]).encode()
    whole = bodies.form(("image", b"a.png", bodies.picture()), ("tasks", None, tasks))
    assert post(client, "/v1/analyze", whole[: whole.index(tasks) - 70]).status_code == 400


@pytest.mark.parametrize("route", ["/v1/analyze", "/classify"])
def test_what_comes_before_and_after_the_form_is_ignored(client: httpx2.Client, route: str) -> None:
    whole = FORMS[route](b"a.png")
    usual = post(client, route, whole).status_code
    assert usual != 400
    for body in (
        whole + b"epilogue\r\n--x\r\nnot a part",
        whole.removesuffix(b"\r\n"),
        b"preamble\r\n" + whole,
        b"--\r\n-x\r\n\r\n" * 30_000 + b"\r\n" + whole,
    ):
        assert post(client, route, body).status_code == usual


def test_a_length_shorter_than_the_form_is_400(client: httpx2.Client) -> None:
    whole = FORMS["/v1/analyze"](b"a.png")
    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Content-Length": str(whole.rindex(b"--x--")),
    }
    with closing(HTTPConnection(client.base_url.host, client.base_url.port, timeout=20)) as connection:
        connection.request("POST", "/v1/analyze", whole, headers)
        assert connection.getresponse().status == 400


@pytest.mark.parametrize("body", [b"&" * 5_000_000, b"a&" * 33, b"prompt=" + b"x" * 5_000_000])
def test_a_urlencoded_form_that_nobody_needs_is_refused_early(client: httpx2.Client, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = client.post("/gemini/analyze/", content=body, headers=headers)
    assert response.status_code == 400
    assert "form" in response.json()["detail"]


# -- stored ------------------------------------------------------------------------------------------------


@pytest.fixture
def no_temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setattr(tempfile, "tempdir", str(gone))


@pytest.fixture
def full_temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file system of two megabytes. Only root may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def large_form(route: str) -> bytes:
    small: bytes = bodies.picture()
    return FORMS[route](b"a.png").replace(small, LARGE)


@pytest.mark.parametrize("folder", ["no_temp_folder", "full_temp_folder"])
def test_an_upload_that_cannot_be_stored_is_507_and_the_server_is_not_ready(
    client: httpx2.Client, request: pytest.FixtureRequest, folder: str
) -> None:
    assert client.get("/readyz").json()["temp_directory"] == "ok"
    request.getfixturevalue(folder)
    for route in FORMS:
        response = post(client, route, large_form(route))
        # The geoclip-service knows no such status.
        assert response.status_code == (500 if route == "/api/geolocate" else 507), route
        assert "temporary folder" in response.json()["detail"]
        assert tempfile.tempdir is not None
        assert tempfile.tempdir not in response.text
    assert response.json()["code"] == "insufficient_storage"
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["temp_directory"] != "ok"
    # What needs no folder goes on.
    assert post(client, "/v1/analyze", FORMS["/v1/analyze"](b"a.png")).status_code == 200
    assert client.get("/livez").status_code == 200


def test_it_is_ready_again_when_there_is_room(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert client.get("/readyz").status_code == 503
    folder.mkdir()
    assert client.get("/readyz").status_code == 200
    assert not list(folder.iterdir())
