"""A damaged entry in the models folder is that model's trouble alone, in every command and in the server."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from sightline.server.app import create_app
from sightline.settings import Settings

pytestmark = pytest.mark.usefixtures("hub")

OTHER = "mean"


def in_place_of_the_folder(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder)
        make(folder)

    return damage


def of_the_manifest(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "manifest.json").unlink()
        make(folder / "manifest.json")

    return damage


DAMAGES = {
    "file": in_place_of_the_folder(lambda path: path.write_text("in the way")),
    "loop": in_place_of_the_folder(lambda path: path.symlink_to(path)),
    "manifest is a folder": of_the_manifest(Path.mkdir),
    "manifest is a loop": of_the_manifest(lambda path: path.symlink_to(path)),
    "manifest leads nowhere": of_the_manifest(lambda path: path.symlink_to("nowhere")),
    "manifest is empty": of_the_manifest(lambda path: path.write_bytes(b"")),
    "manifest is deep": of_the_manifest(lambda path: path.write_bytes(b"[" * 100_000)),
    "manifest is of bytes": of_the_manifest(lambda path: path.write_bytes(b"\xff\xfe\x00")),
    "manifest is another's": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"weighed"', '"mean"')
    ),
}
if os.geteuid():
    DAMAGES["no permission"] = lambda folder: folder.chmod(0)


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES.keys())
def damaged(sightline: Any, hub: None, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    assert sightline("models", "pull", "weighed").exit_code == 0
    folder = tmp_path / "store" / "weighed"
    request.param(folder)
    return folder


@pytest.mark.usefixtures("damaged")
def test_commands_name_it_and_go_on(sightline: Any) -> None:
    listed = sightline("models", "list", "--json")
    assert listed.exit_code == 0, listed.output
    states = {row["name"]: row["state"] for row in json.loads(listed.stdout)}
    assert (states["weighed"], states[OTHER]) == ("damaged", "built in")
    findings = {each["subject"]: each for each in json.loads(sightline("doctor", "--json").stdout)}
    assert findings["weighed"]["state"] == "broken"
    assert findings[OTHER]["state"] == "ok"
    verified = sightline("models", "verify")
    assert verified.exit_code == 1
    assert "weighed" in verified.stderr


def test_it_is_repaired(sightline: Any, damaged: Path) -> None:
    repaired = sightline("models", "pull", "weighed", "--force")
    assert repaired.exit_code == 0, repaired.output
    assert sightline("models", "verify", "weighed").exit_code == 0
    assert (damaged / "manifest.json").is_file()


def test_it_is_removed(sightline: Any, damaged: Path) -> None:
    removed = sightline("models", "remove", "weighed", "--yes")
    assert removed.exit_code == 0, removed.output
    assert not os.path.lexists(damaged) or "Nothing" in removed.output


@pytest.mark.usefixtures("damaged")
def test_the_server_serves_the_others(photo: Any, tmp_path: Path) -> None:
    with TestClient(create_app(Settings(_env_file=None))) as client:
        answer = client.get("/v1/models")
        assert answer.status_code == 200
        assert {"weighed", OTHER} <= {each["name"] for each in answer.json()["models"]}
        data = (tmp_path / photo()).read_bytes()
        png = {"content-type": "image/png"}
        good = client.post("/v1/operations/brightness", content=data, headers=png)
        assert (good.status_code, good.json()["images"][0]["results"]["brightness"]["status"]) == (200, "ok")
        bad = client.post("/v1/operations/brightness?model=weighed", content=data, headers=png)
        assert (bad.status_code, bad.json()["code"]) == (503, "model_unavailable")
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("name", [".compiled", ".locks", ".partial", ".staging"])
def test_a_damaged_folder_of_the_store_itself_ends_in_one_line(
    sightline: Any, tmp_path: Path, name: str
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / name).write_text("in the way")
    for command in (("models", "list"), ("models", "verify"), ("models", "pull", "weighed")):
        result = sightline(*command)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
