"""Files named by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sightline.jobs.koop.blobs import Blobs, blob_path

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
