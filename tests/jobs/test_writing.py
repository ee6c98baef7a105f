from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sightline.jobs.writing import replacing, temporary_in


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new and ")
        assert path.read_text() == "old"
        file.write(b"longer")
    assert path.read_text() == "new and longer"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_raised_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_does_not_keep_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"), replacing(tmp_path / "a.json") as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == []


def test_temporary_names_differ_and_are_hidden(tmp_path: Path) -> None:
    first, second = temporary_in(tmp_path), temporary_in(tmp_path)
    assert first != second
    assert first.name.startswith(".")
    assert first.parent == tmp_path
