from __future__ import annotations

import os
from pathlib import Path

import pytest

from sightline.errors import InvalidRequest
from sightline.jobs import images
from sightline.jobs.images import FolderImage, Listing, listings, survey


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
        "k1.jfif",
        "k2.JPE",
        "k3.jif",
        "k4.hif",
    ]
    touch(tmp_path, *names, "l.txt", "m.svg", "jpg", "n.jpg.zip", "o.", "p")
    assert [image.path.name for image in found(tmp_path)] == names


def test_a_caption_lies_beside_its_image(tmp_path: Path) -> None:
    touch(tmp_path, "photo.jpg", "two.dots.png", "done.gif", "shouted.bmp")
    for name in ("done.txt", "shouted.TXT"):
        (tmp_path / name).write_text("A caption.")
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
    touch(tmp_path, "Photo.jpg", "photo.png")
    (tmp_path / "PHOTO.TXT").write_text("A caption.")
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


def test_an_empty_text_is_no_caption_and_a_link_to_nowhere_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "empty.jpg", "empty.txt", "linked.jpg")
    (tmp_path / "linked.txt").symlink_to("gone.txt")
    assert [image.has_caption for image in found(tmp_path)] == [False, True]


@pytest.mark.parametrize(
    "name",
    [
        *("$RECYCLE.BIN", "$Recycle.Bin", "System Volume Information", "RECYCLER", "__MACOSX", "lost+found"),
        *(
            "@eaDir",
            "#recycle",
            "@Recycle",
            "#snapshot",
            ".Trash-1000",
            ".Trashes",
            ".thumbnails",
            ".Spotlight-V100",
        ),
    ],
)
def test_folders_of_systems_are_left_out(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.jpg", f"{name}/b.jpg", f"below/{name}/c/d.jpg", "below/._e.jpg", "eaDir/f.jpg")
    assert [image.path.name for image in found(tmp_path, recursive=True)] == ["a.jpg", "f.jpg"]


def test_a_survey_counts_images_and_names_linked_folders(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/below/b.jpg", "elsewhere/c.jpg")
    (tmp_path / "in" / "door").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "nowhere").symlink_to(tmp_path / "gone")
    seen = survey(tmp_path / "in", recursive=True)
    assert (seen.number_of_images, seen.links) == (2, [tmp_path / "in" / "door"])
    assert survey(tmp_path / "in", recursive=False).number_of_images == 1


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    touch(tmp_path, "raw/a.CR2", "raw/b.cr2", "raw/c.mp4", "outer/inner/d.jpg", "doors/notes.txt", "empty/.x")
    (tmp_path / "doors" / "door").symlink_to(tmp_path / "raw")
    hints = {
        "raw": r"found \.cr2, \.mp4",
        "outer": "--recursive",
        "doors": "links to folders",
        "empty": r"\.jfif",
    }
    for name, hint in hints.items():
        with pytest.raises(InvalidRequest, match=f"no images in .*{hint}"):
            survey(tmp_path / name, recursive=False)
    with pytest.raises(FileNotFoundError):
        survey(tmp_path / "gone", recursive=True)
