from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from sightline.errors import InvalidRequest
from sightline.jobs.wildlife.photo_names import PhotoNames

COMPOSED = unicodedata.normalize("NFC", "cam1/Ö.jpg")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
assert COMPOSED != DECOMPOSED


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos; one more lies elsewhere and is linked to. ``door`` is a link to the folder."""
    cameras = tmp_path / "work" / "cameras"
    (cameras / "cam1").mkdir(parents=True)
    (cameras / "cam1" / "a.jpg").touch()
    (cameras / "b.jpg").touch()
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "original.jpg").touch()
    (cameras / "linked.jpg").symlink_to(tmp_path / "archive" / "original.jpg")
    (tmp_path / "door").symlink_to(cameras)
    monkeypatch.chdir(tmp_path / "work")
    return cameras


def names(folder: Path) -> PhotoNames:
    return PhotoNames(folder, ("cam1/a.jpg", "b.jpg", "linked.jpg"), bases=(Path(),))


@pytest.mark.parametrize(
    "filepath",
    [
        "cam1/a.jpg",
        "./cam1/a.jpg",
        " cam1/a.jpg ",
        "cam1/../cam1/a.jpg",
        "cam1//a.jpg",
        r"cam1\a.jpg",
        r".\cam1\a.jpg",
        "CAM1/A.JPG",
        "cameras/cam1/a.jpg",
        "../work/cameras/cam1/a.jpg",
        "{tmp}/work/cameras/cam1/a.jpg",
        "{tmp}/work/../work/cameras/cam1/a.jpg",
        "{tmp}/door/cam1/a.jpg",
        "{tmp}/door/CAM1/a.jpg",
    ],
)
def test_every_spelling_of_a_path_finds_the_photo(folder: Path, tmp_path: Path, filepath: str) -> None:
    assert names(folder).find(filepath.format(tmp=tmp_path)) == "cam1/a.jpg"
    assert names(tmp_path / "door").find(filepath.format(tmp=tmp_path)) == "cam1/a.jpg"


@pytest.mark.parametrize("filepath", ["linked.jpg", "{tmp}/archive/original.jpg", "{tmp}/door/linked.jpg"])
def test_a_photo_that_is_a_link_is_found_by_both_paths(folder: Path, tmp_path: Path, filepath: str) -> None:
    assert names(folder).find(filepath.format(tmp=tmp_path)) == "linked.jpg"


@pytest.mark.parametrize(("photo", "filepath"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_both_normalisations_of_unicode_are_one_name(tmp_path: Path, photo: str, filepath: str) -> None:
    assert PhotoNames(tmp_path, [photo]).find(filepath) == photo
    assert PhotoNames(tmp_path, [photo]).find(filepath.upper()) == photo
    assert PhotoNames(tmp_path, [photo, filepath]).find(filepath) == filepath


@pytest.mark.parametrize(
    "filepath",
    [
        "a.jpg",
        "cam2/a.jpg",
        "",
        " ",
        "../b.jpg",
        "/cam1/a.jpg",
        "{tmp}/archive",
        "cam1",
        "b\0.jpg",
        r"C:\cam1\a.jpg",
    ],
)
def test_other_paths_find_nothing(folder: Path, tmp_path: Path, filepath: str) -> None:
    assert names(folder).find(filepath.format(tmp=tmp_path)) is None


def test_exact_names_go_first_and_the_rest_is_not_guessed(tmp_path: Path) -> None:
    both = PhotoNames(tmp_path, ["a.jpg", "A.jpg", r"cam\b.jpg", "cam/b.jpg"])
    assert both.find("A.jpg") == "A.jpg"
    assert both.find(r"cam\b.jpg") == r"cam\b.jpg"
    assert both.find("CAM/B.JPG") == "cam/b.jpg"
    with pytest.raises(InvalidRequest, match=r"A\.jpg, a\.jpg"):
        both.find("A.JPG")


def test_names_that_are_no_text_are_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert PhotoNames(tmp_path, [name]).find(name) == name
