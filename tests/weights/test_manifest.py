from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.types import Provenance
from sightline.weights.manifest import FileRecord, Manifest, now, sha256_of

A, B = "a" * 64, "b" * 64


@pytest.fixture
def manifest():
    return Manifest(
        model="demo",
        provenance=Provenance.PULLED,
        origin="the sources on its card",
        licence="MIT",
        homepage="https://example.org",
        preprocessing="square-224",
        files={
            "a.onnx": FileRecord(A, 3, "hub file", fetched=True),
            "b.npy": FileRecord(B, 4, "built from a.onnx", inputs={"a.onnx": A}),
        },
        created_at=now(),
    )


def test_it_comes_back_from_json_as_it_was(manifest):
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_the_fingerprint_is_of_what_answers_depend_on(manifest):
    same = replace(
        manifest,
        files=dict(reversed(manifest.files.items())),
        provenance=Provenance.EXPORTED,
        origin="elsewhere",
        licence="other",
        created_at="later",
    )
    assert same.fingerprint == manifest.fingerprint
    assert len(manifest.fingerprint) == 16
    others = [
        replace(manifest, preprocessing="square-336"),
        replace(manifest, files={"a.onnx": manifest.files["a.onnx"]}),
        replace(manifest, files={**manifest.files, "b.npy": FileRecord(A, 4, "built")}),
        replace(manifest, files={"a.onnx": manifest.files["b.npy"], "b.npy": manifest.files["a.onnx"]}),
    ]
    assert len({item.fingerprint for item in [manifest, *others]}) == 5


def test_the_fingerprint_never_changes_between_versions():
    """Answers stored with it must stay comparable; this value may not be edited."""
    one = Manifest("m", Provenance.PULLED, "", "", "", "tag", {"f": FileRecord(A, 1, "")}, "")
    assert one.fingerprint == "c4cee1fdd84fbd87"


@pytest.mark.parametrize(
    "change",
    [
        {"model": "../up"},
        {"model": None},
        {"provenance": "borrowed"},
        {"files": {"../up": {"sha256": A, "size_bytes": 1, "source": ""}}},
        {"files": {"a": {"sha256": A.upper(), "size_bytes": 1, "source": ""}}},
        {"files": {"a": {"sha256": A, "size_bytes": -1, "source": ""}}},
        {"files": {"a": {"sha256": A, "size_bytes": "1", "source": ""}}},
        {"files": {"a": {"sha256": A, "size_bytes": 1, "source": "two\nlines"}}},
        {"files": []},
        {"surprise": 1},
    ],
)
def test_anything_else_is_refused(manifest, change):
    content = {**json.loads(manifest.to_json()), **change}
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(json.dumps(content).encode())


@given(st.binary(max_size=200))
def test_rubbish_is_refused(data):
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(data)


def test_sha256_of_a_file(tmp_path, sha256):
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    assert sha256_of(tmp_path / "f") == sha256(b"x" * 3_000_000)
