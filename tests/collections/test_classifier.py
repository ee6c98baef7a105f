from __future__ import annotations

import io
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.collections import Classifier, Recipe, Record, Space
from sightline.collections.classifier import logistic, numbers_from_bytes, numbers_to_bytes
from sightline.errors import VectorsRefused

FINGERPRINTS = ("a" * 16, "b" * 16)
NAMES = ("clip-vit-b-32", "dinov2-base")


def classifier(
    weights: object, intercept: float = 0.0, fingerprints: tuple[str | None, ...] = ("a" * 16,)
) -> Classifier:
    numbers = np.array(weights, np.float64)
    spaces = tuple(Space(name, fingerprint) for name, fingerprint in zip(NAMES, fingerprints, strict=False))
    record = Record("7", "20261121T000000Z", Recipe(spaces, numbers.size), "0" * 64, "trained", None)
    return Classifier.of(record, numbers, intercept)


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_the_logistic_function_of_the_weighted_sum() -> None:
    judgement = classifier([1, -2], 0.5).judge([vector(3, 1)], ["a" * 16])
    assert judgement.score == pytest.approx(1.5)
    assert judgement.probability == pytest.approx(1 / (1 + math.exp(-1.5)), abs=1e-12)


def test_embeddings_are_put_one_after_the_other_in_the_recipes_order() -> None:
    both = classifier([1, 10, 100], fingerprints=FINGERPRINTS)
    assert both.judge([vector(1, 2), vector(3)], FINGERPRINTS).score == 321


@pytest.mark.parametrize("score", [-1e4, -745, -40, -1e-9, 0, 1e-9, 40, 745, 1e4])
def test_probabilities_are_right_however_large_the_score(score: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = classifier([score]).judge([vector(1)], ["a" * 16])
        many = classifier([score]).probabilities(np.ones((3, 1), np.float32))
    assert 0 <= one.probability <= 1
    assert one.probability == pytest.approx(float(1 / (1 + np.exp(np.longdouble(-score)))), rel=1e-9)
    np.testing.assert_allclose(many, one.probability, rtol=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_one_picture_and_many_are_judged_alike(scores: list[float]) -> None:
    alone = [classifier([1.0], score).judge([vector(0)], ["a" * 16]).probability for score in scores]
    np.testing.assert_allclose(logistic(np.array(scores)), alone, rtol=1e-12)


def test_vectors_of_another_model_are_refused_and_both_are_named() -> None:
    with pytest.raises(VectorsRefused, match=r"collection 7 .* clip-vit-b-32 with fingerprint a{16}.* c{16}"):
        classifier([1, 1]).judge([vector(1, 1)], ["c" * 16])


def test_the_second_of_two_embeddings_is_checked_too() -> None:
    both = classifier([1, 1], fingerprints=FINGERPRINTS)
    with pytest.raises(VectorsRefused, match="dinov2-base"):
        both.judge([vector(1), vector(1)], ["a" * 16, "c" * 16])


def test_a_model_nobody_recorded_is_taken_and_can_be_told() -> None:
    unknown = classifier([1, 1], fingerprints=(None, "b" * 16))
    assert unknown.of_unknown_origin == ("clip-vit-b-32",)
    assert unknown.judge([vector(1), vector(1)], ["c" * 16, "b" * 16]).score == 2
    assert classifier([1]).of_unknown_origin == ()


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(VectorsRefused, match="2 numbers per picture, and the embeddings here have 3"):
        classifier([1, 1]).judge([vector(1, 1, 1)], ["a" * 16])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_vectors_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(VectorsRefused, match="finite"):
        classifier([1, 1]).judge([vector(1, bad)], ["a" * 16])


def test_the_fingerprint_is_that_of_numbers_and_recipe() -> None:
    assert classifier([1]).fingerprint == classifier([1]).fingerprint
    assert len({classifier([1]).fingerprint, classifier([1], fingerprints=("c" * 16,)).fingerprint}) == 2


# -- numbers as a file -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30), st.floats(-9, 9))
def test_numbers_come_back_to_the_last_bit(weights: list[float], intercept: float) -> None:
    data = numbers_to_bytes(np.array(weights), intercept)
    read, read_intercept = numbers_from_bytes(data, len(weights))
    assert read.tobytes() == np.array(weights).tobytes()
    assert read_intercept == intercept
    assert not read.flags.writeable


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was opened",))


FOREIGN = {
    "empty": b"",
    "a pickle": pickle.dumps(Harmful()),
    "pickles inside": npz(weights=np.array([Harmful()], object), intercept=np.float64(0)),
    "one array": npy(np.zeros(2)),
    "no intercept": npz(weights=np.zeros(2)),
    "other dimensions": npz(weights=np.zeros(3), intercept=np.float64(0)),
    "a matrix": npz(weights=np.zeros((2, 1)), intercept=np.float64(0)),
    "an intercept for each": npz(weights=np.zeros(2), intercept=np.zeros(2)),
    "float32": npz(weights=np.zeros(2, np.float32), intercept=np.float64(0)),
    "NaN": npz(weights=np.array([0, np.nan]), intercept=np.float64(0)),
    "an infinite intercept": npz(weights=np.zeros(2), intercept=np.float64(np.inf)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_files_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        numbers_from_bytes(FOREIGN[name], 2)
