"""Photos that show the same: equal files, copies of other quality, and bursts. Nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.imaging import differing_bits
from sightline.libraries import Filter, Item, Library
from sightline.libraries.vectors import Floats, VectorIndex

# Bits of the perceptual hash that may differ between copies, and the least cosine of their vectors.
_NEAR_BITS, _NEAR_COSINE = 6, 0.97
# Photos of one camera this close in time, and this alike, are of one burst.
_BURST_S, _BURST_COSINE = 5.0, 0.90
# Hashes are looked up by these parts: if at most six bits of 64 differ, one of seven parts is equal.
_PARTS = tuple((64 * part // 7, 64 * (part + 1) // 7) for part in range(7))


class Kind(StrEnum):
    """How alike the photos of a group are."""

    EXACT = "exact"
    NEAR = "near"
    BURST = "burst"


@dataclass(frozen=True, slots=True)
class Group:
    """Photos that show the same; the first is the best copy, and ``reason`` says why."""

    kind: Kind
    items: tuple[Item, ...]
    reason: str

    def facts(self) -> dict[str, Any]:
        """Return what people and programs are shown, by name."""
        best, *others = [item.facts() for item in self.items]
        return {"kind": self.kind.value, "reason": self.reason, "best": best, "others": others}


def duplicate_groups(library: Library, kinds: Iterable[Kind] = tuple(Kind)) -> list[Group]:
    """Return groups of at least two photos. A photo is in one group of each kind at most.

    Copies that are equal to the last byte count as one for the other kinds.
    """
    kinds = set(kinds)
    serving = library.serving()
    index = library.index(serving[0]) if serving else None
    exact = [_group(Kind.EXACT, library.items_of(ids)) for ids in library.copies()]
    hidden = {item.id for group in exact for item in group.items[1:]}
    near = [_group(Kind.NEAR, library.items_of(ids)) for ids in _near(library, hidden, index)]
    hidden |= {item.id for group in near for item in group.items[1:]}
    groups = [group for group in (*exact, *near) if group.kind in kinds]
    if Kind.BURST in kinds and index is not None:
        groups += [_group(Kind.BURST, library.items_of(ids)) for ids in _bursts(library, hidden, index)]
    return groups


def _group(kind: Kind, items: Sequence[Item]) -> Group:
    """The group with its best copy first: most pixels, then most bytes, then the oldest, then by name."""
    best, *others = sorted(
        items, key=lambda item: (-item.width * item.height, -item.size, item.taken_at or "9", item.path)
    )
    pixels = best.width * best.height
    if any(item.width * item.height < pixels for item in others):
        reason = f"most pixels, {best.width}×{best.height}"
    elif any(item.size < best.size for item in others):
        reason = f"largest file, {best.size:,} bytes"
    elif any((item.taken_at or "9") > (best.taken_at or "9") for item in others):
        reason = "taken first"
    else:
        reason = "first by name"
    return Group(kind, (best, *others), reason)


def _near(library: Library, hidden: set[int], index: VectorIndex | None) -> Iterator[list[int]]:
    ids, hashes = library.perceptual_hashes()
    keep = ~np.isin(ids, list(hidden)) if hidden else np.ones(len(ids), bool)
    ids, hashes = ids[keep], hashes[keep]
    pairs = _pairs(hashes)
    if not len(pairs):
        return
    alike = [(int(ids[one]), int(ids[other])) for one, other in pairs]
    if index is not None:
        vectors = index.vectors([item_id for pair in alike for item_id in pair])
        alike = [pair for pair in alike if _cosine(vectors, pair) >= _NEAR_COSINE]
    yield from _connected(alike)


def _pairs(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Rows of hashes that differ in few bits."""
    found: set[tuple[int, int]] = set()
    for low, high in _PARTS:
        part = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(part, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(part[order]) != 0, True])
        for first, last in pairwise(starts.tolist()):
            rows = order[first:last]
            for position in range(len(rows) - 1):
                one, others = rows[position], rows[position + 1 :]
                close = others[differing_bits(hashes[others], hashes[one]) <= _NEAR_BITS]
                found |= {(min(int(one), int(other)), max(int(one), int(other))) for other in close}
    return sorted(found)


def _bursts(library: Library, hidden: set[int], index: VectorIndex) -> Iterator[list[int]]:
    dated = [
        item
        for item in library.items_of(library.ids(Filter()).tolist())
        if item.taken_at and item.id not in hidden
    ]
    dated.sort(key=lambda item: (item.camera or "", item.taken_at or "", item.path))
    close = [
        (one.id, other.id)
        for one, other in pairwise(dated)
        if one.camera == other.camera and _seconds(one, other) <= _BURST_S
    ]
    vectors = index.vectors([item_id for pair in close for item_id in pair])
    yield from _connected([pair for pair in close if _cosine(vectors, pair) >= _BURST_COSINE])


def _seconds(one: Item, other: Item) -> float:
    assert one.taken_at is not None
    assert other.taken_at is not None
    between = datetime.fromisoformat(other.taken_at) - datetime.fromisoformat(one.taken_at)
    return abs(between.total_seconds())


def _cosine(vectors: dict[int, Floats], pair: tuple[int, int]) -> float:
    one, other = (vectors.get(item_id) for item_id in pair)
    return -1.0 if one is None or other is None else float(one @ other)


def _connected(pairs: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Numbers that pairs connect, directly or by others."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        parent.setdefault(number, number)
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for one, other in pairs:
        parent[root(one)] = root(other)
    groups: dict[int, list[int]] = {}
    for number in sorted(parent):
        groups.setdefault(root(number), []).append(number)
    yield from groups.values()
