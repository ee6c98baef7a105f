from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.operations import Inference
from sightline.runtime.recall import TextVectors
from sightline.types import ModelRef, Provenance


def said(model: str = "m", fingerprint: str = "f", size: int = 4, value: float = 1.0) -> Inference:
    return Inference(np.full(size, value, np.float32), ModelRef(model, fingerprint, Provenance.PULLED))


def test_what_was_said_is_known_by_model_and_text() -> None:
    vectors = TextVectors(10_000)
    inference = said()
    vectors.keep("a map", inference)
    assert vectors.get("m", "a map") is inference
    assert vectors.get("m", "A map") is None
    assert vectors.get("other", "a map") is None


def test_a_vector_that_many_share_cannot_be_written_to() -> None:
    vectors = TextVectors(10_000)
    vectors.keep("a map", said())
    known = vectors.get("m", "a map")
    assert known is not None
    with pytest.raises(ValueError, match="read-only"):
        known.output[0] = 2


def test_new_weights_take_the_place_of_old_ones() -> None:
    vectors = TextVectors(10_000)
    vectors.keep("a map", said(fingerprint="old"))
    before = vectors.num_bytes
    vectors.keep("a map", said(fingerprint="new"))
    known = vectors.get("m", "a map")
    assert known is not None
    assert known.model.fingerprint == "new"
    assert vectors.num_bytes == before


def test_the_least_recently_asked_for_is_forgotten_first() -> None:
    vectors = TextVectors(10_000)
    vectors.keep("a", said())
    each = vectors.num_bytes
    vectors = TextVectors(3 * each)
    for text in "abc":
        vectors.keep(text, said())
    vectors.get("m", "a")
    vectors.keep("d", said())
    assert [text for text in "abcd" if vectors.get("m", text)] == ["a", "c", "d"]


def test_none_is_kept_without_room() -> None:
    vectors = TextVectors(0)
    vectors.keep("a", said())
    assert vectors.get("m", "a") is None
    assert vectors.num_bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 400)), max_size=40),
    st.integers(0, 6000),
)
def test_it_never_grows_past_its_bound_and_counts_right(kept: list[tuple[str, int]], max_bytes: int) -> None:
    vectors = TextVectors(max_bytes)
    for text, size in kept:
        vectors.keep(text, said(size=size))
        assert 0 <= vectors.num_bytes <= max_bytes
    left = {text for text, _ in kept if vectors.get("m", text)}
    again = TextVectors(10**9)
    for text, size in kept:  # the last size of a text counts
        if text in left:
            again.keep(text, said(size=size))
    assert again.num_bytes == vectors.num_bytes
