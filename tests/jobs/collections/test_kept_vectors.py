from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from sightline.collections import Collections
from sightline.jobs.collections.kept_vectors import FILE_NAME, KeptVectors

ONE, TWO = ("maker", "a" * 64), ("maker", "b" * 64)


@pytest.fixture
def kept(collections: Collections):
    found = KeptVectors(collections)
    yield found
    found.close()


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_what_is_kept_is_found_by_all_that_made_it(kept: KeptVectors, collections: Collections) -> None:
    kept.keep({ONE: vector(1, 2, 3)})
    kept.close()
    again = KeptVectors(collections)
    found = again.find([ONE, TWO, ("other", ONE[1])])
    again.close()
    assert found.keys() == {ONE}
    assert found[ONE].dtype == np.float32
    assert found[ONE].tolist() == [1, 2, 3]


def test_the_first_one_stays(kept: KeptVectors) -> None:
    kept.keep({ONE: vector(1)})
    kept.keep({ONE: vector(2), TWO: vector(3)})
    assert kept.find([ONE])[ONE].tolist() == [1]


def test_the_oldest_go(collections: Collections) -> None:
    kept = KeptVectors(collections, most_vectors=10)
    keys = [("maker", f"{number:064x}") for number in range(25)]
    for key in keys:
        kept.keep({key: vector(1)})
    assert set(kept.find(keys)) == set(keys[-10:])
    kept.close()


def test_it_is_no_collection(kept: KeptVectors, collections: Collections) -> None:
    kept.keep({ONE: vector(1)})
    assert collections.names() == []


def test_a_damaged_file_costs_time_and_nothing_else(collections: Collections, caplog) -> None:
    collections.root.mkdir(parents=True)
    (collections.root / FILE_NAME).write_bytes(b"no database" * 1000)
    kept = KeptVectors(collections)
    kept.keep({ONE: vector(1)})
    assert kept.find([ONE]) == {}
    assert "embedded anew" in caplog.text
    kept.close()


@pytest.mark.parametrize(
    "damage",
    [
        "vector = substr(vector, 1, length(vector) - 1) || x'00'",
        "vector = substr(vector, 1, length(vector) - 4)",
        "vector = x'0000803f'",  # as versions without digests wrote it
        "vector = 'text'",
        "vector = 1",
        "sha256 = '%s'" % ("c" * 64),  # the vector of another picture
    ],
)
def test_a_damaged_vector_is_made_anew(kept: KeptVectors, collections: Collections, damage: str) -> None:
    kept.keep({ONE: vector(1, 2), TWO: vector(3)})
    kept.close()
    database = sqlite3.connect(collections.root / FILE_NAME)
    with database:
        database.execute(f"UPDATE vectors SET {damage} WHERE sha256 = ?", (ONE[1],))
    database.close()
    third = ("maker", "c" * 64)
    assert kept.find([ONE, TWO, third]).keys() == {TWO}
    kept.keep({ONE: vector(1, 2), third: vector(5)})
    assert {key: found.tolist() for key, found in kept.find([ONE, third]).items()} == {
        ONE: [1, 2],
        third: [5],
    }


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("")
    kept = KeptVectors(Collections(tmp_path / "file" / "collections"))
    kept.keep({ONE: vector(1)})
    assert kept.find([ONE]) == {}
    assert "embedded anew" in caplog.text


def test_threads_and_processes_share_it(collections: Collections) -> None:
    stores = [KeptVectors(collections) for _ in range(2)]

    def work(number: int) -> None:
        for step in range(20):
            key = ("maker", f"{number:032x}{step:032x}")
            stores[number % 2].keep({key: vector(number, step)})
            assert stores[number % 2].find([key])[key].tolist() == [number, step]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [("maker", f"{number:032x}{step:032x}") for number in range(4) for step in range(20)]
    assert len(stores[0].find(keys)) == 80
    for store in stores:
        store.close()
