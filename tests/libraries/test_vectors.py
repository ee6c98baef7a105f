"""Searches find what an exact comparison in numpy finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.libraries.vectors import EXACT_ROWS, read_index, write_index

DIMENSIONS = 256


def clustered(rows: int, seed: int = 0) -> np.ndarray:
    """float32 [rows, DIMENSIONS] around centres of 64 dimensions and a common mean, as embeddings are."""
    fixed, random = np.random.default_rng(99), np.random.default_rng(seed)
    axes = fixed.normal(size=(64, DIMENSIONS))
    centres = fixed.normal(size=(300, 64))
    inside = centres[random.integers(0, 300, rows)] + 0.6 * random.normal(size=(rows, 64))
    vectors = inside @ axes + 3.0
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made(folder: Path, vectors: np.ndarray):
    items = np.arange(1, len(vectors) + 1) * 3
    block = (np.arange(1, len(vectors) + 1), items, vectors.astype(np.float16))
    write_index(folder, "model", iter([block]), DIMENSIONS)
    files = read_index(folder, "model")
    assert files is not None
    return files, items


def exact(vectors: np.ndarray, items: np.ndarray, query: np.ndarray, most: int) -> list[int]:
    similarities = vectors.astype(np.float16).astype(np.float32) @ query
    return items[np.argsort(-similarities, kind="stable")[:most]].tolist()


@pytest.mark.parametrize("rows", [1, 7, 500])
def test_few_rows_are_compared_exactly(tmp_path: Path, rows: int) -> None:
    vectors = clustered(rows)
    files, items = made(tmp_path / "index", vectors)
    for query in clustered(5, seed=1):
        found = files.index.search(query, 10)
        assert found.items.tolist() == exact(vectors, items, query, 10)


def test_many_rows_are_found_by_their_bits(tmp_path: Path) -> None:
    vectors = clustered(EXACT_ROWS + 5_000)
    files, items = made(tmp_path / "index", vectors)
    hits = 0
    for query in clustered(50, seed=1):
        found = set(files.index.search(query, 10).items.tolist())
        hits += len(found & set(exact(vectors, items, query, 10)))
    assert hits / 500 >= 0.99


def test_a_filter_costs_no_recall(tmp_path: Path) -> None:
    vectors = clustered(EXACT_ROWS + 5_000)
    files, items = made(tmp_path / "index", vectors)
    only = items[::311]
    for query in clustered(20, seed=2):
        found = files.index.search(query, 10, only)
        assert found.items.tolist() == exact(vectors[::311], only, query, 10)


def test_rows_that_came_later_are_found_and_dropped_ones_are_not(tmp_path: Path) -> None:
    vectors = clustered(100)
    files, items = made(tmp_path / "index", vectors)
    alive = np.ones(100, bool)
    alive[40] = False
    index = files.index.with_changes(alive, np.array([1]), vectors[40:41].astype(np.float16))
    found = index.search(vectors[40], 100)
    assert found.items[0] == 1
    assert items[40] not in found.items
    assert len(index) == 100


def test_an_index_of_other_vectors_is_not_read(tmp_path: Path) -> None:
    made(tmp_path / "index", clustered(10))
    assert read_index(tmp_path / "index", "another model") is None


@pytest.mark.parametrize("name", ["facts.json", "matrix.npy", "items.npy", "mean.npy"])
def test_a_damaged_index_is_not_read(tmp_path: Path, name: str) -> None:
    made(tmp_path / "index", clustered(10))
    file = tmp_path / "index" / name
    file.write_bytes(file.read_bytes()[:-3])
    assert read_index(tmp_path / "index", "model") is None


def test_good_matches_do_not_widen_the_spread(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(2000, DIMENSIONS)).astype(np.float32)
    target = random.normal(size=DIMENSIONS).astype(np.float32)
    target /= np.linalg.norm(target)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    with_matches = noise.copy()
    with_matches[::4] = target
    plain, _ = made(tmp_path / "plain", noise)
    mixed, _ = made(tmp_path / "mixed", with_matches)
    before, after = plain.index.search(target, 1), mixed.index.search(target, 1)
    assert after.spread < 1.7 * before.spread
