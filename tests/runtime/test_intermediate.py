"""Copies of graphs in OpenVINO's format: made once, remade when the file changes, never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.runtime.graphs import Graphs
from sightline.settings import Settings

X = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)


def graphs(cache_dir: Path | None, precision: str) -> Graphs:
    return Graphs(Settings(_env_file=None, precision=precision, threads=1), cache_dir)


def answer(path: Path, cache_dir: Path | None, precision: str) -> Any:
    graph = graphs(cache_dir, precision)(path)
    return graph.run({graph.inputs[0].name: X})[0]


def test_half_precision_graphs_keep_half_precision_weights(linear_onnx: Path, tmp_path: Path) -> None:
    answer(linear_onnx, tmp_path / "f32", "f32")
    answer(linear_onnx, tmp_path / "bf16", "bf16")
    (full,) = (tmp_path / "f32").glob("*.bin")
    (half,) = (tmp_path / "bf16").glob("*.bin")
    assert half.stat().st_size < full.stat().st_size


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_copy_answers_like_the_file(linear_onnx: Path, tmp_path: Path, precision: str) -> None:
    expected = answer(linear_onnx, None, precision)
    for _ in range(2):  # the first makes the copy, the second finds it
        difference = answer(linear_onnx, tmp_path / "copies", precision) - expected
        assert np.linalg.norm(difference) < 5e-3 * np.linalg.norm(expected)  # bf16 has 8 bits


def test_a_changed_file_gets_a_new_copy_and_the_old_one_goes(linear_onnx: Path, tmp_path: Path) -> None:
    cache = tmp_path / "copies"
    answer(linear_onnx, cache, "f32")
    before = set(cache.iterdir())
    linear_onnx.touch()
    answer(linear_onnx, cache, "f32")
    assert len(set(cache.iterdir())) == len(before)
    assert set(cache.iterdir()).isdisjoint(before)


def test_a_folder_that_cannot_be_written_is_done_without(linear_onnx: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    expected = answer(linear_onnx, None, "f32")
    assert answer(linear_onnx, blocked / "copies", "f32") == pytest.approx(expected)
