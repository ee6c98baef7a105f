from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.collections import Recipe, Space
from sightline.errors import InvalidExamples
from sightline.jobs.collections.examples import FEWEST_OF_A_KIND, Examples, examples
from sightline.types import FaceContext, Target

CLIP = Space("clip-vit-b-32", "0123456789abcdef")
LABELS = [True] * 5 + [False] * 5
VECTORS = [[float(number), 1.0, 2.0] for number in range(10)]


def these(vectors: object = VECTORS, labels: object = LABELS, **more: object) -> Examples:
    return examples(vectors, labels, [CLIP], **more)  # type: ignore[arg-type]


def test_lists_and_matrices_are_the_same_examples() -> None:
    for vectors in (
        VECTORS,
        np.array(VECTORS),
        np.array(VECTORS, np.float32),
        list(np.array(VECTORS, np.float16)),
    ):
        for labels in (LABELS, np.array(LABELS), [1] * 5 + [0] * 5, [1.0] * 5 + [0.0] * 5):
            found = these(vectors, labels)
            assert found.vectors.dtype == np.float32
            assert found.vectors.tolist() == VECTORS
            assert found.labels.tolist() == LABELS
            assert (len(found), found.positives) == (10, 5)


def test_they_know_how_they_were_made() -> None:
    found = these(target=Target.PROMINENT_FACE, face_context=FaceContext.WHOLE_IMAGE)
    assert found.recipe == Recipe((CLIP,), 3, Target.PROMINENT_FACE, FaceContext.WHOLE_IMAGE)


def test_some_of_them() -> None:
    chosen = these().chosen(np.array([9, 0]))
    assert chosen.vectors.tolist() == [VECTORS[9], VECTORS[0]]
    assert chosen.labels.tolist() == [False, True]


def test_vectors_are_raw() -> None:
    large = [[1000.0 * number for number in vector] for vector in VECTORS]
    assert these(large).vectors.tolist() == large


@pytest.mark.parametrize(("labels", "missing"), [([True] * 10, "outside"), ([False] * 10, "inside")])
def test_one_class_only_is_refused(labels: list[bool], missing: str) -> None:
    with pytest.raises(InvalidExamples, match=f"all 10 examples are of one class: none is {missing}"):
        these(labels=labels)


@pytest.mark.parametrize("inside", range(1, FEWEST_OF_A_KIND))
def test_too_few_of_a_kind_are_refused_and_counted(inside: int) -> None:
    labels = [True] * inside + [False] * (10 - inside)
    for each in (labels, [not label for label in labels]):
        with pytest.raises(
            InvalidExamples, match=f"{sum(each)} examples inside and {10 - sum(each)} outside"
        ):
            these(labels=each)


def test_three_examples_are_too_few() -> None:
    with pytest.raises(InvalidExamples, match="2 examples inside and 1 outside the collection are too few"):
        these(VECTORS[:3], [True, True, False])


def test_none_at_all() -> None:
    with pytest.raises(InvalidExamples, match="no examples"):
        these([], [])


def test_as_many_labels_as_vectors() -> None:
    with pytest.raises(InvalidExamples, match="10 vectors and 9 labels"):
        these(labels=LABELS[:9])


@settings(deadline=None)
@given(
    st.sampled_from([math.nan, math.inf, -math.inf, 1e39]),
    st.integers(0, 9),
    st.integers(0, 2),
    st.booleans(),
)
def test_what_is_no_finite_number_is_found(value: float, row: int, column: int, as_matrix: bool) -> None:
    vectors = [list(vector) for vector in VECTORS]
    vectors[row][column] = value
    with pytest.raises(
        InvalidExamples, match=rf"^example {row} has -?(nan|inf) as number {column} of its vector;"
    ):
        these(np.array(vectors) if as_matrix else vectors)


def test_all_that_are_not_finite_are_counted() -> None:
    vectors = [[math.nan] * 3 if number > 6 else vector for number, vector in enumerate(VECTORS)]
    with pytest.raises(InvalidExamples, match=r"example 7 has nan .*\(3 examples have such\)"):
        these(vectors)


@settings(deadline=None)
@given(st.integers(1, 9), st.sampled_from([0, 1, 2, 4, 512]))
def test_mixed_dimensions_are_found(row: int, dimensions: int) -> None:
    vectors = [[1.0] * dimensions if number == row else vector for number, vector in enumerate(VECTORS)]
    with pytest.raises(InvalidExamples, match=f"example {row} has {dimensions} numbers and example 0 has 3"):
        these(vectors)


def test_examples_are_called_by_their_names() -> None:
    names = [f"photo-{number}.jpg" for number in range(10)]
    vectors = [*VECTORS[:4], [1.0], *VECTORS[5:]]
    with pytest.raises(
        InvalidExamples, match=r"example 4 \(photo-4.jpg\) has 1 .* example 0 \(photo-0.jpg\)"
    ):
        these(vectors, names=names)


@pytest.mark.parametrize(
    "vector", [None, "abc", ["1", "2", "3"], [1, None, 3], [[1, 2], [3]], [[1, 2, 3]], 5, [True] * 3]
)
def test_what_is_no_list_of_numbers(vector: object) -> None:
    with pytest.raises(InvalidExamples, match="example 2 has a vector that is no list of numbers"):
        these([*VECTORS[:2], vector, *VECTORS[3:]])


def test_vectors_without_numbers() -> None:
    with pytest.raises(InvalidExamples, match="have no numbers"):
        these([[] for _ in VECTORS])
    with pytest.raises(InvalidExamples, match="have no numbers"):
        these(np.empty((10, 0)))


@pytest.mark.parametrize("label", [None, "true", "1", 2, -1, 0.5, math.nan, [1]])
def test_labels_are_true_and_false(label: object) -> None:
    with pytest.raises(InvalidExamples, match="example 3 has the label"):
        these(labels=[*LABELS[:3], label, *LABELS[4:]])
