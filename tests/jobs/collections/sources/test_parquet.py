from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightline.errors import ExtraMissing, InvalidExamples, InvalidRequest
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.sources import Offer, silent
from sightline.jobs.collections.sources.parquet import ParquetFile

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(**columns: Any) -> Path:
        path = tmp_path / "examples.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return make


def vectors(count: int = 30) -> list[list[float]]:
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32).tolist()


LABELS = [number % 2 for number in range(30)]


async def read(path: Path, collection: str = "7", **more: Any):
    return (await ParquetFile(path, Plan(), **more).examples(Offer(collection), silent)).examples


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 4)],
    ids=str,
)
@pytest.mark.parametrize(
    "labels", [pa.array(LABELS), pa.array(LABELS).cast(pa.bool_())], ids=["ints", "bools"]
)
async def test_any_kind_of_list_is_read(write: Write, kind: Any, labels: Any) -> None:
    found = await read(write(embedding=pa.array(vectors(), kind), label=labels))
    assert np.array_equal(found.vectors, np.array(vectors(), np.float32))
    assert found.labels.tolist() == [bool(label) for label in LABELS]


@pytest.mark.parametrize("ids", [[7, 8], ["cats", "dogs"]])
async def test_rows_go_to_their_collections(write: Write, ids: list[Any]) -> None:
    path = write(embedding=vectors(40), label=[0, 0, 1, 1] * 10, collection_id=ids * 20)
    source = ParquetFile(path, Plan())
    assert [offer.collection for offer in await source.offers()] == [str(each) for each in ids]
    second = await read(path, str(ids[1]))
    assert np.array_equal(second.vectors, np.array(vectors(40), np.float32)[1::2])


async def test_one_collection_is_named_by_who_asks(write: Write) -> None:
    path = write(embedding=vectors(), label=LABELS)
    with pytest.raises(InvalidRequest, match="no column collection_id"):
        await ParquetFile(path, Plan()).offers()
    (offer,) = await ParquetFile(path, Plan(), name="cats").offers()
    assert offer.collection == "cats"


async def test_an_id_that_cannot_be_one_is_a_problem_of_its_own(write: Write) -> None:
    path = write(embedding=vectors(2), label=[0, 1], collection_id=["../x", None])
    assert all(offer.problem for offer in await ParquetFile(path, Plan()).offers())


async def test_known_fingerprints_are_noted(write: Write) -> None:
    path = write(embedding=vectors(), label=LABELS)
    found = await read(path, fingerprints={"clip-vit-b-32": "ab" * 8})
    assert found.recipe.spaces[0].fingerprint == "ab" * 8


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": LABELS}, "has no column embedding"),
        ({"embedding": vectors()}, "has no column label"),
        ({"embedding": LABELS, "label": LABELS}, "embedding .* is int64, no list of numbers"),
        ({"embedding": [["a"]] * 30, "label": LABELS}, "no list of numbers"),
    ],
)
async def test_columns_are_checked(write: Write, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        await read(write(**columns))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (None, "row 25 has no embedding"),
        ([1.0, None, 3.0, 4.0], r"example 12 \(row 25\) has nan as number 1"),
        ([1.0], r"example 12 \(row 25\) has 1 numbers"),
        ([], r"example 12 \(row 25\) has 0 numbers"),
    ],
)
async def test_bad_rows_are_named_as_in_the_file(write: Write, row: Any, said: str) -> None:
    rows = [*vectors(25), row, *vectors(4)]
    path = write(embedding=rows, label=[0, 0, 1, 1] * 7 + [0, 0], collection_id=[8, 7] * 15)
    with pytest.raises(InvalidExamples, match=said):
        await read(path, "7")


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 or not")
    with pytest.raises(InvalidRequest, match=r"x\.parquet cannot be read as a Parquet file"):
        await ParquetFile(path, Plan(), name="a").offers()


async def test_without_pyarrow_it_says_what_to_install(write: Write, monkeypatch) -> None:
    path = write(embedding=vectors(), label=LABELS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=r"needs pyarrow.*make extras"):
        await ParquetFile(path, Plan(), name="a").offers()
