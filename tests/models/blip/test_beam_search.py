"""The search keeps less than the book says, and finds the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sightline.models.blip.beam_search import Rules, begin, largest, log_softmax

BEGIN, END = 0, 1


def chain(seed: int, vocabulary: int, end_bonus: float) -> np.ndarray:
    """Logits of the next token after each token, [vocabulary, vocabulary]: a Markov chain of words."""
    logits = np.random.default_rng(seed).normal(0, 2, (vocabulary, vocabulary)).astype(np.float32)
    logits[:, END] += end_bonus
    return logits


def searched(logits: np.ndarray, num_beams: int, max_length: int) -> list[int]:
    search = begin(num_beams, Rules(BEGIN, END, max_length))
    while not search.done:
        search.advance(logits[search.newest])
    return search.best()


@given(
    seed=st.integers(0, 2**32 - 1),
    num_beams=st.integers(2, 5),
    more_words=st.integers(0, 10),
    max_length=st.integers(2, 12),
    end_bonus=st.floats(-3, 5),
)
@settings(max_examples=200, deadline=None)
def test_beams_find_what_the_book_finds(
    search_by_the_book: Callable[..., list[int]],
    seed: int,
    num_beams: int,
    more_words: int,
    max_length: int,
    end_bonus: float,
) -> None:
    logits = chain(seed, 2 * num_beams + more_words, end_bonus)
    wanted = search_by_the_book(lambda line: logits[line[-1]], num_beams, max_length, BEGIN, END)
    assert searched(logits, num_beams, max_length) == wanted


@given(seed=st.integers(0, 2**32 - 1), max_length=st.integers(2, 12), end_bonus=st.floats(-3, 5))
@settings(max_examples=50, deadline=None)
def test_one_beam_takes_the_likeliest_each_time(seed: int, max_length: int, end_bonus: float) -> None:
    logits = chain(seed, 6, end_bonus)
    found = searched(logits, 1, max_length)
    assert all(after == logits[before].argmax() for before, after in pairwise(found))
    assert END not in found[1:-1]
    assert found[-1] == END or len(found) == max_length


@given(seed=st.integers(0, 2**32 - 1), num_beams=st.integers(1, 4), max_length=st.integers(2, 10))
@settings(max_examples=50, deadline=None)
def test_a_caption_begins_and_ends_and_is_not_too_long(seed: int, num_beams: int, max_length: int) -> None:
    found = searched(chain(seed, 12, 1.0), num_beams, max_length)
    assert found[0] == BEGIN
    assert 2 <= len(found) <= max_length
    assert END not in found[1:-1]
    assert found[-1] == END or len(found) == max_length


def test_parents_say_which_line_each_beam_goes_on_from() -> None:
    """Lines put together from parents and newest tokens alone are the ones the search has."""
    logits = chain(5, 40, -100)
    search = begin(4, Rules(BEGIN, END, 9))
    lines = [[BEGIN]] * 4
    while not search.done:
        parents = search.advance(logits[search.newest])
        lines = [
            [*lines[parent], token] for parent, token in zip(parents, search.newest.tolist(), strict=True)
        ]
    assert search.best() in lines
    assert len({tuple(line) for line in lines}) == 4


def test_a_short_line_can_be_better_than_a_long_one() -> None:
    """Scores are per token: an early end wins only if it is likelier than a word is on average."""
    logits = np.full((8, 8), -10, np.float32)
    logits[BEGIN, END], logits[BEGIN, 2] = 0.0, 0.5
    logits[2, 3] = logits[3, 4] = logits[4, END] = 5.0
    assert searched(logits, 2, 10) == [BEGIN, 2, 3, 4, END]
    logits[BEGIN, END] = 3.0
    assert searched(logits, 2, 10) == [BEGIN, END]


def test_one_token_more_than_the_first_can_be_all() -> None:
    logits = chain(1, 20, 0.0)
    assert searched(logits, 4, 2) == [BEGIN, int(logits[BEGIN].argmax())]


@given(
    values=arrays(np.float32, st.integers(2, 50), elements=st.sampled_from([-1e9, -2.0, -1.0, 0.5])),
    data=st.data(),
)
def test_the_largest_come_first_and_of_equals_the_first(values: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values) - 1))
    wanted = sorted(range(len(values)), key=lambda number: (-values[number], number))[:count]
    assert largest(values, count).tolist() == wanted


@given(arrays(np.float32, (3, 7), elements=st.floats(-1000, 1000, width=32)))
def test_probabilities_add_up(logits: np.ndarray) -> None:
    found = log_softmax(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(-1), 1, rtol=1e-4)
    exact = logits.astype(np.float64)
    exact -= np.logaddexp.reduce(exact, -1, keepdims=True)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_nothing_is_asked_of_a_search_that_is_done(num_beams: int) -> None:
    logits = np.full((8, 8), -30, np.float32)
    logits[:, END] = 0
    search = begin(num_beams, Rules(BEGIN, END, 100))
    steps = 0
    while not search.done:
        search.advance(logits[search.newest])
        steps += 1
    assert steps <= num_beams + 1
    assert search.best() == [BEGIN, END]
