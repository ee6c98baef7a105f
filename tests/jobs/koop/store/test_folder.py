"""A folder is held by one download at a time."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sightline.errors import InvalidRequest
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.store.folder import disk_trouble_ends_the_run, occupied, reason_of


def test_a_folder_is_made_and_can_be_held_again_afterwards(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "down"
    with occupied(root) as blobs:
        assert blobs.root == root
    with occupied(root):
        assert (root / "blobs").is_dir()


def test_two_at_once_are_refused_by_name(tmp_path: Path) -> None:
    with (
        occupied(tmp_path / "out"),
        pytest.raises(InvalidRequest, match="out is in use by another download"),
        occupied(tmp_path / "out"),
    ):
        pass


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InvalidRequest, match="cannot be written: Not a directory"),
        occupied(tmp_path / "file" / "out"),
    ):
        pass


def test_an_error_inside_lets_the_folder_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), occupied(tmp_path):
        raise ZeroDivisionError
    with occupied(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO])
def test_what_every_write_would_meet_ends_the_run(number: int, tmp_path: Path) -> None:
    with (
        pytest.raises(RunEnded, match=r"cannot be written any more.*goes on from here"),
        disk_trouble_ends_the_run(tmp_path),
    ):
        raise OSError(number, os.strerror(number))


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_trouble_ends_the_run(tmp_path):
        (tmp_path / "none").read_bytes()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(28, "No space"), "No space"), (ValueError("odd"), "odd"), (ValueError(), "ValueError")],
)
def test_reasons_are_never_empty(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
