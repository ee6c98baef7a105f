"""Copies of graphs in OpenVINO's format: made once, remade when the file changes, never in the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sightline.runtime import intermediate
from sightline.runtime.graphs import Graphs
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.manifest import FileRecord, Manifest, now

X = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)


def graphs(cache_dir: Path | None, precision: str) -> Graphs:
    return Graphs(Settings(_env_file=None, precision=precision, threads=1), cache_dir)


def answer(path: Path, cache_dir: Path | None, precision: str) -> Any:
    graph = graphs(cache_dir, precision)(path)
    return graph.run({graph.inputs[0].name: X})[0]


def test_half_precision_graphs_keep_half_precision_weights(linear_onnx: Path, tmp_path: Path) -> None:
    answer(linear_onnx, tmp_path / "f32", "f32")
    answer(linear_onnx, tmp_path / "bf16", "bf16")
    (full,) = (tmp_path / "f32").glob("*/graph.bin")
    (half,) = (tmp_path / "bf16").glob("*/graph.bin")
    assert half.stat().st_size < full.stat().st_size


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_copy_answers_like_the_file(linear_onnx: Path, tmp_path: Path, precision: str) -> None:
    expected = answer(linear_onnx, None, precision)
    for _ in range(2):  # the first makes the copy, the second finds it
        difference = answer(linear_onnx, tmp_path / "copies", precision) - expected
        assert np.linalg.norm(difference) < 5e-3 * np.linalg.norm(expected)  # bf16 has 8 bits


def swap_weights(path: Path) -> None:
    """Another graph of the very same size and time of change."""
    stat = path.stat()
    model = onnx.load(path)
    (weights,) = (each for each in model.graph.initializer if each.name == "W")
    weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), "W"))
    path.write_bytes(model.SerializeToString())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size


def test_a_changed_file_gets_a_new_copy_and_the_old_one_goes(linear_onnx: Path, tmp_path: Path) -> None:
    cache = tmp_path / "copies"
    expected = answer(linear_onnx, cache, "f32")
    before = set(cache.iterdir())
    swap_weights(linear_onnx)
    assert answer(linear_onnx, cache, "f32") == pytest.approx(-expected, abs=1e-4)
    assert len(set(cache.iterdir())) == len(before)
    assert set(cache.iterdir()).isdisjoint(before)


def test_a_touched_file_keeps_its_copy(linear_onnx: Path, tmp_path: Path) -> None:
    answer(linear_onnx, tmp_path / "copies", "f32")
    (copy,) = (tmp_path / "copies").glob("*/graph.bin")
    before = copy.stat().st_ino
    linear_onnx.touch()
    answer(linear_onnx, tmp_path / "copies", "f32")
    assert copy.stat().st_ino == before


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("part", ["graph.xml", "graph.bin", "digests.json"])
@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        Path.unlink,
        replace_by_a_folder,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[]"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
    ],
    ids=["bit", "missing", "folder", "empty", "list", "short"],
)
def test_a_damaged_copy_is_made_anew(
    linear_onnx: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, part: str, damage: Any
) -> None:
    cache = tmp_path / "copies"
    expected = answer(linear_onnx, cache, "f32")
    assert intermediate.damaged(cache, [linear_onnx]) == []
    (copy,) = cache.iterdir()
    damage(copy / part)
    assert intermediate.damaged(cache, [linear_onnx]) == [linear_onnx]
    for _ in range(2):
        assert answer(linear_onnx, cache, "f32") == pytest.approx(expected)
    assert list(cache.iterdir()) == [copy]
    assert intermediate.damaged(cache, [linear_onnx]) == []
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1


@pytest.mark.parametrize("kind", ["file", "link", "loop"])
def test_what_is_in_the_place_of_a_copy_goes(linear_onnx: Path, tmp_path: Path, kind: str) -> None:
    cache = tmp_path / "copies"
    expected = answer(linear_onnx, cache, "f32")
    (copy,) = cache.iterdir()
    copy.rename(tmp_path / "elsewhere")
    if kind == "file":
        copy.write_text("in the way")
    else:
        copy.symlink_to(copy if kind == "loop" else tmp_path)
    assert answer(linear_onnx, cache, "f32") == pytest.approx(expected)
    assert (copy / "graph.bin").is_file()


def test_copies_of_an_older_version_go(linear_onnx: Path, tmp_path: Path) -> None:
    cache = tmp_path / "copies"
    answer(linear_onnx, cache, "f32")
    (copy,) = cache.iterdir()
    place = copy.name.partition("-")[0]
    for suffix in (".xml", ".bin"):
        (cache / f"{place}-0123456789abcdef{suffix}").write_text("not a graph")
    (copy / "digests.json").unlink()
    answer(linear_onnx, cache, "f32")
    assert list(cache.iterdir()) == [copy]


def test_a_damaged_file_beside_a_manifest_gets_no_copy(linear_onnx: Path, tmp_path: Path) -> None:
    """The copy is found by the digest in the manifest, so it must be of a file that has it."""
    record = FileRecord("0" * 64, linear_onnx.stat().st_size, "test")
    manifest = Manifest(
        model="linear", provenance=Provenance.PULLED, origin="", licence="", homepage="", preprocessing="",
        files={linear_onnx.name: record}, created_at=now(),
    )  # fmt: skip
    linear_onnx.with_name("manifest.json").write_bytes(manifest.to_json())
    expected = answer(linear_onnx, None, "f32")
    assert answer(linear_onnx, tmp_path / "copies", "f32") == pytest.approx(expected)
    assert not (tmp_path / "copies").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_damaged_copy_that_cannot_be_removed_is_not_read(linear_onnx: Path, tmp_path: Path) -> None:
    cache = tmp_path / "copies"
    expected = answer(linear_onnx, cache, "f32")
    (copy,) = cache.iterdir()
    flip_a_bit(copy / "graph.bin")
    for folder in (copy, cache):
        folder.chmod(0o500)
    try:
        assert answer(linear_onnx, cache, "f32") == pytest.approx(expected)
    finally:
        for folder in (cache, copy):
            folder.chmod(0o700)


def test_a_folder_that_cannot_be_written_is_done_without(linear_onnx: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    expected = answer(linear_onnx, None, "f32")
    assert answer(linear_onnx, blocked / "copies", "f32") == pytest.approx(expected)
