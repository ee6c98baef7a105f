"""``sightline classify`` with models that know three colours, here and through a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

RED, GREEN, BLUE = (250, 5, 5), (5, 250, 5), (5, 5, 250)


@pytest.fixture(autouse=True)
def _clip(plugins: Path, with_colours: Any, environment: dict[str, str], monkeypatch: Any) -> None:
    with_colours(plugins)
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")


@pytest.fixture
def picture(tmp_path: Path) -> Any:
    def write(name: str, colour: tuple[int, int, int] = RED) -> str:
        Image.new("RGB", (16, 12), colour).save(tmp_path / name)
        return name

    return write


@pytest.fixture
def url(serve: Any, with_colours: Any, tmp_path: Path) -> str:
    client = serve(plugins_dir=with_colours(tmp_path / "theirs"), api_keys=("the-key-0123456789",))
    return str(client.base_url)


def rows(output: str) -> list[str]:
    return [" ".join(line.split()) for line in output.splitlines() if line.strip()]


def test_a_known_set_with_its_rule(sightline: Any, picture: Any) -> None:
    done = sightline("classify", picture("a.png"), picture("b.png", BLUE), "--label-set", "map-or-aerial")
    assert done.exit_code == 0, done.output
    shown = rows(done.stdout)
    first, second = shown[: shown.index("b.png")], shown[shown.index("b.png") :]
    assert first[0] == "a.png"
    assert "maps 100.0 % ████████████████████" in first
    assert "is_map_or_aerial: yes" in first
    assert any(row.startswith("miscellaneous 100.0 %") for row in second)
    assert "is_map_or_aerial: no" in second


def test_labels_of_ones_own_with_a_template(
    sightline: Any, picture: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TEXTS_READ", str(tmp_path / "texts"))
    done = sightline(
        "classify",
        picture("a.png"),
        "--labels",
        "map, aerial,dog",
        "--template",
        "{}!",
        "--template",
        "my {}",
    )
    assert done.exit_code == 0, done.output
    assert any(row.startswith("map 100.0 %") for row in rows(done.stdout))
    texts = (tmp_path / "texts").read_text().splitlines()
    assert sorted(texts) == ["aerial!", "dog!", "map!", "my aerial", "my dog", "my map"]


def test_without_labels_a_general_set_is_used(sightline: Any, picture: Any) -> None:
    done = sightline("classify", picture("a.png"), "--json")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert {"photograph", "screenshot", "map"} <= line["results"]["class"]["data"]["probabilities"].keys()


def test_json_is_one_line_per_photo_as_the_server_writes_it(sightline: Any, picture: Any) -> None:
    names = [picture("a.png"), picture("b.png", GREEN)]
    done = sightline("classify", *names, "--labels", "map,aerial", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["source"] for line in lines] == ["a.png", "b.png"]
    assert [line["results"]["class"]["data"]["label"] for line in lines] == ["map", "aerial"]
    assert lines[0]["image"]["width"] == 16


def test_a_server_answers_the_same(sightline: Any, picture: Any, url: str) -> None:
    names = [picture("a.png"), picture("b.png", GREEN), picture("c.png", BLUE)]
    asked = ("--label-set", "map-or-aerial", "--json")

    def data(*more: str) -> list[Any]:
        done = sightline("classify", *names, *asked, *more)
        assert done.exit_code == 0, done.output
        return [json.loads(line)["results"]["class"]["data"] for line in done.stdout.splitlines()]

    assert data() == data("--server", url, "--api-key", "the-key-0123456789")


@pytest.fixture(params=["here", "there"])
def at(request: Any) -> tuple[str, ...]:
    """The options for this process or for a server."""
    if request.param == "here":
        return ()
    return ("--server", request.getfixturevalue("url"), "--api-key", "the-key-0123456789")


def test_a_photo_that_does_not_open_stops_no_other(
    sightline: Any, picture: Any, tmp_path: Path, at: tuple[str, ...]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    done = sightline("classify", "bad.png", "none.png", picture("c.png"), "--labels", "map,dog", *at)
    assert done.exit_code == 1
    assert "bad.png: This is not an image" in done.stderr
    assert "none.png: cannot be read: No such file" in done.stderr
    assert any(row.startswith("map 100.0 %") for row in rows(done.stdout))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--labels", "only"], "give at least two labels, separated by commas: dog,cat"),
        (["--labels", "only,,"], "give at least two labels"),
        (["--labels", " , "], "give at least two labels"),
        (["--labels", ""], "give at least two labels"),
        (["--labels", "dog,Dog"], "nothing tells them apart"),
        (["--labels", "map,dog", "--labels", "cat"], "expected one --labels with all"),
        (["--labels", "a,b", "--label-set", "map-or-aerial"], "either labels or label_set"),
        (["--labels", "a,b", "--template", "none"], "needs {}"),
        (["--labels", "a,b", "--target", "feet"], "Unsupported target"),
        (["--labels", "a,b", "--model", "clip"], "no model 'clip'"),
        (["--label-set", "wether"], "there are map-or-aerial, kind-of-picture"),
    ],
)
def test_questions_that_make_no_sense_end_the_run_and_are_said_once(
    sightline: Any, picture: Any, options: list[str], problem: str, at: tuple[str, ...]
) -> None:
    done = sightline("classify", *map(picture, ("a.png", "b.png", "c.png")), *options, *at)
    assert done.exit_code == 2
    assert done.stderr.count(problem) == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_missing_weights_end_the_run_and_are_said_once(
    sightline: Any, picture: Any, at: tuple[str, ...]
) -> None:
    photos = map(picture, ("a.png", "b.png", "c.png"))
    done = sightline("classify", *photos, "--labels", "map,dog", "--model", "clip-vit-l-14", *at)
    assert done.exit_code == 1
    assert "sightline models import BUNDLE" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_photos_before_the_one_that_ended_the_run_are_told_of(
    sightline: Any, picture: Any, at: tuple[str, ...]
) -> None:
    done = sightline("classify", "none.png", picture("a.png"), "--label-set", "wether", *at)
    assert done.exit_code == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("none.png: cannot be read: No such file")
    assert "no label set 'wether'" in second


def test_labels_may_be_given_one_by_one(sightline: Any, picture: Any) -> None:
    options = ("--labels", "map", "--labels", "dog", "--labels", "aerial", "--labels", "logo", "--json")
    done = sightline("classify", picture("a.png"), *options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["results"]["class"]["data"]["probabilities"]
    assert list(found) == ["map", "dog", "aerial", "logo"]


def test_a_set_of_ones_own(sightline: Any, picture: Any, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[mine.labels]\nplan = ['a site plan']\ndog = ['a dog']\n")
    monkeypatch.setenv("SIGHTLINE_LABEL_SETS", str(path))
    done = sightline("classify", picture("a.png"), "--label-set", "mine")
    assert done.exit_code == 0, done.output
    assert any(row.startswith("plan 100.0 %") for row in rows(done.stdout))


@pytest.mark.parametrize("command", ["classify", "analyze"])
def test_a_file_of_sets_that_is_wrong_is_told_at_start(
    sightline: Any, picture: Any, tmp_path: Path, monkeypatch: Any, command: str
) -> None:
    (tmp_path / "mine.toml").write_text("[mine.labels]\nplan = [' ']\ndog = ['a dog']\n")
    monkeypatch.setenv("SIGHTLINE_LABEL_SETS", "mine.toml")
    done = sightline(command, picture("a.png"), picture("b.png"))
    assert done.exit_code == 2
    assert done.stderr == "error: SIGHTLINE_LABEL_SETS: mine.labels.plan.0: a text must not be blank\n"
    assert done.stdout == ""


def test_a_server_that_wants_a_key_says_so(sightline: Any, picture: Any, url: str) -> None:
    done = sightline("classify", picture("a.png"), "--server", url)
    assert done.exit_code == 1
    assert "--api-key" in done.stderr


def test_a_server_that_is_not_there(sightline: Any, picture: Any) -> None:
    done = sightline("classify", picture("a.png"), "--server", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "no server answers at http://127.0.0.1:9" in done.stderr
    done = sightline("classify", picture("a.png"), "--server", "ftp://x")
    assert done.exit_code == 2


def test_a_server_without_weights_is_not_waited_for(sightline: Any, picture: Any, serve: Any) -> None:
    done = sightline("classify", picture("a.png"), "--server", str(serve(plugins_dir=None).base_url))
    assert done.exit_code == 1
    assert "sightline models" in done.stderr


def test_a_photo_is_needed(sightline: Any) -> None:
    assert sightline("classify").exit_code == 2


@pytest.mark.parametrize("with_server", [False, True])
def test_a_truncated_photo_is_classified_on_request(
    with_server: bool, sightline: Any, picture: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = (
        ("--server", request.getfixturevalue("url"), "--api-key", "the-key-0123456789") if with_server else ()
    )
    photo = tmp_path / picture("a.jpg")
    photo.write_bytes(photo.read_bytes()[:-2])
    asked = ("classify", str(photo), "--labels", "map,aerial", "--json", *place)
    assert sightline(*asked).exit_code == 1
    done = sightline(*asked, "--truncated", "fill")
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)["results"].values()
    assert result["data"]["label"] == "map"
    assert any("truncated" in warning for warning in result["warnings"])


def test_a_folder_stands_for_its_images(sightline: Any, picture: Any, tmp_path: Path) -> None:
    (tmp_path / "in" / "@eaDir").mkdir(parents=True)
    for name in ("in/b.png", "in/a.png", "in/@eaDir/a.png", "c.png"):
        picture(name)
    done = sightline("classify", "in", "c.png", "--label-set", "map-or-aerial", "--json")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 3
    (tmp_path / "none").mkdir()
    assert sightline("classify", "none", "--label-set", "map-or-aerial").exit_code == 2
