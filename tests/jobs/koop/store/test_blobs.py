"""Files named by their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sightline.jobs.koop.store.blobs import Blobs, blob_path, digest_in

DATA = b"a picture"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path)
    made.prepare()
    return made


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_bytes_lie_under_their_digest_and_come_back(blobs: Blobs, tmp_path: Path) -> None:
    path = blobs.put(DATA, blobs.digest(DATA), "png")
    assert path == f"blobs/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}.png" == blob_path(SHA256, "png")
    assert blobs.has(path)
    assert blobs.read(path) == DATA
    assert files(tmp_path) == {path}


def test_the_same_bytes_are_not_written_again(blobs: Blobs, tmp_path: Path) -> None:
    path = blobs.put(DATA, SHA256, "png")
    before = (tmp_path / path).stat().st_ino
    assert blobs.put(DATA, SHA256, "png") == path
    assert (tmp_path / path).stat().st_ino == before


def test_what_an_ended_process_left_is_cleared(blobs: Blobs, tmp_path: Path) -> None:
    kept = blobs.put(DATA, SHA256, "png")
    (tmp_path / "blobs" / "incoming" / "half").write_bytes(b"a pic")
    Blobs(tmp_path).prepare()
    assert files(tmp_path) == {kept}


def test_files_are_found_by_when_they_were_written_and_what_is_not_ours_is_passed_over(
    blobs: Blobs, tmp_path: Path
) -> None:
    old, new = (blobs.put(data, blobs.digest(data), "png") for data in (b"old", DATA))
    os.utime(tmp_path / old, (1000, 1000))
    assert set(blobs.paths(0)) == {old, new}
    assert list(blobs.paths(1001)) == [new]
    folder = (tmp_path / new).parent
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / folder.name).mkdir(parents=True)
    (elsewhere / folder.name / f"zz{SHA256[2:]}.png").write_bytes(b"")
    (elsewhere / folder.name / f"{SHA256}.png").write_bytes(b"")
    (tmp_path / "blobs" / "zz").symlink_to(elsewhere)
    (tmp_path / "blobs" / "00").symlink_to(folder.parent)
    (folder / f"{SHA256[:-1]}0.jpg").symlink_to(tmp_path / new)
    (folder / "notes.txt").write_text("")
    (folder / f"{'0' * 64}.png").write_bytes(b"")  # in the wrong place
    (tmp_path / "blobs" / "incoming" / "half").write_bytes(b"")
    assert set(blobs.paths(0)) == {old, new}


def test_a_digest_is_found_in_a_path() -> None:
    assert digest_in(blob_path(SHA256, "png")) == SHA256


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        blobs.put(DATA, SHA256, "png")
    assert files(tmp_path) == set()


def test_removing_what_is_not_there_is_no_error(blobs: Blobs) -> None:
    path = blobs.put(DATA, SHA256, "png")
    blobs.remove(path)
    blobs.remove(path)
    assert not blobs.has(path)
    with pytest.raises(FileNotFoundError):
        blobs.read(path)
