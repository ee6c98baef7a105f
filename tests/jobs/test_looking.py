"""What ``sightline analyze`` does not show: see tests/cli/test_analyze.py for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.errors import InvalidRequest
from sightline.jobs.looking import read_image


def test_a_file_is_read_one_byte_past_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    assert len(read_image(str(tmp_path / "a"), 100)) == 100
    assert len(read_image(str(tmp_path / "a"), 99)) == 100
    assert len(read_image(str(tmp_path / "a"), 10)) == 11


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "No such file"), (".", "Is a directory"), ("a\0b", "embedded null byte")]
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^cannot be read: {said}"):
        read_image(f"{tmp_path}/{name}", 10)
