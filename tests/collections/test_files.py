from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.collections.files import NEW_SUFFIX, sealed, unsealed, write_whole

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.text().filter(lambda key: key != "sha256"), VALUES, max_size=5)
BODY = {"collection": "7", "threshold": 0.5, "names": ["a", "b"]}


@settings(deadline=None)
@given(BODIES)
def test_what_is_sealed_is_unsealed(body: dict[str, object]) -> None:
    assert unsealed(sealed(body)) == body


def test_the_seal_is_a_field_of_plain_json() -> None:
    fields = json.loads(sealed(BODY))
    assert fields.pop("sha256")
    assert fields == BODY


def test_whitespace_may_change_and_nothing_else() -> None:
    data = sealed(BODY)
    assert unsealed(json.dumps(json.loads(data)).encode()) == BODY
    with pytest.raises(ValueError, match="digest"):
        unsealed(data.replace(b"0.5", b"0.6"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"sha256": 1}',
        b"[" * 100_000,
        b'{"a": NaN, "sha256": ""}',
    ],
    ids=["empty", "cut", "a list", "null", "no seal", "no text", "a number", "deep", "NaN"],
)
def test_what_was_not_sealed_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unsealed(data)


def test_numbers_that_are_none_are_not_sealed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        sealed({"threshold": float("nan")})


def test_a_file_is_written_as_a_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    for data in (b"one", b"two"):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert [each.name for each in tmp_path.iterdir()] == ["index.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.json"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert path.with_name(path.name + NEW_SUFFIX).exists()
