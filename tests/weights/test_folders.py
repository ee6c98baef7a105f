from __future__ import annotations

from pathlib import Path

import pytest

from sightline.errors import UnknownModel
from sightline.types import Provenance
from sightline.weights.folders import Folders, take
from sightline.weights.manifest import Manifest, now


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


def _publish(folders, content):
    staged = folders.staging("demo")
    (staged / "file").write_bytes(content)
    manifest = Manifest("demo", Provenance.PULLED, "", "", "", "", {}, now())
    return folders.publish(staged, manifest, random=False)


def test_a_published_folder_replaces_the_old_one_whole(folders, tmp_path, tree):
    with folders.lock("demo"):
        _publish(folders, b"old")
        _publish(folders, b"new")
    assert tree(tmp_path)["demo/file"] == b"new"
    assert {name for name in tree(tmp_path) if not name.startswith(".locks")} == {
        "demo/file",
        "demo/manifest.json",
    }


def test_a_death_between_the_two_renames_is_undone(folders, tmp_path, monkeypatch):
    with folders.lock("demo"):
        _publish(folders, b"old")
    replace = Path.replace

    def dies(self, target):
        if target == tmp_path / "demo":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, folders.lock("demo"):
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            _publish(folders, b"new")
    assert not (tmp_path / "demo").exists()
    with folders.lock("demo"):
        assert (tmp_path / "demo" / "file").read_bytes() == b"old"
        _publish(folders, b"new")
    assert (tmp_path / "demo" / "file").read_bytes() == b"new"


def test_a_staging_folder_is_always_empty(folders):
    (folders.staging("demo") / "left over").write_bytes(b"")
    assert list(folders.staging("demo").iterdir()) == []


def test_names_cannot_leave_the_root(folders):
    for name in ("..", "a/b", "/a", ""):
        with pytest.raises(UnknownModel):
            folders.model(name)


def test_taking_moves_or_leaves(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "a").write_bytes(b"a")
    (source / "b").write_bytes(b"b")
    take({"x": (source / "a", True), "y": (source / "b", False)}, target)
    assert sorted(path.name for path in target.iterdir()) == ["x", "y"]
    assert [path.name for path in source.iterdir()] == ["b"]
