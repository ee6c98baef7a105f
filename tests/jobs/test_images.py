from __future__ import annotations

import os
from pathlib import Path

import pytest

from sightline.jobs import images
from sightline.jobs.images import FolderImage, Listing, listings


def found(folder: Path, *, recursive: bool = False) -> list[FolderImage]:
    return [image for listing in listings(folder, recursive=recursive) for image in listing]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_are_known_by_their_names_in_any_case(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "b.JPEG",
        "c.Png",
        "d.webp",
        "e.gif",
        "f.bmp",
        "g.tif",
        "h.TIFF",
        "i.avif",
        "j.heic",
        "k.heif",
    ]
    touch(tmp_path, *names, "l.txt", "m.svg", "jpg", "n.jpg.zip", "o.", "p")
    assert [image.path.name for image in found(tmp_path)] == names


def test_a_caption_lies_beside_its_image(tmp_path: Path) -> None:
    touch(tmp_path, "photo.jpg", "two.dots.png", "done.gif", "done.txt", "shouted.bmp", "shouted.TXT")
    done, photo, shouted, two = found(tmp_path)
    assert photo == FolderImage(tmp_path / "photo.jpg", tmp_path / "photo.txt", False, None)
    assert two.caption == tmp_path / "two.dots.txt"
    assert (done.has_caption, two.has_caption) == (True, False)
    assert not shouted.has_caption  # another file, here


def test_images_that_share_a_caption_name_the_first(tmp_path: Path) -> None:
    touch(tmp_path, "photo.png", "photo.jpg", "photo.JPG", "photo2.jpg", "photo.a.jpg")
    namesakes = {image.path.name: image.namesake for image in found(tmp_path)}
    assert namesakes == {
        "photo.JPG": None, "photo.jpg": "photo.JPG", "photo.png": "photo.JPG",
        "photo.a.jpg": None, "photo2.jpg": None,
    }  # fmt: skip


def test_case_counts_only_where_it_does_to_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "Photo.jpg", "photo.png", "PHOTO.TXT")
    assert [image.namesake for image in found(tmp_path)] == [None, None]
    monkeypatch.setattr(images, "_ONE_CASE", True)
    first, second = found(tmp_path)
    assert (first.namesake, second.namesake) == (None, "Photo.jpg")
    assert first.has_caption


def test_folders_below_are_left_alone_unless_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "z.jpg", "a/y.jpg", "a/b/x.jpg", "c/w.jpg", "folder.jpg/v.jpg")
    assert [image.path.name for image in found(tmp_path)] == ["z.jpg"]
    below = [str(image.path.relative_to(tmp_path)) for image in found(tmp_path, recursive=True)]
    assert below == ["z.jpg", "a/y.jpg", "a/b/x.jpg", "c/w.jpg", "folder.jpg/v.jpg"]


def test_hidden_files_pipes_and_circles_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "._a.jpg", ".hidden.png", ".trash/b.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "linked.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    assert [image.path.name for image in found(tmp_path, recursive=True)] == [
        "a.jpg", "linked.jpg", "nowhere.jpg",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_read_is_an_entry_of_its_own(tmp_path: Path) -> None:
    (gone,) = listings(tmp_path / "gone", recursive=True)
    assert isinstance(gone.error, FileNotFoundError)
    assert list(gone) == []
    touch(tmp_path, "file")
    (file,) = listings(tmp_path / "file", recursive=False)
    assert isinstance(file.error, NotADirectoryError)


def test_an_empty_folder_has_an_empty_list(tmp_path: Path) -> None:
    assert list(listings(tmp_path, recursive=True)) == [Listing(tmp_path)]
