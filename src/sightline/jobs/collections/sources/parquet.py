"""Parquet files with a row per example: ``embedding`` (a list of numbers), ``label`` (true and false, or 1
and 0), and perhaps ``collection_id`` (a number or a name)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.collections.records import COLLECTION_NAME
from sightline.errors import InvalidExamples, InvalidRequest
from sightline.jobs.collections.embedding import Embedded
from sightline.jobs.collections.examples import examples
from sightline.jobs.collections.extras import required
from sightline.jobs.collections.plans import Plan, with_fingerprints
from sightline.jobs.collections.sources import Offer, Report

EMBEDDING, LABEL, COLLECTION = "embedding", "label", "collection_id"
MOST_COLLECTIONS = 10_000


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """``plan`` says how the vectors were made, ``fingerprints`` by which models, where somebody knows.

    ``name`` is the collection's id in a file without a column of them.
    """

    path: Path
    plan: Plan
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None

    async def offers(self) -> list[Offer]:
        """See ``Source``."""
        return await asyncio.to_thread(self._offers)

    async def examples(self, offer: Offer, report: Report) -> Embedded:
        """See ``Source``."""
        report("reading examples", 0, None)
        return await asyncio.to_thread(self._examples, offer)

    def _offers(self) -> list[Offer]:
        columns = self._columns()
        if COLLECTION not in columns:
            name = self.name
            if name is None:
                raise InvalidRequest(
                    f"{self.path.name} has no column {COLLECTION}: say which one collection it is of"
                )
            return [Offer(name, plan=self.plan)]
        table = self._read([COLLECTION])
        found = table.column(COLLECTION).unique().to_pylist()
        if len(found) > MOST_COLLECTIONS:
            raise InvalidRequest(
                f"{self.path.name} has {len(found)} collections; {MOST_COLLECTIONS} are read"
            )
        return [self._offer(each) for each in found]

    def _offer(self, value: Any) -> Offer:
        identity = str(value)
        if not isinstance(value, int | str) or not re.fullmatch(COLLECTION_NAME, identity):
            return Offer(identity[:100], problem="this cannot be a collection's id")
        return Offer(identity, plan=self.plan)

    def _examples(self, offer: Offer) -> Embedded:
        columns = self._columns()
        table = self._read([EMBEDDING, LABEL, *([COLLECTION] if COLLECTION in columns else [])])
        rows = np.arange(table.num_rows)
        if COLLECTION in columns:
            of_which = table.column(COLLECTION).to_pylist()
            rows = np.flatnonzero([str(each) == offer.collection for each in of_which])
            table = table.take(rows)
        labels = table.column(LABEL).to_pylist()
        vectors = _vectors(table.column(EMBEDDING), rows)
        made = examples(
            vectors,
            labels,
            with_fingerprints(offer.plan.spaces, self.fingerprints),
            target=offer.plan.target,
            face_context=offer.plan.face_context,
            names=[f"row {row}" for row in rows],
        )
        return Embedded(made)

    def _columns(self) -> set[str]:
        """Raises InvalidRequest unless the file has what is needed, as what is needed."""
        pyarrow = required("pyarrow", "pyarrow")
        schema = self._reading(lambda parquet: parquet.read_schema(self.path))
        missing = [name for name in (EMBEDDING, LABEL) if name not in schema.names]
        if missing:
            raise InvalidRequest(
                f"{self.path.name} has no column {missing[0]}; it needs {EMBEDDING}, a list of numbers, and "
                f"{LABEL}, true or false"
            )
        kind, types = schema.field(EMBEDDING).type, pyarrow.types
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        if not is_list or not (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
            raise InvalidRequest(f"the column {EMBEDDING} of {self.path.name} is {kind}, no list of numbers")
        return set(schema.names)

    def _read(self, columns: list[str]) -> Any:
        return self._reading(lambda parquet: parquet.read_table(self.path, columns=columns))

    def _reading(self, read: Any) -> Any:
        pyarrow = required("pyarrow", "pyarrow")
        try:
            return read(required("pyarrow.parquet", "pyarrow"))
        except (pyarrow.ArrowException, OSError) as error:
            raise InvalidRequest(f"{self.path.name} cannot be read as a Parquet file: {error}") from error


def _vectors(column: Any, rows: NDArray[np.intp]) -> Any:
    """float [N, dimensions] where all have as many numbers; else a list with an array for each."""
    if column.null_count:
        number = column.is_null().to_pylist().index(True)
        raise InvalidExamples(f"row {rows[number]} has no {EMBEDDING}")
    compute = required("pyarrow.compute", "pyarrow")
    lengths = compute.list_value_length(column).to_numpy()
    # Nulls in a list become NaN, which is refused by number and name.
    numbers = compute.list_flatten(column).to_numpy(zero_copy_only=False)
    if len(lengths) and (lengths == lengths[0]).all():
        return numbers.reshape(len(lengths), int(lengths[0]))
    ends = np.cumsum(lengths)
    return [numbers[end - length : end] for end, length in zip(ends, lengths, strict=True)]
