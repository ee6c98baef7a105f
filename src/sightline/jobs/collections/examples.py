"""What a classifier learns from: vectors, and for each whether its picture is in the collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sightline.collections import Recipe, Space
from sightline.errors import InvalidExamples
from sightline.types import FaceContext, Target

# A fifth is held out, and of fewer than five of a kind that may be none.
FEWEST_OF_A_KIND = 5

_NUMBERS = "fiu"  # numpy's kinds: floating point, signed and unsigned integers

Vectors = NDArray[np.float32]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Vectors float32 [N, dimensions], raw, made by ``recipe``; ``labels`` [N] are True for the collection's.

    Made by :func:`examples`, which checks them.
    """

    vectors: Vectors
    labels: Labels
    recipe: Recipe

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        return int(self.labels.sum())

    def chosen(self, rows: NDArray[np.intp]) -> Examples:
        return replace(self, vectors=self.vectors[rows], labels=self.labels[rows])


def examples(
    vectors: Sequence[ArrayLike] | NDArray[Any],
    labels: Sequence[object] | NDArray[np.bool_],
    spaces: Sequence[Space],
    *,
    target: Target = Target.WHOLE_IMAGE,
    face_context: FaceContext = FaceContext.PROMINENT_PERSON,
    names: Sequence[str] | None = None,
) -> Examples:
    """Checked examples. A vector is the embeddings in ``spaces``, one after the other; labels are booleans,
    or 0 and 1. ``names`` (of files, say) are for messages.

    Raises:
        InvalidExamples: of how many dimensions a vector is, or what is in it, or its label, is wrong, and
            which one it is; or there are too few, or none inside or outside the collection.
    """
    if len(vectors) != len(labels):
        raise InvalidExamples(f"there are {len(vectors)} vectors and {len(labels)} labels")
    if len(vectors) == 0:
        raise InvalidExamples("there are no examples")
    marks = _booleans(labels, names)
    _require_both(marks)
    matrix = _matrix(vectors, names)
    recipe = Recipe(tuple(spaces), matrix.shape[1], target, face_context)
    return Examples(matrix, marks, recipe)


def _matrix(vectors: Sequence[ArrayLike] | NDArray[Any], names: Sequence[str] | None) -> Vectors:
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and vectors.dtype.kind in _NUMBERS:
        matrix = _float32(vectors)
    else:
        matrix = np.stack(list(_rows(vectors, names)))
    if matrix.shape[1] == 0:
        raise InvalidExamples("the vectors have no numbers")
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        row = int(bad[0])
        column = int(np.flatnonzero(~np.isfinite(matrix[row]))[0])
        more = f" ({bad.size} examples have such)" if bad.size > 1 else ""
        raise InvalidExamples(
            f"{_which(row, names)} has {matrix[row, column]} as number {column} of its vector{more}; "
            "all numbers must be finite"
        )
    return matrix


def _rows(vectors: Sequence[ArrayLike] | NDArray[Any], names: Sequence[str] | None) -> Iterator[Vectors]:
    dimensions: int | None = None
    for number, vector in enumerate(vectors):
        try:
            row = np.asarray(vector)
        except ValueError:  # lists in it of several lengths
            row = np.empty(0, object)
        if row.ndim != 1 or (row.dtype.kind not in _NUMBERS):
            raise InvalidExamples(f"{_which(number, names)} has a vector that is no list of numbers")
        if dimensions not in (None, row.size):
            raise InvalidExamples(
                f"{_which(number, names)} has {row.size} numbers and {_which(0, names)} has {dimensions}; "
                "all must come from the same embedding"
            )
        dimensions = row.size
        yield _float32(row)


def _float32(numbers: NDArray[Any]) -> Vectors:
    """What is too large for it becomes infinite, which is refused later."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(numbers, np.float32)


def _booleans(labels: Sequence[object] | NDArray[np.bool_], names: Sequence[str] | None) -> Labels:
    marks = np.empty(len(labels), np.bool_)
    for number, label in enumerate(labels):
        if not isinstance(label, (bool, int, float, np.generic)) or label not in (0, 1):
            raise InvalidExamples(
                f"{_which(number, names)} has the label {str(label)[:50]!r}; "
                "labels are true and false, or 1 and 0"
            )
        marks[number] = bool(label)
    return marks


def _require_both(labels: Labels) -> None:
    inside = int(labels.sum())
    outside = len(labels) - inside
    if inside == 0 or outside == 0:
        missing = "inside" if inside == 0 else "outside"
        raise InvalidExamples(
            f"all {len(labels)} examples are of one class: none is {missing} the collection; "
            f"give at least {FEWEST_OF_A_KIND} of each"
        )
    if min(inside, outside) < FEWEST_OF_A_KIND:
        raise InvalidExamples(
            f"{inside} examples inside and {outside} outside the collection are too few; "
            f"give at least {FEWEST_OF_A_KIND} of each"
        )


def _which(number: int, names: Sequence[str] | None) -> str:
    return f"example {number}" if names is None else f"example {number} ({names[number]})"
